// The arguments of an event on one line, for people: `192.0.2.1, 22/tcp, 17, "text"`. Pure.
//
// Types are left out; whoever needs them opens the event and sees the JSON.

// A longer text is shown as it is: it would be cut anyway.
const LONGEST = 2000;

/** `json` is the text of `args`. */
export function brief(json) {
  if (json.length > LONGEST) return json;
  let args;
  try {
    args = JSON.parse(json);
  } catch {
    return json;
  }
  return Array.isArray(args) ? args.map(value).join(", ") : fields(args);
}

// Types that are an object with one member and a text or number in it; docs/websocket.md, Values.
const PLAIN = new Set([
  "addr", "subnet", "port", "time", "interval", "enum", "count", "int", "double", "bool", "bytes",
]);

function value(of) {
  if (of === null) return "–";
  if (Array.isArray(of)) return `[${of.map(value).join(", ")}]`;
  if (typeof of !== "object") return JSON.stringify(of);
  const names = Object.keys(of);
  const [name] = names;
  const inner = of[name];
  if (names.length === 1) {
    if (PLAIN.has(name) && typeof inner !== "object") return String(inner);
    if (name === "set" && Array.isArray(inner)) return `{${inner.map(value).join(", ")}}`;
    if (name === "table" && Array.isArray(inner)) return `{${inner.map(pair).join(", ")}}`;
  }
  return `(${fields(of)})`;
}

const pair = (entry) => (Array.isArray(entry) && entry.length === 2 ? entry.map(value).join(": ") : value(entry));

const fields = (of) => Object.entries(of).map(([name, inner]) => `${name}=${value(inner)}`).join(", ");
