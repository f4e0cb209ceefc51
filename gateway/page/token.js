// The token that the gateway may ask for: from the fragment `#token=…` or a form, kept for this tab.

const KEY = "zcluster.token";

// Storage may be forbidden; then the token lasts as long as the page.
let kept = null;
try {
  kept = sessionStorage.getItem(KEY);
} catch {
  // As said.
}

export const get = () => kept;

export function set(token) {
  kept = token;
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // As above.
  }
}

/** Takes a token out of the address bar. Returns whether there was one. */
export function takeFromAddress() {
  const found = /^#token=(.*)$/s.exec(location.hash);
  if (!found) return false;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    set(decodeURIComponent(found[1]));
  } catch {
    set(found[1]);
  }
  return true;
}
