// The live page in states that a healthy cluster does not get into, before a gateway of our own (mock_gateway.mjs).
//
//     node page_states.mjs [DIRECTORY]
//
// Screenshots go into DIRECTORY (default: target/page-states at the top of the repository), to be looked at.
// Exit code 0 if everything holds. Needs Chromium: /usr/bin/chromium, or what CHROMIUM says.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { check, fitsSideways, launch, nodeState, open, run, screenshots, tailRows, until } from "./browser.mjs";
import { MockGateway } from "./mock_gateway.mjs";

const directory = process.argv[2] ?? fileURLToPath(new URL("../../target/page-states", import.meta.url));
const shot = screenshots(directory);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await launch();

/** A test with a gateway, and all pages that it opens. */
function withGateway(test) {
  return async () => {
    const gateway = new MockGateway();
    const url = await gateway.start();
    const pages = [];
    const visit = async (options, at = url) => {
      const page = await open(browser, at, options);
      pages.push(page);
      return page;
    };
    try {
      await test(gateway, visit, url);
      check("conforming to the schema", gateway.problems.length === 0, gateway.problems.slice(0, 3));
      for (const page of pages) {
        const unexpected = page.complaints.filter((complaint) => !page.expected?.test(complaint));
        check("quiet", unexpected.length === 0, unexpected);
      }
    } finally {
      for (const page of pages) await page.context().close();
      gateway.stop();
    }
  };
}

const textOf = (page, selector) => page.$eval(selector, (element) => element.textContent);
const state = (page) => textOf(page, "#tail-state");

/** Waits for so many more measurements. */
async function measured(gateway, more) {
  const enough = gateway.measurements + more;
  await until(`${more} measurements`, () => gateway.measurements >= enough, 30_000);
}

async function follow(page, prefix) {
  await page.fill("#prefix", prefix);
  await page.press("#prefix", "Enter");
  await until("following", async () => /^Following/.test(await state(page)));
}

function cluster(gateway) {
  gateway.node("manager", "manager");
  gateway.node("logger-1", "logger");
  gateway.node("logger-2", "logger");
  gateway.node("proxy-1", "proxy");
  for (let worker = 1; worker <= 12; worker += 1) gateway.node(`worker-${worker}`, "worker");
}

const names = ["cluster.metrics", "alerts.scan", "intel.match", "cluster.node.worker-1.", "sumstats", "known.hosts",
  "cluster.pool.proxy", "netcontrol", "catchrelease", "supervisor"].map((name) => `zeek.${name}`);

function traffic(gateway) {
  gateway.stats = (at) => ({
    topics: names.map((topic, n) => ({
      topic, events_per_second: (900 / (n + 1) ** 1.5) * (1 + 0.3 * Math.sin(at / (3 + n))),
    })),
    logs: ["conn", "dns", "http", "ssl", "files", "weird", "notice"].map((path, n) => ({
      path, records_per_second: (4800 / (n + 1) ** 2) * (1 + 0.2 * Math.sin(at / 7 + n)),
    })),
  });
}

async function isAccessible(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  check("accessible", violations.length === 0, violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]));
}

const tests = [];
const test = (name, body) => tests.push([name, withGateway(body)]);

test("an empty cluster: nothing is subscribed, everything says that it is empty", async (gateway, visit) => {
  const page = await visit();
  await until("measured", async () => /Nothing was dropped/.test(await textOf(page, "#drops")));
  check("no node", /knows no node/.test(await textOf(page, "#nodes")));
  check("no subscription", !gateway.requests.some(({ type }) => type === "subscribe"), gateway.requests);
  check("which controls", (await page.locator("#tail button:visible").allTextContents()).join() === "Follow,Follow everything");
  await isAccessible(page);
  await shot(page, "empty");
});

test("a busy cluster on a desk, light and dark, and on a phone", async (gateway, visit) => {
  cluster(gateway);
  gateway.node("worker-9", null, false);
  traffic(gateway);
  const usual = gateway.stats;
  gateway.stats = (at) => ({
    ...usual(at),
    drops: [
      { process: "broker", reason: "subscriber_full", per_second: 31.25, total: 312 + Math.floor(31.25 * at) },
      { process: "worker-3", reason: "queue_full", per_second: 0, total: 17 },
      { process: "worker-5", reason: "invalid", per_second: 0, total: 0 },
    ],
    slow: [{ peer: "zeromq_worker-9_host2_988_Nabc", queued_events: 4000, queued_bytes: 1048576, dropped: 312 }],
    unreachable: ["logger-2"],
  });
  let dropped = 14;
  const slowClient = setInterval(() => {
    dropped += 3;
    gateway.otherClients = [{
      endpoint: "zeromq_gateway_host1_4200_NabcDEF1-websocket-7", application: "alerts", address: "192.0.2.7:40122",
      version: 1, subscriptions: 3, received_per_second: 0, sent_per_second: 312.5, queued_messages: 812, dropped,
    }];
  }, 500);
  const light = await visit();
  const dark = await visit({ colorScheme: "dark" });
  const phone = await visit({ width: 360, height: 740 });
  for (const page of [light, dark, phone]) await follow(page, "zeek.");
  for (let second = 0; second < 12; second += 1) {
    for (const topic of names.slice(0, 3)) {
      gateway.publish(topic, "Scan::found", [{ addr: "192.0.2.1" }, { port: "22/tcp" }, { set: [{ port: "80/tcp" }] }, second]);
    }
    await measured(gateway, 1);
  }
  clearInterval(slowClient);
  gateway.node("worker-4", null, false);
  await until("down", async () => (await nodeState(light, "worker-4")) === "down");
  gateway.lag(312);
  await until("lagged", async () => /312 events lost here/.test(await textOf(dark, "#tail-box")));
  const growing = await light.$$eval("#drops tr.growing", (rows) => rows.map((row) => row.cells[0].textContent));
  check("only what grows is marked", growing.join() === "broker", growing);
  const losing = await light.$$eval("#clients tr.growing", (rows) => rows.map((row) => row.cells[0].textContent));
  check("a client that loses is marked", losing.join() === "websocket-7", losing);
  check("zero is no loss", !/invalid/.test(await textOf(light, "#drops")));
  check("title", /2 down, drops/.test(await light.title()), await light.title());
  check("own client", /\(this page\)/.test(await textOf(light, "#clients")));
  await fitsSideways(phone);
  await until("announced", async () => /worker-4 is down/.test(await textOf(light, "#announcements")));
  await light.locator("#tail tr.event button").nth(1).click();
  check("an open event is complete", /"port": "22\/tcp"/.test(await textOf(light, "#tail-box .details pre")));
  check("it holds the tail", (await textOf(light, "#pause")) === "Continue");
  for (const page of [light, dark, phone]) await isAccessible(page);
  for (const [page, name] of [[light, "desk-light"], [dark, "desk-dark"], [phone, "phone"]]) {
    await shot(page, name);
  }
  await dark.locator("#events .chart").hover({ position: { x: 500, y: 80 } });
  await until("the moment", async () => /^at /.test(await textOf(dark, "#events .at")));
  await dark.mouse.move(0, 0);
  await until("now", async () => /Events/.test(await textOf(dark, "#events .at")));
});

test("hundreds of topics, nodes and clients", async (gateway, visit) => {
  for (let worker = 1; worker <= 300; worker += 1) gateway.node(`worker-${worker}`, "worker", worker % 97 !== 0);
  gateway.stats = (at) => ({
    topics: Array.from({ length: 800 }, (_, n) => ({
      topic: `zeek.cluster.node.worker-${n}.`, events_per_second: (100 / (n + 1)) * (1 + 0.2 * Math.sin(at + n)),
    })),
    logs: Array.from({ length: 90 }, (_, n) => ({ path: `log_${n}`, records_per_second: 1000 / (n + 1) })),
  });
  gateway.otherClients = Array.from({ length: 1000 }, (_, n) => ({
    endpoint: `zeromq_gateway_host1_4200_NabcDEF1-websocket-${n + 1000}`, application: null, address: `192.0.2.7:${n + 10000}`,
    version: 1, subscriptions: 3, received_per_second: 0, sent_per_second: n, queued_messages: 0, dropped: 0,
  }));
  const page = await visit();
  const phone = await visit({ width: 360, height: 740, colorScheme: "dark" });
  await until("measured", async () => /and 988 more|and 488 more/.test(await textOf(page, "#events .more")));
  check("down first", (await textOf(page, "#nodes li .lamp")) === "down");
  const elements = () => page.evaluate(() => document.getElementsByTagName("*").length);
  check("few elements", (await elements()) < 2500, await elements());
  await page.click("#events .more button");
  await until("all topics", async () => (await page.locator("#events tbody tr").count()) === 500);
  await page.click("#events .more button");
  await until("few topics", async () => (await page.locator("#events tbody tr").count()) === 12);
  await measured(gateway, 4);
  await fitsSideways(phone);
  await shot(page, "many");
  await shot(phone, "many-phone");
});

test("a flood of 5,000 events per second", async (gateway, visit) => {
  cluster(gateway);
  traffic(gateway);
  const page = await visit();
  await page.click("#everything");
  await until("following", async () => /^Following everything/.test(await state(page)));
  await page.evaluate(() => {
    window.frames_ = [];
    const frame = (at) => (window.frames_.push(at), requestAnimationFrame(frame));
    requestAnimationFrame(frame);
  });
  const flood = gateway.flood(5000, (n) => [names[n % 10], "Flood::event", [n, { addr: "192.0.2.1" }, "some text ".repeat(10)]]);
  const received = async () => Number((/([\d,]+) received/.exec(await state(page)))?.[1].replaceAll(",", ""));
  await until("a flood", async () => (await received()) >= 20_000, 30_000);
  check("a bounded number of rows", (await page.locator("#tail-box tbody tr").count()) <= 200);
  await page.evaluate(() => document.getElementById("tail").scrollIntoView());
  await shot(page, "flood", {});
  // It can still be used.
  const before = performance.now();
  await page.click("#pause");
  console.error(`        a click took ${(performance.now() - before).toFixed(0)} ms`);
  const held = await tailRows(page);
  await until("newer ones announced", async () => /paused, [\d,]+ newer ones/.test(await state(page)));
  const sent = flood.stop();
  await until("all received", async () => (await received()) === sent);
  check("standing still", JSON.stringify(await tailRows(page)) === JSON.stringify(held));
  await page.click("#pause");
  await until("the last event", async () => (await tailRows(page))[0].args.startsWith(`${sent - 1}, 192.0.2.1`));
  check("what was not shown is counted", /[\d,]+ came too fast to show/.test(await state(page)), await state(page));
  const gaps = await page.evaluate(() => window.frames_.slice(1).map((at, n) => at - window.frames_[n]).sort((a, b) => a - b));
  console.error(`        frames: median ${gaps[gaps.length >> 1].toFixed(0)} ms, longest ${gaps.at(-1).toFixed(0)} ms`);
  await page.click("#clear");
  await until("clear", async () => (await page.locator("#tail-box").isHidden()) && /: 0 received/.test(await state(page)));
});

test("huge events take bounded memory", async (gateway, visit) => {
  const page = await visit();
  await follow(page, "zeek.");
  const huge = "x".repeat(500_000);
  for (let n = 0; n < 40; n += 1) gateway.publish("zeek.huge", "Huge::event", [n, huge]);
  await until("the last event", async () => (await tailRows(page))[0]?.args.startsWith("[39,"));
  check("cut in its row", (await tailRows(page))[0].args.length < 400);
  await page.locator("#tail tr.event button").first().click();
  const shown = (await textOf(page, "#tail-box .details pre")).length;
  check("cut when open", shown > 60_000 && shown < 70_000, shown);
  const kept = await page.evaluate(async () => {
    const { Ring } = await import("./ring.js");
    const ring = new Ring(500, 1000);
    const sizes = [];
    for (let n = 1; n <= 2000; n += 1) {
      ring.push({ number: n, bytes: n % 300 });
      sizes.push([ring.size, ring.bytes]);
    }
    ring.push({ number: 2001, bytes: 5000 });
    return { most: Math.max(...sizes.map(([, bytes]) => bytes)), alone: ring.size, newest: ring.newest(1999, 9) };
  });
  check("the ring keeps its bounds", kept.most <= 1000 && kept.alone === 1 && kept.newest[0].number === 2001, kept);
});

test("another prefix, stop, and a prefix that is refused", async (gateway, visit) => {
  const page = await visit();
  await follow(page, "zeek.a");
  for (const topic of ["zeek.alerts.scan", "zeek.b", "zeek.actions"]) gateway.publish(topic, "E::e");
  await until("two", async () => (await tailRows(page)).length === 2);
  await follow(page, "zeek.alerts.");
  let rows = await tailRows(page);
  check("what still fits stays", rows.length === 1 && rows[0].topic === "zeek.alerts.scan", rows);
  gateway.publish("zeek.actions", "E::e");
  gateway.publish("zeek.alerts.more", "E::e");
  await until("one more", async () => (await tailRows(page)).length === 2);
  rows = await tailRows(page);
  check("nothing else", rows.every(({ topic }) => topic.startsWith("zeek.alerts.")), rows);
  await until("unsubscribed", () => gateway.requests.some(({ type, topics }) => type === "unsubscribe" && topics[0] === "zeek.a"));
  await page.click("#stop");
  await until("unsubscribed", () => gateway.requests.some(({ type, topics }) => type === "unsubscribe" && topics[0] === "zeek.alerts."));
  await until("stopped", async () => (await state(page)) === "Stopped.");
  check("rows stay", (await tailRows(page)).length === 2);
  gateway.forbidden = (topic) => topic === "";
  await page.click("#everything");
  await until("refused", async () => /refuses to follow “”.*may not subscribe/.test(await state(page)));
  check("nothing to stop", await page.locator("#stop").isHidden());
  await shot(page, "refused", {});
});

test("what names contain is text", async (gateway, visit) => {
  const evil = `<img src=x onerror="document.title='hacked'">\u202Egnitset\n<b>`;
  gateway.node(evil, evil);
  gateway.stats = () => ({
    topics: [{ topic: evil, events_per_second: 1 }, { topic: "long.".repeat(200), events_per_second: 0.5 }],
    logs: [{ path: evil, records_per_second: 1 }],
    drops: [{ process: evil, reason: evil, per_second: 1, total: 1 }],
    slow: [{ peer: evil, queued_events: 1, queued_bytes: 1, dropped: 1 }],
    unreachable: [evil],
  });
  const page = await visit();
  const phone = await visit({ width: 360, height: 740 });
  for (const each of [page, phone]) {
    await each.click("#everything");
    await until("following", async () => /^Following everything/.test(await state(each)));
  }
  gateway.publish(evil, evil, [evil, { [evil]: evil }], { metadata: [[200, evil]] });
  for (const each of [page, phone]) {
    await until("all there", async () => (await tailRows(each)).length === 1 && /img/.test(await textOf(each, "#slow tbody")));
    check("nothing is hidden", /\\u202egnitset\\u000a/i.test(await textOf(each, "#slow tbody")), await textOf(each, "#slow tbody"));
    check("no element came of it", (await each.locator("img, b").count()) === 0 && !/hacked/.test(await each.title()));
    await fitsSideways(each);
  }
  await page.locator("#events button.name").first().click();
  await until("following it", async () => (await page.inputValue("#prefix")).includes("<img"));
  await shot(page, "hostile");
  await shot(phone, "hostile-phone");
});

test("an interruption: events of the meantime follow", async (gateway, visit) => {
  cluster(gateway);
  const page = await visit();
  page.expected = /WebSocket|ERR_CONNECTION|HTTP 503|status of 503/;
  await follow(page, "zeek.");
  gateway.publish("zeek.a", "E::before");
  await until("one", async () => (await tailRows(page)).length === 1);
  gateway.refuse = 503;
  gateway.cut();
  await until("disconnected", async () => /Not connected/.test(await textOf(page, "#link")));
  check("title", /no connection/.test(await page.title()));
  gateway.node("worker-2", null, false);
  gateway.publish("zeek.b", "E::meantime");
  await until("tried again", () => gateway.refused >= 1);
  await shot(page, "disconnected");
  gateway.refuse = null;
  await page.click("#retry");
  await until("resumed", async () => (await tailRows(page))[0].event === "E::meantime");
  gateway.publish("zeek.c", "E::after");
  await until("goes on", async () => (await tailRows(page))[0].event === "E::after");
  check("nothing twice", (await tailRows(page)).length === 3);
  check("says so", /Connected again: 1 event .* nothing was lost/.test(await textOf(page, "#tail-box")));
  await until("what nodes do is known again", async () => (await nodeState(page, "worker-2")) === "down");

  gateway.replay = 2;
  gateway.refuse = 503;
  gateway.cut();
  for (let n = 0; n < 5; n += 1) gateway.publish("zeek.d", "E::lost");
  gateway.refuse = null;
  await until("incomplete", async () => /the gateway no longer had them/.test(await textOf(page, "#tail-box")), 20_000);
  await until("some missing", async () => /some missing/.test(await state(page)));

  gateway.forget();
  gateway.cut();
  await until("a new session", async () => /as a new session/.test(await textOf(page, "#tail-box")), 20_000);
  gateway.publish("zeek.e", "E::new");
  await until("goes on", async () => (await tailRows(page))[0].event === "E::new");
  await page.evaluate(() => document.getElementById("tail").scrollIntoView());
  await shot(page, "resumed", {});

  gateway.refuse = 503;
  gateway.cut();
  await until("disconnected", async () => /^Not connected/.test(await state(page)));
  await page.fill("#prefix", "other.");
  await page.press("#prefix", "Enter");
  gateway.refuse = null;
  await until("following what was chosen meanwhile", async () => /^Following “other\.”/.test(await state(page)), 20_000);
  check("and nothing else", gateway.topics().join() === "other.", gateway.topics());
});

test("a gateway that falls silent is left for a new connection, without ending the session", async (gateway, visit) => {
  const page = await visit();
  await follow(page, "zeek.");
  gateway.talking = false;
  await until("warned", async () => /Silent for/.test(await textOf(page, "#link")), 8000);
  await shot(page, "silent", {});
  await until("resumed", () => gateway.requests.some(({ type }) => type === "resume"), 20_000);
  gateway.talking = true;
  gateway.publish("zeek.a", "E::e");
  await until("goes on", async () => (await tailRows(page))[0]?.event === "E::e");
});

test("a token: asked for, refused, accepted, kept, and taken from the address", async (gateway, visit, url) => {
  gateway.token = "a+b/c=";
  gateway.application = "alerts";
  cluster(gateway);
  const page = await visit();
  page.expected = /401|Authentication failed/;
  await until("asked", () => page.locator("#token-form").isVisible());
  check("focused", await page.evaluate(() => document.activeElement.id === "token"));
  await isAccessible(page);
  await shot(page, "token", {});
  await page.keyboard.type("wrong");
  await page.keyboard.press("Enter");
  await until("refused", async () => /does not accept/.test(await textOf(page, "#token-reason")));
  await page.fill("#token", gateway.token);
  await page.keyboard.press("Enter");
  await until("connected", async () => (await textOf(page, "#link")) === "Connected");
  check("not asked any more", await page.locator("#token-form").isHidden());
  await page.reload();
  await until("connected", async () => (await textOf(page, "#link")) === "Connected");
  await page.click("#forget");
  await until("asked", () => page.locator("#token-form").isVisible());

  const linked = await visit({}, `${url}#token=${encodeURIComponent(gateway.token)}`);
  await until("connected", async () => (await textOf(linked, "#link")) === "Connected");
  check("not in the address", linked.url() === url, linked.url());
  await until("who we are", async () => /alerts/.test(await textOf(linked, "#clients")));
});

test("a prefix that is chosen before there is a connection", async (gateway, visit) => {
  gateway.refuse = 503;
  const page = await visit();
  page.expected = /503/;
  await page.fill("#prefix", "zeek.");
  await page.press("#prefix", "Enter");
  await until("waiting", async () => /^Not connected\. Then “zeek\.” is followed/.test(await state(page)));
  gateway.refuse = null;
  await until("following", async () => /^Following “zeek\.”/.test(await state(page)));
  gateway.publish("zeek.a", "E::e");
  await until("one", async () => (await tailRows(page)).length === 1);
});

test("a page that is hidden says in its title what is wrong", async (gateway, visit) => {
  cluster(gateway);
  const page = await visit();
  await until("all up", async () => (await page.title()) === "gateway – zcluster");
  const hide = (hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      // As a browser does.
      window.requestAnimationFrame = hidden ? () => 0 : (frame) => setTimeout(frame, 16);
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await hide(true);
  gateway.node("worker-3", null, false);
  await until("in the title", async () => /1 down/.test(await page.title()));
  await hide(false);
  await until("shown", async () => (await nodeState(page, "worker-3")) === "down");
});

test("without a bus", async (gateway, visit) => {
  cluster(gateway);
  const page = await visit();
  await until("connected", async () => (await textOf(page, "#bus")) === "Bus connected");
  gateway.setBus(false);
  await until("disconnected", async () => (await textOf(page, "#bus")) === "Bus not connected");
  check("title", /no bus/.test(await page.title()));
  await shot(page, "no-bus", {});
});

test("the keyboard reaches everything", async (gateway, visit) => {
  cluster(gateway);
  traffic(gateway);
  const page = await visit();
  await until("measured", async () => (await page.locator("#events tbody button").count()) > 5);
  const reached = new Set();
  for (let n = 0; n < 60; n += 1) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent));
  }
  for (const what of ["Skip to the cluster", "Tail", "zeek.alerts.scan", "prefix", "Follow", "everything"]) {
    check(`reached ${what}`, reached.has(what), [...reached]);
  }
  await page.locator("#events button", { hasText: "zeek.alerts.scan" }).focus();
  await page.keyboard.press("Enter");
  await until("following", async () => /^Following “zeek.alerts.scan”/.test(await state(page)));
  await measured(gateway, 2);
  check("the focus stays", (await page.evaluate(() => document.activeElement.textContent)) === "zeek.alerts.scan");
});

const only = process.env.ONLY;
const failed = await run(tests.filter(([name]) => !only || name.includes(only)));
await browser.close();
process.exit(failed === 0 ? 0 : 1);
