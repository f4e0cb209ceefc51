// The connection to the gateway: version 2 of the WebSocket API (docs/websocket.md).
//
// It reconnects with growing pauses and resumes its session, so that nothing is missed when a connection breaks
// for a moment. What it subscribes to is one prefix or nothing.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
// With `stats` there is a message every second; after this long without any, the connection is lost.
const SILENCE = 10_000;
const WELCOME = 10_000;
const KINDS = ["nodes", "bus", "stats"];

export class Connection {
  #url;
  #token;
  #events;
  #socket = null;
  // A connection that fell silent, until the new one has taken over its session.
  #old = null;
  #ready = false;
  #readyAt = 0;
  #everReady = false;
  #session = null;
  #seq = 0;
  #welcome = null;
  #heard = 0;
  #tries = 0;
  #timer = 0;
  #nextId = 1;
  #pending = new Map();
  // What we follow, and what the session may be subscribed to, as far as we sent it.
  #wanted = null;
  #answered = () => {};
  #sent = new Set();

  /**
   * `token()` is the token to connect with, or null. `events` has the functions `state(state)`,
   * `welcome(message)`, `resumed(ok)`, `restarted()` and `message(message)`.
   *
   * States: `{name: "connecting"}`, `{name: "open"}`, `{name: "waiting", until, reason}`,
   * `{name: "denied", reason}`.
   */
  constructor(url, token, events) {
    this.#url = url;
    this.#token = token;
    this.#events = events;
    setInterval(() => this.#watch(), 1000);
  }

  /** Connects now, whatever it waits for. */
  connect() {
    clearTimeout(this.#timer);
    const before = this.#socket;
    this.#socket = null;
    // Closing it would end the session.
    if (this.#ready) this.#old = before;
    else before?.close();
    this.#ready = false;
    this.#pending.clear();
    this.#events.state({ name: "connecting" });

    const url = new URL(this.#url);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const token = this.#token();
    if (token !== null) url.searchParams.set("access_token", token);
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#heard = performance.now();
    this.#welcome = null;
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#heard = performance.now();
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      this.#receive(message);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#lost(code, reason);
    };
  }

  /**
   * Subscribes to `prefix` instead of what was subscribed before; null subscribes to nothing. `answered(message)` is
   * called now and after each reconnect.
   */
  follow(prefix, answered = () => {}) {
    this.#wanted = prefix;
    this.#answered = answered;
    if (this.#ready) this.#subscribe();
  }

  /** Milliseconds since the gateway said something; 0 if there is no connection. */
  get silence() {
    return this.#ready ? performance.now() - this.#heard : 0;
  }

  /** Asks for the notices again: the gateway then says what is the case. */
  refresh() {
    if (this.#ready) this.#send({ type: "notices", kinds: KINDS });
  }

  #receive(message) {
    switch (message.type) {
      case "welcome":
        this.#welcome = message;
        if (this.#session === null) this.#begin();
        else this.#resume();
        return;
      case "ok":
      case "error": {
        const then = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        if (then) then(message);
        return;
      }
      case "event":
        this.#seq = message.seq;
        break;
    }
    this.#events.message(message);
  }

  #resume() {
    this.#request({ type: "resume", session: this.#session, after: this.#seq }, (answer) => {
      this.#session = this.#welcome.session;
      if (answer.type === "ok") {
        this.#isReady();
        this.#events.resumed(answer);
        // The lost connection may have taken changes with it.
        this.#subscribe();
        this.refresh();
      } else {
        this.#begin();
      }
    });
  }

  #begin() {
    this.#session = this.#welcome.session;
    this.#seq = this.#welcome.seq;
    this.#sent.clear();
    const again = this.#everReady;
    this.#isReady();
    if (again) this.#events.restarted();
    this.refresh();
    this.#subscribe();
  }

  #isReady() {
    this.#ready = true;
    this.#everReady = true;
    this.#readyAt = performance.now();
    this.#old?.close();
    this.#old = null;
    this.#events.welcome(this.#welcome);
    this.#events.state({ name: "open" });
  }

  #subscribe() {
    const wanted = this.#wanted;
    const answered = this.#answered;
    const old = [...this.#sent].filter((prefix) => prefix !== wanted);
    if (wanted !== null) {
      this.#sent.add(wanted);
      this.#request({ type: "subscribe", topics: [wanted] }, (answer) => {
        if (answer.type === "error" && this.#wanted === wanted) {
          this.#sent.delete(wanted);
          this.#wanted = null;
        }
        answered(answer);
      });
    }
    if (old.length > 0) {
      for (const prefix of old) this.#sent.delete(prefix);
      this.#send({ type: "unsubscribe", topics: old });
    }
  }

  #request(message, then) {
    const id = this.#nextId++;
    this.#pending.set(id, then);
    this.#send({ ...message, id });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  async #lost(code, reason) {
    const welcomed = this.#welcome !== null;
    const socket = this.#socket;
    if (this.#ready && performance.now() - this.#readyAt > LONGEST_PAUSE) this.#tries = 0;
    this.#ready = false;
    this.#pending.clear();
    let why = reason || "";
    if (!welcomed) {
      // Browsers do not tell why a WebSocket was refused. An ordinary request is answered.
      const denied = code === 1008 ? why || "The gateway refused the connection." : await this.#whyDenied();
      if (socket !== this.#socket) return;
      if (denied) {
        this.#socket = null;
        this.#events.state({ name: "denied", reason: denied });
        return;
      }
    }
    this.#socket = null;
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#tries) * (0.8 + 0.4 * Math.random());
    this.#tries += 1;
    this.#timer = setTimeout(() => this.connect(), pause);
    this.#events.state({ name: "waiting", until: performance.now() + pause, reason: why });
  }

  async #whyDenied() {
    const token = this.#token();
    const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
    let status;
    try {
      const answer = await fetch(this.#url, { headers, cache: "no-store" });
      await answer.text();
      status = answer.status;
    } catch {
      return null;
    }
    if (status === 401) {
      return token === null ? "This gateway asks for a token." : "The gateway does not accept the token.";
    }
    return status === 403 ? "The gateway does not allow this page (HTTP 403)." : null;
  }

  #watch() {
    if (!this.#socket) return;
    const limit = this.#ready ? SILENCE : WELCOME;
    if (performance.now() - this.#heard > limit) {
      if (this.#ready) this.connect();
      else this.#socket.close();
    }
  }
}
