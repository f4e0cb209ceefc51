// What the tests of the live page have in common: the browser, waiting, checks, and a list of what went wrong.

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const launch = () => {
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  if (!existsSync(executablePath)) throw new Error(`there is no ${executablePath}: install Chromium or set CHROMIUM`);
  return chromium.launch({
    executablePath,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
};

/** Waits until `condition()` is truthy, and returns what it is. */
export async function until(what, condition, millis = 10_000) {
  const end = performance.now() + millis;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (performance.now() > end) throw new Error(`after ${millis} ms: not ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

export function check(what, holds, ...details) {
  if (!holds) throw new Error([`not ${what}`, ...details.map((detail) => JSON.stringify(detail))].join(": "));
}

/** Opens the page. Whatever its console and its requests complain about is in `complaints`. */
export async function open(browser, url, { width = 1440, height = 900, colorScheme = "light", ...more } = {}) {
  const phone = width < 500;
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme, hasTouch: phone, isMobile: phone, deviceScaleFactor: phone ? 2 : 1, ...more,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()}: ${request.failure()?.errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`HTTP ${response.status()}: ${response.url()}`);
    if (!response.url().startsWith(new URL(url).origin)) complaints.push(`from elsewhere: ${response.url()}`);
  });
  await page.goto(url);
  return Object.assign(page, { complaints });
}

/** The state of a node as the page shows it: `up`, `down`, or null if the node is not there. */
export const nodeState = (page, name) =>
  page.evaluate((name) => {
    const tile = [...document.querySelectorAll("#nodes li")].find(
      (tile) => tile.querySelector(".name").textContent === name,
    );
    return tile ? tile.querySelector(".lamp").textContent : null;
  }, name);

/** The events in the tail, newest first, as `{topic, event, args}`. */
export const tailRows = (page) =>
  page.$$eval("#tail-box tr.event", (rows) =>
    rows.map((row) => {
      const [topic, event, args] = [...row.cells].slice(1).map((cell) => cell.textContent);
      return { topic, event, args };
    }),
  );

/** Checks that nothing is wider than the window. */
export async function fitsSideways(page) {
  const wide = await page.evaluate(() => {
    const { clientWidth, scrollWidth } = document.documentElement;
    // A phone widens its window to fit the content.
    if (scrollWidth <= clientWidth && window.innerWidth <= screen.width) return [];
    return [...document.querySelectorAll("body *")]
      .filter((element) => element.getBoundingClientRect().right > screen.width && !element.closest(".sideways > *"))
      .map((element) => `${element.tagName} ${element.id} ${element.className}`)
      .concat(`${scrollWidth} of ${screen.width}`);
  });
  check("free of horizontal scrolling", wide.length === 0, wide.slice(-8));
}

export function screenshots(directory) {
  mkdirSync(directory, { recursive: true });
  return async (page, name, options = { fullPage: true }) => {
    // What sticks to the top would be in the middle.
    if (options.fullPage) await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: join(directory, `${name}.png`), ...options });
  };
}

/** Runs tests, a name and a function each, and returns how many failed. */
export async function run(tests) {
  let failed = 0;
  for (const [name, test] of tests) {
    try {
      await test();
      console.error(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.error(`FAILED  ${name}: ${error.stack}`);
    }
  }
  return failed;
}
