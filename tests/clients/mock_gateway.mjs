// A gateway that says what a test wants to see: version 2 of the WebSocket API, without a cluster.
//
// For states of the live page that a healthy cluster does not get into (page_states.mjs). It checks every message
// in both directions against gateway/schema/v2.json, so that it cannot drift away from the real one unnoticed.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Ajv from "ajv/dist/2020.js";
import { WebSocketServer } from "ws";

const gateway = fileURLToPath(new URL("../../gateway/", import.meta.url));
const types = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
};
const policy = /CONTENT_SECURITY_POLICY: &str =\s*"([^"]*)"/.exec(readFileSync(join(gateway, "src/page.rs"), "utf8"))[1];

const ajv = new Ajv({ strict: false, validateFormats: false });
ajv.addSchema(JSON.parse(readFileSync(join(gateway, "schema/v2.json"), "utf8")), "v2");
const isServerMessage = ajv.getSchema("v2#/$defs/server_message");
const isClientMessage = ajv.getSchema("v2#/$defs/client_message");

const limits = {
  message_bytes: 1048576, subscriptions: 256, queue_messages: 8192, queue_bytes: 8388608, replay_events: 65536,
  resume_seconds: 60,
};

/** Members may be changed at any time. */
export class MockGateway {
  token = null;
  // HTTP status that refuses everybody, as a gateway that is overloaded would.
  refuse = null;
  // How many were refused.
  refused = 0;
  application = null;
  bus = true;
  nodes = new Map();
  // What `stats` says besides `clients`, by the time since the start in seconds.
  stats = () => ({});
  otherClients = [];
  // Topics that cannot be subscribed.
  forbidden = null;
  // Whether there are stats each second.
  talking = true;
  // How many events of before are still there for `resume`.
  replay = 65536;
  // How many `stats` there were.
  measurements = 0;
  problems = [];
  requests = [];

  #seq = 1000;
  #kept = [];
  #sessions = new Map();
  #clients = new Set();
  #started = Date.now();
  #next = 1;
  #server = createServer((request, response) => this.#serve(request, response));
  #sockets = new WebSocketServer({ noServer: true });
  #timers = [];

  async start(port = 0) {
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    await new Promise((done) => this.#server.listen(port, "127.0.0.1", done));
    this.#timers.push(setInterval(() => this.talking && this.sendStats(), 1000));
    this.port = this.#server.address().port;
    return `http://127.0.0.1:${this.port}/`;
  }

  stop() {
    this.#timers.forEach(clearInterval);
    this.cut();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  node(name, type, up = true) {
    const known = this.nodes.get(name);
    const id = up ? `zeromq_${name}_host1_4100_N${this.#next++}` : known?.id ?? null;
    this.nodes.set(name, { node: name, node_type: type ?? known.node_type, id, up });
    const message = { type: up ? "node_up" : "node_down", node: name, id: id ?? "", ts: new Date().toISOString() };
    if (known) this.#tell("nodes", message);
    return Date.now();
  }

  setBus(connected) {
    this.bus = connected;
    this.#tell("bus", { type: "bus", connected });
  }

  publish(topic, event, args = [], more = {}, publisher = null) {
    const message = { type: "event", seq: ++this.#seq, topic, event, args, ts: new Date().toISOString(), ...more };
    this.#kept.push(message);
    if (this.#kept.length > this.replay) this.#kept = this.#kept.slice(-this.replay);
    for (const client of this.#clients) {
      if (client !== publisher && selects(client.topics, topic)) this.#send(client, message);
    }
    return this.#seq;
  }

  /** Publishes `perSecond` events until it is stopped; `stop()` returns how many there were. */
  flood(perSecond, make) {
    const start = Date.now();
    let sent = 0;
    const timer = setInterval(() => {
      const due = ((Date.now() - start) / 1000) * perSecond;
      for (; sent < due; sent += 1) this.publish(...make(sent));
    }, 5);
    this.#timers.push(timer);
    return { stop: () => (clearInterval(timer), sent) };
  }

  lag(dropped) {
    const from = this.#seq + 1;
    this.#seq += dropped;
    for (const client of this.#clients) this.#send(client, { type: "lagged", dropped, from, to: this.#seq });
  }

  /** Breaks all connections, without a close frame. */
  cut() {
    for (const client of [...this.#clients]) client.socket.terminate();
  }

  /** What is subscribed. */
  topics() {
    return [...this.#clients].flatMap((client) => [...client.topics]);
  }

  /** As after a restart: sessions and numbers are gone. */
  forget() {
    this.#sessions.clear();
    this.#kept = [];
    this.#seq = 0;
  }

  sendStats() {
    this.measurements += 1;
    const since = (Date.now() - this.#started) / 1000;
    const clients = [...this.#clients].map((client) => ({
      endpoint: client.endpoint, application: this.application, address: client.address, version: 2,
      subscriptions: client.topics.size, received_per_second: 0, sent_per_second: 1, queued_messages: 0, dropped: 0,
    }));
    this.#tell("stats", {
      type: "stats", ts: new Date().toISOString(), node: "gateway", interval_seconds: 1,
      topics_from: "broker", topics: [], logs: [], drops: [], slow: [], unreachable: [], ...this.stats(since),
      clients: [...clients, ...this.otherClients],
    });
  }

  #serve(request, response) {
    const path = new URL(request.url, "http://x").pathname;
    if (path === "/v2/messages/json") {
      const authorized = this.token === null || request.headers.authorization === `Bearer ${this.token}`;
      response.writeHead(this.refuse ?? (authorized ? 426 : 401)).end();
      return;
    }
    try {
      const name = path === "/" ? "index.html" : path.slice(1);
      const body = readFileSync(join(gateway, "page", name));
      response.writeHead(200, { "content-type": types[extname(name)], "content-security-policy": policy });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  }

  #upgrade(request, socket, head) {
    const url = new URL(request.url, "http://x");
    const refuse = this.refuse ?? (this.token !== null && url.searchParams.get("access_token") !== this.token ? 401 : null);
    if (refuse !== null) {
      this.refused += 1;
      socket.end(`HTTP/1.1 ${refuse} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (ws) => this.#connected(ws, request));
  }

  #connected(socket, request) {
    const number = this.#next++;
    const client = {
      socket, endpoint: `zeromq_gateway_host1_4200_NabcDEF1-websocket-${number}`, session: `session-${number}`,
      address: `127.0.0.1:${request.socket.remotePort}`, topics: new Set(), kinds: new Set(), first: true,
    };
    this.#clients.add(client);
    this.#sessions.set(client.session, client);
    socket.on("error", () => {});
    socket.on("close", (code) => {
      this.#clients.delete(client);
      if (code !== 1006) this.#sessions.delete(client.session);
    });
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      this.requests.push(message);
      if (!isClientMessage(message)) this.problems.push({ from: "client", message, errors: isClientMessage.errors });
      this.#receive(client, message);
    });
    this.#send(client, {
      type: "welcome", version: 2, endpoint: client.endpoint, session: client.session, seq: this.#seq,
      node: "gateway", server: "zcluster/0.1.0", application: this.application, limits,
    });
  }

  #receive(client, { type, id, topics, kinds, session, after, topic, event, args }) {
    const first = client.first;
    client.first = false;
    const ok = (more = {}) => {
      if (id !== undefined || more.replayed !== undefined) this.#send(client, { type: "ok", id, ...more });
    };
    const error = (code, message) => this.#send(client, { type: "error", id, code, message });
    if (type === "subscribe") {
      const refused = topics.find((topic) => this.forbidden?.(topic));
      if (refused !== undefined) return error("not_allowed", `\`alerts\` may not subscribe to \`${refused}\``);
      topics.forEach((topic) => client.topics.add(topic));
      ok();
    } else if (type === "unsubscribe") {
      topics.forEach((topic) => client.topics.delete(topic));
      ok();
    } else if (type === "publish") {
      this.publish(topic, event, args, {}, client);
      ok();
    } else if (type === "notices") {
      client.kinds = new Set(kinds);
      ok();
      if (client.kinds.has("nodes")) this.#send(client, { type: "nodes", nodes: [...this.nodes.values()] });
      if (client.kinds.has("bus")) this.#send(client, { type: "bus", connected: this.bus });
    } else if (type === "resume") {
      const lost = this.#sessions.get(session);
      if (!first) return error("not_allowed", "`resume` is not the first message");
      if (!lost || after > this.#seq) return error("resume_failed", "there is no such session");
      this.#sessions.delete(session);
      if (this.#clients.delete(lost)) lost.socket.close(1000);
      client.topics = lost.topics;
      client.kinds = lost.kinds;
      const kept = this.#kept.filter((event) => event.seq > after && selects(client.topics, event.topic));
      const oldest = this.#kept.length > 0 ? this.#kept[0].seq : this.#seq + 1;
      const complete = oldest <= after + 1;
      ok({ replayed: kept.length, complete });
      if (!complete) this.#send(client, { type: "lagged", dropped: null, from: after + 1, to: oldest - 1 });
      kept.forEach((event) => this.#send(client, event));
    }
  }

  #tell(kind, message) {
    for (const client of this.#clients) if (client.kinds.has(kind)) this.#send(client, message);
  }

  #send(client, message) {
    const text = JSON.stringify(message);
    const known = JSON.parse(text);
    // A flood of events that differ in a number need not be checked one by one.
    if ((message.type !== "event" || message.seq % 100 === 0) && !isServerMessage(known)) {
      this.problems.push({ from: "server", message, errors: isServerMessage.errors });
    }
    client.socket.send(text);
  }
}

const selects = (topics, topic) => [...topics].some((prefix) => topic.startsWith(prefix));
