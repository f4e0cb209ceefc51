// A client of the WebSocket API, version 2, in Node or in a browser.
//
// It prints which nodes are up and the events of the cluster, and publishes an event every second. Run it while
// `make cluster` runs:
//
//     npm install ws
//     node examples/websocket.mjs [URL [TOKEN]]
//
// URL is ws://127.0.0.1:27759 if it is not given. docs/websocket.md describes all messages.
//
// Browsers have WebSocket, and so has Node from version 22 on: leave out the import. A page can give its token only
// in the URL, as here. If the page is not from the gateway, list its origin in `allowed_origins` of the layout.

import WebSocket from "ws";

const [url = "ws://127.0.0.1:27759", token] = globalThis.process?.argv.slice(2) ?? [];
const query = token === undefined ? "" : `?access_token=${encodeURIComponent(token)}`;
const gateway = new WebSocket(`${url}/v2/messages/json${query}`);

const requests = new Map();
let last = 0;

/** Sends a request, and resolves with the members of the answer. */
function request(type, members) {
  const id = ++last;
  gateway.send(JSON.stringify({ type, id, ...members }));
  return new Promise((resolve, reject) => requests.set(id, { resolve, reject }));
}

gateway.onopen = async () => {
  await request("notices", { kinds: ["nodes"] });
  await request("subscribe", { topics: ["demo.", "zeek.cluster.manager"] });
  for (let count = 1; gateway.readyState === WebSocket.OPEN; count += 1) {
    // In JavaScript 1.0 and 1 are the same number, which is a count to Zeek: say so if a double is meant.
    const args = ["JavaScript", count, { double: count / 2 }];
    try {
      await request("publish", { topic: "demo.ping", event: "Demo::ping", args });
    } catch (error) {
      console.error(`not published: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
};

gateway.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  const { type, id } = message;
  if (type === "event") {
    console.log(message.topic, message.event, ...message.args);
  } else if (type === "nodes") {
    for (const { node, up } of message.nodes) console.log(node, up ? "is up" : "is down");
  } else if (type === "node_up" || type === "node_down") {
    console.log(message.node, type === "node_up" ? "is up" : "is down");
  } else if (type === "ok") {
    requests.get(id)?.resolve(message);
  } else if (type === "error") {
    requests.get(id)?.reject(new Error(message.message));
  }
  requests.delete(id);
};

gateway.onerror = ({ message }) => console.error(message ?? "no connection");
gateway.onclose = ({ code, reason }) => console.error(`closed: ${code} ${reason}`);
