// The npm package `ws` as a client of a running gateway.
//
//     node ws_client.mjs URL
//
// URL is ws://127.0.0.1:27759, for example. Events have topics that begin with `zcluster.test.`. At the end we write a
// line `stop` to standard output: then the gateway has to be stopped. Other output is a line per test, on standard
// error. Exit code 0 if everything holds.

import WebSocket from "ws";
import { deepStrictEqual as equal, ok } from "node:assert";
import { once } from "node:events";

const base = process.argv[2];
const v1 = `${base}/v1/messages/json`;
const v2 = `${base}/v2/messages/json`;
const TOPIC = "zcluster.test.ws.";

/** A WebSocket whose messages are read one after the other. */
class Client {
  #arrived = [];
  #waiting = [];

  static async connect(url, options) {
    const client = new Client();
    client.socket = new WebSocket(url, options);
    client.socket.on("message", (data, isBinary) => {
      ok(!isBinary);
      client.#arrived.push(JSON.parse(data));
      client.#waiting.shift()?.();
    });
    client.closed = once(client.socket, "close").then(([code, reason]) => [code, reason.toString()]);
    client.pings = 0;
    client.socket.on("ping", () => (client.pings += 1));
    await once(client.socket, "open");
    return client;
  }

  send(message, options) {
    this.socket.send(JSON.stringify(message), options);
  }

  async receive() {
    const timeout = new Promise((_, fail) => setTimeout(fail, 30_000, new Error("nothing came")).unref());
    while (this.#arrived.length === 0) {
      await Promise.race([new Promise((done) => this.#waiting.push(done)), timeout]);
    }
    return this.#arrived.shift();
  }

  /** Version 1: the first message and its answer. */
  async subscribed(topics) {
    this.send(topics);
    equal((await this.receive()).type, "ack");
    return this;
  }

  /** Version 2: a request and its answer. Nothing else may come in between. */
  async ask(type, members) {
    this.send({ type, id: type, ...members });
    const answer = await this.receive();
    equal(answer.id, type);
    return answer;
  }

  close() {
    this.socket.close(1000);
    return this.closed;
  }
}

const value = (type, data) => ({ "@data-type": type, data });

function dataMessage(topic, name, args) {
  const event = value("vector", [value("string", name), value("vector", args)]);
  const data = value("vector", [value("count", 1), value("count", 1), event]);
  return { type: "data-message", topic: TOPIC + topic, ...data };
}

async function v1Events() {
  const one = await (await Client.connect(v1)).subscribed([TOPIC]);
  const headers = { "X-Application-Name": "ws-test/1" };
  const two = await (await Client.connect(v1, { headers })).subscribed([TOPIC]);
  const sent = dataMessage("a", "Test::hello", [value("string", "ü 😀"), value("count", 9007199254740991)]);
  two.send(sent);
  equal(await one.receive(), sent);
  // In pieces, and as bytes.
  const large = dataMessage("b", "Test::pieces", [value("string", "x".repeat(1_000_000))]);
  const text = JSON.stringify(large);
  one.socket.send(text.slice(0, 10), { fin: false });
  one.socket.send(text.slice(10, 500_000), { fin: false });
  one.socket.send(text.slice(500_000));
  equal(await two.receive(), large);
  one.send(dataMessage("c", "Test::bytes", []), { binary: true });
  equal((await two.receive()).topic, `${TOPIC}c`);
  one.socket.send("nonsense");
  equal((await one.receive()).code, "deserialization_failed");
  one.socket.ping("hello");
  equal((await once(one.socket, "pong"))[0].toString(), "hello");
  ok(one.pings > 0);
  equal(await one.close(), [1000, ""]);
  // Without a code, as a browser closes.
  two.socket.close();
  equal(await two.closed, [1005, ""]);
}

async function v1WrongPath() {
  const client = await Client.connect(`${base}/v1/messages`);
  equal((await client.receive()).code, "invalid_uri");
  equal(await client.closed, [1008, "Invalid URI - use /v1/messages/json"]);
}

async function v2Requests() {
  const [one, two] = [await Client.connect(v2), await Client.connect(v2)];
  equal((await one.receive()).version, 2);
  await two.receive();
  await one.ask("subscribe", { topics: [TOPIC] });
  const args = [{ double: 2 }, 1.5, -1, 2 ** 53 - 1, "text", [null, { port: "22/tcp" }]];
  await two.ask("publish", { topic: `${TOPIC}d`, event: "Test::v2", args });
  const event = await one.receive();
  // Whole numbers are not doubles by accident.
  equal(event.args, [{ double: 2 }, 1.5, { int: -1 }, ...args.slice(3)]);
  ok(Math.abs(Date.parse(event.ts) - Date.now()) < 60_000);
  equal((await one.ask("subscribe", { topics: [1] })).code, "bad_message");
  await Promise.all([one.close(), two.close()]);
}

async function v2Resume() {
  const [first, other] = [await Client.connect(v2), await Client.connect(v2)];
  const { session } = await first.receive();
  await other.receive();
  await first.ask("subscribe", { topics: [TOPIC] });
  await other.ask("publish", { topic: `${TOPIC}e`, event: "Test::one" });
  const { seq } = await first.receive();
  first.socket.terminate();
  await other.ask("publish", { topic: `${TOPIC}e`, event: "Test::two" });
  const second = await Client.connect(v2);
  await second.receive();
  const { replayed, complete } = await second.ask("resume", { session, after: seq });
  // An event that is only now on its way follows like any other.
  ok(replayed <= 1 && complete);
  equal((await second.receive()).event, "Test::two");
  await Promise.all([second.close(), other.close()]);
}

async function theEndIsSaid() {
  const clients = [await Client.connect(v1), await Client.connect(v2)];
  console.log("stop");
  for (const client of clients) equal(await client.closed, [1001, "Terminating"]);
}

for (const test of [v1Events, v1WrongPath, v2Requests, v2Resume, theEndIsSaid]) {
  await test();
  console.error("ok", test.name);
}
