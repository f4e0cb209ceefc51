// The live page of a running gateway, in Chromium.
//
//     node page.mjs URL DIRECTORY NODE [TOKEN]
//
// URL is the page's, http://127.0.0.1:27759/ for example (not https: the test breaks connections in between). DIRECTORY is where screenshots go. NODE is the name of a
// node of the cluster that is up and may be killed. TOKEN is for a gateway with access control.
//
// The cluster is not ours, so whoever started it has to kill the node. We say so with a line on standard output,
//
//     kill NODE
//
// and wait for a line `ok` on standard input (or end with an error at any other line, or after a minute). All
// other output is on standard error. Exit code 0 if everything holds.
//
// Needs Chromium: /usr/bin/chromium, or what CHROMIUM says. Events that the test publishes have topics that begin
// with `zcluster.test.page.`, which the token must allow for both directions.

import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { check, fitsSideways, launch, nodeState, open, run, screenshots, tailRows, until } from "./browser.mjs";

const [address, directory, victim, token] = process.argv.slice(2);
if (!victim) {
  console.error("usage: node page.mjs URL DIRECTORY NODE [TOKEN]");
  process.exit(64);
}
const TOPIC = "zcluster.test.page.";
const gateway = new URL(address);
const shot = screenshots(directory);
const withToken = (url) => (token === undefined ? url.href : `${url.href}#token=${encodeURIComponent(token)}`);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ask(command) {
  console.log(command);
  const timeout = new Promise((_, fail) => setTimeout(fail, 60_000, new Error(`no answer to "${command}"`)).unref());
  const { value } = await Promise.race([lines.next(), timeout]);
  if (value !== "ok") throw new Error(`answer to "${command}": ${value}`);
}

/** A client of the gateway beside the page, to compare with what the page shows. */
class Client {
  nodes = null;
  downAt = new Map();
  #answers = new Map();
  #next = 1;

  async start() {
    const url = new URL("v2/messages/json", gateway);
    url.protocol = url.protocol.replace("http", "ws");
    if (token !== undefined) url.searchParams.set("access_token", token);
    this.socket = new WebSocket(url);
    await new Promise((done, fail) => this.socket.once("open", done).once("error", fail));
    this.socket.on("message", (data) => this.#receive(JSON.parse(data)));
    await this.request({ type: "notices", kinds: ["nodes"] });
    await until("told which nodes there are", () => this.nodes);
    return this;
  }

  #receive(message) {
    if (message.type === "nodes") this.nodes = new Map(message.nodes.map(({ node, up }) => [node, up]));
    if (message.type === "node_up") this.nodes.set(message.node, true);
    if (message.type === "node_down") {
      this.nodes.set(message.node, false);
      this.downAt.set(message.node, performance.now());
    }
    if (message.id !== undefined) this.#answers.get(message.id)?.(message);
  }

  async request(message) {
    const id = this.#next++;
    const answered = new Promise((done) => this.#answers.set(id, done));
    this.socket.send(JSON.stringify({ ...message, id }));
    const answer = await answered;
    this.#answers.delete(id);
    check(`an ok to ${message.type}`, answer.type === "ok", answer);
  }

  publish(topic, args = []) {
    return this.request({ type: "publish", topic: TOPIC + topic, event: "Page::test", args });
  }
}

/** Stands between browser and gateway, to break connections as a network does: without a word to either side. */
class Cable {
  #sockets = new Set();
  #broken = false;
  #server = createServer((client) => this.#forward(client));

  async start() {
    await new Promise((done) => this.#server.listen(0, "127.0.0.1", done));
    const url = new URL(gateway);
    url.hostname = "127.0.0.1";
    url.port = this.#server.address().port;
    return url;
  }

  #forward(client) {
    if (this.#broken) return client.destroy();
    const server = connect(Number(gateway.port) || 80, gateway.hostname);
    for (const [from, to] of [[client, server], [server, client]]) {
      this.#sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => (this.#sockets.delete(from), to.destroy()));
      from.pipe(to);
    }
  }

  break() {
    this.#broken = true;
    this.#sockets.forEach((socket) => socket.destroy());
  }

  mend() {
    this.#broken = false;
  }

  stop() {
    this.break();
    this.#server.close();
  }
}

const state = (page) => page.$eval("#tail-state", (element) => element.textContent);

async function follow(page, prefix) {
  await page.fill("#prefix", prefix);
  await page.press("#prefix", "Enter");
  await until("following", async () => (await state(page)).startsWith("Following"));
}

const isQuiet = ({ complaints }) => check("without complaints of the browser", complaints.length === 0, complaints);

const browser = await launch();
const client = await new Client().start();
const page = await open(browser, withToken(gateway));

const tests = [
  ["loads, connects and measures", async () => {
    await until("connected", async () => (await page.locator("#link").textContent()) === "Connected");
    await until("connected to the bus", async () => (await page.locator("#bus").textContent()) === "Bus connected");
    await until("measured", async () => /\(this page\)/.test(await page.locator("#clients").textContent()));
    isQuiet(page);
  }],

  ["shows all nodes", async () => {
    for (const [node, up] of client.nodes) {
      await until(`${node} is shown`, async () => (await nodeState(page, node)) === (up ? "up" : "down"));
    }
    check(`${victim} is up`, client.nodes.get(victim) === true, [...client.nodes]);
    check("no others", (await page.locator("#nodes li").count()) === Math.min(60, client.nodes.size));
  }],

  ["subscribes only to what is asked for", async () => {
    await client.publish("b.early");
    await follow(page, `${TOPIC}a.`);
    await client.publish("b.other", ["not this"]);
    await client.publish("a.one", [{ addr: "192.0.2.1" }, "this"]);
    await client.publish("b.other", ["not this"]);
    await client.publish("a.two");
    await until("two events", async () => (await tailRows(page)).length >= 2);
    const rows = await tailRows(page);
    check("these two, newest first", rows.map(({ topic }) => topic).join() === `${TOPIC}a.two,${TOPIC}a.one`, rows);
    check("with arguments", rows[1].event === "Page::test" && rows[1].args === `192.0.2.1, "this"`, rows);
    await shot(page, "page-filter");
  }],

  ["stands still when told to", async () => {
    await page.click("#pause");
    await client.publish("a.three");
    await until("announced", async () => /paused, 1 newer one\b/.test(await state(page)));
    check("not shown", (await tailRows(page)).length === 2);
    await page.click("#pause");
    await until("shown", async () => (await tailRows(page)).length === 3);
    await page.click("#clear");
    await until("clear", async () => (await tailRows(page)).length === 0);
  }],

  ["a flood passes, and all of it is counted", async () => {
    const many = 3000;
    for (let n = 0; n < many; n += 100) {
      const some = Array.from({ length: 100 }, (_, m) => client.publish("a.flood", [n + m, "some text ".repeat(10)]));
      await Promise.all(some);
    }
    await until("all counted", async () => {
      const [, received] = /: ([\d,]+) received/.exec(await state(page)) ?? [];
      const [, lost] = /([\d,]+) lost/.exec(await state(page)) ?? [];
      const number = (text) => Number((text ?? "0").replaceAll(",", ""));
      return number(received) + number(lost) >= many;
    }, 30_000);
    check("few rows", (await page.locator("#tail-box tbody tr").count()) <= 200);
    await until("the last one", async () => (await tailRows(page))[0].args.startsWith(`${many - 1}, `));
    isQuiet(page);
    await shot(page, "page-flood");
  }],

  ["after an interruption, what happened meanwhile", async () => {
    const cable = new Cable();
    const remote = await open(browser, withToken(await cable.start()));
    try {
      await follow(remote, `${TOPIC}c.`);
      await client.publish("c.before");
      await until("one event", async () => (await tailRows(remote)).length === 1);
      cable.break();
      await until("noticed", async () => /Not connected/.test(await remote.locator("#link").textContent()));
      await client.publish("c.meantime");
      await shot(remote, "page-disconnected");
      cable.mend();
      await until("connected again", async () => (await tailRows(remote))[0]?.topic === `${TOPIC}c.meantime`, 20_000);
      await client.publish("c.after");
      await until("it goes on", async () => (await tailRows(remote))[0].topic === `${TOPIC}c.after`);
      check("nothing twice", (await tailRows(remote)).length === 3, await tailRows(remote));
    } finally {
      await remote.context().close();
      cable.stop();
    }
  }],

  ["fits a phone", async () => {
    const phone = await open(browser, withToken(gateway), { width: 360, height: 740, colorScheme: "dark" });
    await until("measured", async () => /\(this page\)/.test(await phone.locator("#clients").textContent()));
    await follow(phone, TOPIC);
    await client.publish("phone", [{ addr: "192.0.2.1" }, "a text that is longer than the phone is wide ".repeat(5)]);
    await until("one event", async () => (await tailRows(phone)).length === 1);
    await fitsSideways(phone);
    isQuiet(phone);
    await shot(phone, "page-phone");
    await phone.context().close();
  }],

  ["shows a node down within two seconds", async () => {
    await ask(`kill ${victim}`);
    await until(`${victim} is down`, () => client.downAt.has(victim), 60_000);
    await until("shown", async () => (await nodeState(page, victim)) === "down", 5000);
    const after = performance.now() - client.downAt.get(victim);
    check("within two seconds", after < 2000, after);
    await shot(page, "page-node-down");
    isQuiet(page);
  }],
];

const failed = await run(tests);
if (failed > 0) await shot(page, "page-failed");
await browser.close();
process.exit(failed === 0 ? 0 : 1);
