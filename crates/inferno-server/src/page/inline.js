// The inside of a paragraph: emphasis, code, links. Every pass takes time in proportion to the text, whatever it is, and
// what a model writes becomes text nodes and the few elements named here. HTML is text; images are links that load nothing.

import { el } from "./dom.js";

/// Elements inside each other; deeper emphasis is shown as its inside.
const NESTED = 12;
/// Characters of an address.
const LONGEST_ADDRESS = 2048;

const PLAIN = /(?:[^\\`*_~[\]!<&\nh]|h(?!ttps?:\/\/))+/y;
const BARE = /https?:\/\/[^\s<>"`]{1,2000}/y;
const ANGLED = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BREAK = /<br ?\/?>/iy;
const ENTITY = /&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));/y;
const DESTINATION =
  /\([ \n]{0,8}(?:<([^<>\n]{0,2000})>|([^\s()<>]{0,2000}(?:\([^\s()]{0,500}\)[^\s()]{0,500}){0,4}))(?:[ \n]{1,8}(?:"[^"]{0,500}"|'[^']{0,500}'))?[ \n]{0,8}\)/y;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/// The address if it is one of the web without a user's name in it, else null: no `javascript:`, no `data:`.
export function webAddress(text) {
  if (text.length > LONGEST_ADDRESS) return null;
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  const isWeb = (url.protocol === "https:" || url.protocol === "http:") && url.hostname !== "";
  return isWeb && url.username === "" && url.password === "" ? url : null;
}

function link(url, attributes = {}) {
  return el("a", {
    href: url.href,
    title: url.href,
    target: "_blank",
    rel: "noopener noreferrer nofollow",
    ...attributes,
  });
}

/// Appends the text of a paragraph to `parent`.
export function inline(parent, text) {
  emit(parent, parse(text));
}

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/// A flat list of items. A pair of marks is told by what their items open and close, so that nothing is ever moved.
function parse(text) {
  const items = [];
  const delimiters = [];
  const brackets = [];
  const ticks = tickRuns(text);
  // Brackets below this height stand around a link, which may not be inside of another one.
  let closed = 0;
  let at = 0;
  const push = (item) => items.push(item);
  while (at < text.length) {
    const plain = match(PLAIN, text, at);
    if (plain) {
      push({ text: plain[0] });
      at += plain[0].length;
      continue;
    }
    const c = text[at];
    let found;
    let n = 1;
    if (c === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) {
      push({ text: text[at + 1] });
      n = 2;
    } else if (c === "`") {
      n = runLength(text, at);
      const end = ticks.after(at, n);
      push(end < 0 ? { text: "`".repeat(n) } : { node: codeSpan(text.slice(at + n, end)) });
      n = end < 0 ? n : end + n - at;
    } else if (c === "*" || c === "_" || c === "~") {
      n = runLength(text, at);
      const item = delimiter(text, at, n);
      push(item);
      if (item.canOpen || item.canClose) delimiters.push(item);
    } else if (c === "[" || (c === "!" && text[at + 1] === "[")) {
      n = c === "[" ? 1 : 2;
      const item = { text: text.slice(at, at + n) };
      push(item);
      brackets.push({ item, isImage: n === 2, base: delimiters.length });
    } else if (c === "]" && brackets.length > 0) {
      const bracket = brackets.pop();
      const isOpen = bracket.isImage || brackets.length >= closed;
      closed = Math.min(closed, brackets.length);
      found = isOpen && text[at + 1] === "(" ? match(DESTINATION, text, at + 1) : null;
      const url = found && webAddress(found[1] ?? found[2]);
      if (url) {
        pair(delimiters, bracket.base);
        bracket.item.text = "";
        bracket.item.opens = [
          bracket.isImage ? link(url, { class: "image" }) : link(url, { "data-host": url.host }),
        ];
        push({ closes: 1 });
        if (!bracket.isImage) closed = brackets.length;
        n = 1 + found[0].length;
      } else {
        push({ text: "]" });
      }
    } else if (c === "h" && !/[\p{L}\p{N}]/u.test(text[at - 1] ?? " ")) {
      const address = trimmed(match(BARE, text, at)?.[0] ?? "");
      const url = webAddress(address);
      if (url) {
        const node = link(url);
        node.append(address);
        push({ node });
        n = address.length;
      } else {
        push({ text: c });
      }
    } else if (c === "<" && (found = match(ANGLED, text, at)) && webAddress(found[1])) {
      const node = link(webAddress(found[1]));
      node.append(found[1]);
      push({ node });
      n = found[0].length;
    } else if (c === "<" && (found = match(BREAK, text, at))) {
      push({ node: el("br") });
      n = found[0].length;
    } else if (c === "&" && (found = match(ENTITY, text, at))) {
      push({ text: entity(found) });
      n = found[0].length;
    } else {
      push(c === "\n" ? { node: el("br") } : { text: c });
    }
    at += n;
  }
  pair(delimiters, 0);
  return items;
}

function runLength(text, at) {
  let end = at + 1;
  while (text[end] === text[at]) end++;
  return end - at;
}

/// Runs of backticks by their length; `after` is asked with growing places.
function tickRuns(text) {
  const runs = new Map();
  for (let at = text.indexOf("`"); at >= 0; ) {
    const n = runLength(text, at);
    if (!runs.has(n)) runs.set(n, { starts: [], next: 0 });
    runs.get(n).starts.push(at);
    at = text.indexOf("`", at + n);
  }
  const after = (at, n) => {
    const run = runs.get(n);
    while (run.next < run.starts.length && run.starts[run.next] <= at) run.next++;
    return run.starts[run.next] ?? -1;
  };
  return { after };
}

function codeSpan(text) {
  let shown = text.replaceAll("\n", " ");
  if (shown.length > 2 && shown.startsWith(" ") && shown.endsWith(" ") && shown.trim()) shown = shown.slice(1, -1);
  return el("code", { text: shown });
}

function delimiter(text, at, n) {
  const c = text[at];
  const before = text[at - 1] ?? " ";
  const after = text[at + n] ?? " ";
  let canOpen = !/\s/.test(after);
  let canClose = !/\s/.test(before);
  if (c === "_") {
    canOpen &&= !/[\p{L}\p{N}]/u.test(before);
    canClose &&= !/[\p{L}\p{N}]/u.test(after);
  } else if (c === "~" && n !== 2) {
    canOpen = canClose = false;
  }
  return { mark: c, n, whole: n, canOpen, canClose, opens: [], closes: 0 };
}

/// Pairs the delimiters from `base` on, as CommonMark does, and forgets them.
function pair(delimiters, base) {
  const openers = [];
  // By kind of closer: there is no opener for it below this height.
  const lowest = new Map();
  const shrink = (length) => {
    openers.length = length;
    for (const [kind, height] of lowest) if (height > length) lowest.set(kind, length);
  };
  for (const closer of delimiters.slice(base)) {
    const kind = `${closer.mark}${closer.canOpen}${closer.whole % 3}`;
    while (closer.canClose && closer.n > 0) {
      const low = lowest.get(kind) ?? 0;
      let i = openers.length - 1;
      while (i >= low && !isPair(openers[i], closer)) i--;
      if (i < low) {
        lowest.set(kind, openers.length);
        break;
      }
      const opener = openers[i];
      const n = opener.n >= 2 && closer.n >= 2 ? 2 : 1;
      opener.opens.push(closer.mark === "~" ? "del" : n === 2 ? "strong" : "em");
      closer.closes++;
      opener.n -= n;
      closer.n -= n;
      shrink(opener.n > 0 ? i + 1 : i);
    }
    if (closer.canOpen && closer.n > 0) openers.push(closer);
  }
  delimiters.length = base;
}

function isPair(opener, closer) {
  if (opener.mark !== closer.mark) return false;
  const isEither = opener.canClose || closer.canOpen;
  const isOdd = (opener.whole + closer.whole) % 3 === 0 && (opener.whole % 3 !== 0 || closer.whole % 3 !== 0);
  return !(isEither && isOdd);
}

/// An address without the punctuation of the sentence that it ends.
function trimmed(address) {
  let end = address.length;
  let open = 0;
  for (const c of address) open += c === "(" ? 1 : c === ")" ? -1 : 0;
  for (;;) {
    const last = address[end - 1];
    if (last === ")" && open < 0) open++;
    else if (last === undefined || !".,;:!?'*_~]|".includes(last)) break;
    end--;
  }
  return address.slice(0, end);
}

function entity([whole, name, decimal, hexadecimal]) {
  if (name) return ENTITIES[name];
  const code = decimal ? parseInt(decimal, 10) : parseInt(hexadecimal, 16);
  const isText = code >= 32 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
  return isText ? String.fromCodePoint(code) : whole;
}

/// Builds the nodes, in one pass.
function emit(parent, items) {
  const stack = [parent];
  let buffer = "";
  const top = () => stack[stack.length - 1];
  const flush = () => {
    if (buffer) top().append(buffer);
    buffer = "";
  };
  for (const { text, node, mark, n, opens, closes } of items) {
    for (let i = 0; i < (closes ?? 0); i++) {
      flush();
      stack.pop();
    }
    buffer += mark ? mark.repeat(n) : (text ?? "");
    if (node) {
      flush();
      top().append(node);
    }
    // The pair that was found first is the innermost one.
    for (let i = (opens?.length ?? 0) - 1; i >= 0; i--) {
      flush();
      if (stack.length > NESTED) {
        stack.push(top());
        continue;
      }
      const inner = typeof opens[i] === "string" ? el(opens[i]) : opens[i];
      top().append(inner);
      stack.push(inner);
    }
  }
  flush();
}
