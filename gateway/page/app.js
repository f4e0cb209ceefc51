// The live page: connects the gateway's stream to what is on the page.
//
// Text from the network reaches the DOM through `textContent` (and the value of an input), never as HTML.
// Messages only change the model; the page is drawn once per frame.

import { Connection } from "./connection.js";
import { byName, bytes, count, plural, rate, shorten, time, visible } from "./format.js";
import { Drops, Nodes, Rates } from "./model.js";
import { RatesPanel } from "./rates.js";
import { Table, figure, name, text } from "./table.js";
import { Tail } from "./tail.js";
import * as token from "./token.js";

const byId = (id) => document.getElementById(id);

const nodes = new Nodes();
const topics = new Rates();
const logs = new Rates();
const drops = new Drops();
let stats = null;
let bus = null;
let welcome = null;
let state = { name: "connecting" };
let lostAt = null;

// What must be drawn with the next frame.
const dirty = new Set();
let cancelFrame = null;

function changed(...parts) {
  for (const part of parts) dirty.add(part);
  if (cancelFrame) return;
  // A hidden page gets no frames, but its title may be in sight.
  if (document.hidden) {
    const timer = setTimeout(draw, 500);
    cancelFrame = () => clearTimeout(timer);
  } else {
    const frame = requestAnimationFrame(draw);
    cancelFrame = () => cancelAnimationFrame(frame);
  }
}

function draw() {
  cancelFrame = null;
  const parts = new Set(dirty);
  dirty.clear();
  if (parts.has("head")) drawHead();
  if (document.hidden) {
    parts.delete("head");
    for (const part of parts) dirty.add(part);
    return;
  }
  if (parts.has("nodes")) drawNodes();
  if (parts.has("rates")) {
    topicsPanel.render();
    logsPanel.render();
  }
  if (parts.has("stats")) drawStats();
  if (parts.has("tail") && tail.render()) changed("tail");
}

document.addEventListener("visibilitychange", () => {
  // What was asked for before may never come.
  cancelFrame?.();
  cancelFrame = null;
  changed("head", "nodes", "rates", "stats", "tail");
});

// --- what the gateway says ---

const connection = new Connection(new URL("v2/messages/json", document.baseURI), token.get, {
  state(next) {
    const before = state.name;
    state = next;
    if (next.name === "open") {
      if (before !== "open") announce("Connected to the gateway.");
      byId("forget").hidden = token.get() === null;
    } else if (before === "open") {
      lostAt = new Date();
      const why = next.reason ? `: ${visible(next.reason)}` : "";
      tail.mark(`The connection was interrupted at ${time(lostAt)}${why}.`);
      announce("The connection to the gateway is lost.");
    }
    tail.setConnected(next.name === "open");
    if (next.name === "denied") askForToken(next.reason);
    else byId("token-form").hidden = true;
    changed("head", "tail");
  },
  welcome(message) {
    welcome = message;
    changed("head", "stats");
  },
  resumed({ replayed, complete }) {
    const all = complete ? "nothing was lost" : "not everything could be sent again";
    tail.mark(`Connected again: ${plural(replayed, "event")} of the meantime follow${replayed === 1 ? "s" : ""}, ${all}.`);
  },
  restarted() {
    tail.mark("Connected again, as a new session: events of the meantime are missing.", null);
  },
  message: receive,
});

function receive(message) {
  switch (message.type) {
    case "event":
    case "lagged":
      tail.receive(message);
      return;
    case "nodes":
      for (const [node, up] of nodes.replace(message.nodes, new Date())) announceNode(node, up);
      changed("nodes", "head");
      return;
    case "node_up":
    case "node_down": {
      const up = message.type === "node_up";
      // A node that was not in the list: ask what it is.
      if (nodes.change(message.node, up, message.id, new Date(message.ts))) connection.refresh();
      announceNode(message.node, up);
      changed("nodes", "head");
      return;
    }
    case "bus":
      if (bus !== null && bus !== message.connected) {
        announce(message.connected ? "The bus is connected." : "The bus is not connected.");
      }
      bus = message.connected;
      changed("head");
      return;
    case "stats": {
      markLosing(message.clients, stats?.clients ?? []);
      stats = message;
      byId("events-note").hidden = message.topics_from === "broker";
      const at = new Date(message.ts);
      const seconds = at.getTime() / 1000;
      const interval = message.interval_seconds;
      topics.push(seconds, interval, message.topics.map((entry) => [entry.topic, entry.events_per_second]));
      logs.push(seconds, interval, message.logs.map((entry) => [entry.path, entry.records_per_second]));
      drops.update(message.drops, at);
      changed("rates", "stats", "head");
    }
  }
}

/** Marks the clients that have lost something since the measurement before. */
function markLosing(clients, before) {
  const dropped = new Map(before.map((client) => [client.endpoint, client.dropped]));
  for (const client of clients) client.losing = client.dropped > (dropped.get(client.endpoint) ?? client.dropped);
}

// --- announcements for screen readers, a sentence for many changes ---

let sentences = [];
let goneDown = new Set();
let comeUp = new Set();
let speaking = 0;

function announce(sentence) {
  sentences.push(sentence);
  speaking ||= setTimeout(speak, 500);
}

function announceNode(node, up) {
  (up ? comeUp : goneDown).add(node);
  (up ? goneDown : comeUp).delete(node);
  speaking ||= setTimeout(speak, 500);
}

function speak() {
  speaking = 0;
  for (const [set, word] of [[goneDown, "down"], [comeUp, "up"]]) {
    if (set.size > 3) sentences.push(`${set.size} nodes are ${word}.`);
    else for (const node of set) sentences.push(`${visible(node)} is ${word}.`);
    set.clear();
  }
  text(byId("announcements"), sentences.slice(-5).join(" "));
  sentences = [];
}

// --- the head: lamps, figures, title ---

function lamp(element, mode, words) {
  element.dataset.state = mode;
  text(element, words);
  element.hidden = false;
}

function drawHead() {
  drawLink();
  const stale = state.name !== "open";
  document.body.classList.toggle("stale", stale && welcome !== null);
  if (bus === null || stale) byId("bus").hidden = true;
  else lamp(byId("bus"), bus ? "good" : "bad", bus ? "Bus connected" : "Bus not connected");

  if (welcome) {
    text(byId("gateway-node"), shorten(visible(welcome.node), 40));
    text(byId("server"), `Served by ${visible(welcome.server)}.`);
  }
  const down = nodes.size - nodes.up;
  put("figure-nodes", nodes.size === 0 ? "–" : `${nodes.up} of ${nodes.size}`, down > 0 && "bad");
  put("figure-events", rate(topics.total));
  put("figure-records", rate(logs.total));
  put("figure-drops", stats ? rate(drops.perSecond) : "–", drops.perSecond > 0 && "bad");
  put("figure-slow", stats ? count(stats.slow.length) : "–", stats?.slow.length > 0 && "warn");
  put("figure-clients", stats ? count(stats.clients.length) : "–");

  const here = welcome ? `${welcome.node} – zcluster` : "zcluster";
  const alarm = [
    stale && welcome && "no connection",
    !stale && bus === false && "no bus",
    down > 0 && `${down} down`,
    drops.perSecond > 0 && "drops",
  ].filter(Boolean);
  document.title = alarm.length > 0 ? `(${alarm.join(", ")}) ${here}` : here;
}

function drawLink() {
  const link = byId("link");
  byId("retry").hidden = state.name !== "waiting";
  if (state.name === "open") {
    const silence = connection.silence;
    if (silence < 3500) lamp(link, "good", "Connected");
    else lamp(link, "warn", `Silent for ${Math.round(silence / 1000)} s`);
  } else if (state.name === "waiting") {
    const seconds = Math.max(0, Math.ceil((state.until - performance.now()) / 1000));
    const since = lostAt ? ` since ${time(lostAt)}` : "";
    const why = state.reason ? ` (${visible(state.reason)})` : "";
    lamp(link, "bad", `Not connected${since}${why}, next try in ${seconds} s`);
  } else if (state.name === "denied") {
    lamp(link, "bad", "No access");
  } else {
    lamp(link, "busy", "Connecting");
  }
}

function put(id, value, alarm) {
  const figure = byId(id);
  figure.className = alarm || "";
  text(figure.querySelector("dd"), value);
}

// --- nodes ---

// So many at first; those that are down come before the others.
const NODES = 60;
const TYPES = ["manager", "logger", "proxy", "worker"];
const rank = ({ type }) => (TYPES.indexOf(type) + TYPES.length + 1) % (TYPES.length + 1);
const tiles = new Map();
let allNodes = false;

document.querySelector("#nodes .more button").addEventListener("click", () => {
  allNodes = !allNodes;
  changed("nodes");
});

function drawNodes() {
  const all = nodes.list.sort(
    (a, b) => a.up - b.up || rank(a) - rank(b) || byName(a.type ?? "", b.type ?? "") || byName(a.node, b.node),
  );
  const list = allNodes ? all : all.slice(0, NODES);
  const box = document.querySelector("#nodes ul");
  const empty = document.querySelector("#nodes .empty");
  empty.hidden = list.length > 0;
  text(empty, state.name === "open" ? "The gateway knows no node." : "Nothing is known yet.");
  const more = document.querySelector("#nodes .more");
  more.hidden = all.length <= NODES;
  text(more.firstElementChild, list.length < all.length ? `and ${all.length - list.length} more` : "");
  text(more.lastElementChild, allNodes ? "Show less" : `Show all ${all.length}`);
  const note = byId("nodes-note");
  note.hidden = !all.some(({ since }) => since === null);
  text(note, `Without a time: since before ${time(nodes.start ?? new Date())}, when this page connected.`);
  for (const [node, tile] of tiles) {
    if (list.some((other) => other.node === node)) continue;
    tile.remove();
    tiles.delete(node);
  }
  let place = box.firstElementChild;
  for (const { node, type, up, since, exact } of list) {
    let tile = tiles.get(node);
    if (!tile) {
      tile = document.createElement("li");
      for (const parts of [["name net", "lamp"], ["type net", "since"]]) {
        const line = document.createElement("div");
        for (const part of parts) {
          const span = document.createElement("span");
          span.className = part;
          line.append(span, " ");
        }
        tile.append(line);
      }
      tiles.set(node, tile);
    }
    const [title, mode, kind, when] = tile.querySelectorAll("span");
    text(title, shorten(visible(node)));
    text(kind, shorten(visible(type ?? "")));
    tile.className = up ? "up" : "down";
    lamp(mode, up ? "good" : "bad", up ? "up" : "down");
    text(when, since ? `since ${exact ? "" : "before "}${time(since)}` : "");
    if (tile === place) place = place.nextElementSibling;
    else box.insertBefore(tile, place);
  }
}

// --- figures by process ---

const again = (part) => () => changed(part);
const topicsPanel = new RatesPanel(byId("events"), topics, {
  empty: "No events in the last five minutes.",
  pick(topic) {
    tail.follow(topic);
    byId("tail").scrollIntoView();
  },
  again: again("rates"),
});
const logsPanel = new RatesPanel(byId("logs"), logs, {
  empty: "No log records in the last five minutes.",
  again: again("rates"),
});

const dropsTable = new Table(
  byId("drops"),
  [
    name((drop) => drop.process),
    name((drop) => drop.reason),
    figure((drop) => rate(drop.per_second)),
    figure((drop) => count(drop.total)),
    figure((drop) => (drop.growing ? "now" : drop.last ? time(drop.last) : "before this page"), "last"),
  ],
  { again: again("stats") },
);

const slowTable = new Table(
  byId("slow"),
  [
    name((slow) => slow.peer),
    figure((slow) => count(slow.queued_events)),
    figure((slow) => bytes(slow.queued_bytes)),
    figure((slow) => count(slow.dropped)),
  ],
  { again: again("stats") },
);

const clientsTable = new Table(
  byId("clients"),
  [
    name((client) => client.label + (client.own ? " (this page)" : "")),
    name((client) => client.application ?? "–"),
    name((client) => client.address),
    figure((client) => `v${client.version}`),
    figure((client) => count(client.subscriptions)),
    figure((client) => rate(client.received_per_second)),
    figure((client) => rate(client.sent_per_second)),
    figure((client) => count(client.queued_messages)),
    figure((client) => count(client.dropped)),
  ],
  { limit: 20, again: again("stats") },
);

function drawStats() {
  if (!stats) return;
  const unreachable = byId("unreachable");
  unreachable.hidden = stats.unreachable.length === 0;
  const who = stats.unreachable.slice(0, 10).map((process) => shorten(visible(process))).join(", ") + (stats.unreachable.length > 10 ? ", …" : "");
  text(unreachable, `No figures from ${who}: what happens there is missing below.`);

  dropsTable.show(
    drops.list.map((drop) => ({ ...drop, className: drop.growing ? "growing" : "" })),
    "Nothing was dropped.",
  );
  const slow = stats.slow.map((entry) => ({ ...entry, key: entry.peer }));
  slow.sort((a, b) => b.queued_bytes - a.queued_bytes);
  slowTable.show(slow, "No subscriber is behind.");
  // Their ids are that of the gateway and a number.
  const own = /^(.*-)websocket-\d+$/.exec(welcome?.endpoint ?? "");
  const common = own ? own[1] : "";
  const withoutCommon = (endpoint) => (endpoint.startsWith(common) ? endpoint.slice(common.length) : endpoint);
  const note = byId("clients-note");
  note.hidden = common === "" || stats.clients.length === 0;
  text(note, `In the cluster their ids begin with ${common}`);
  const clients = stats.clients.map((client) => ({
    ...client,
    key: client.endpoint,
    label: withoutCommon(client.endpoint),
    own: client.endpoint === welcome?.endpoint,
    className: client.losing ? "growing" : "",
  }));
  clients.sort(
    (a, b) =>
      b.queued_messages - a.queued_messages || b.dropped - a.dropped || b.sent_per_second - a.sent_per_second ||
      byName(a.endpoint, b.endpoint),
  );
  clientsTable.show(clients, "No clients.");
}

// --- access ---

function askForToken(reason) {
  text(byId("token-reason"), reason);
  byId("token-form").hidden = false;
  byId("token").value = "";
  byId("token").focus();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  connection.connect();
});

byId("forget").addEventListener("click", () => {
  token.set(null);
  location.reload();
});

function takeToken() {
  if (token.takeFromAddress()) connection.connect();
}

// --- start ---

const tail = new Tail(connection, () => changed("tail"));

byId("retry").addEventListener("click", () => connection.connect());
addEventListener("online", () => state.name === "waiting" && connection.connect());
addEventListener("hashchange", takeToken);
setInterval(() => {
  tail.tick();
  changed("head", "tail");
}, 1000);

text(byId("zone"), `Times are local: ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`);
token.takeFromAddress();
connection.connect();
changed("tail");
