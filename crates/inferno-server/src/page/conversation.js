// A conversation as a tree of turns: to edit a turn or to ask again begins a branch beside it, and nothing is lost. The one
// that is shown is the path from a root to the leaf.

/// Characters of a title.
const TITLE = 60;

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Conversation {
  constructor({ id = newId(), title = "", created = Date.now(), updated = Date.now(), leaf = null, nodes = [] } = {}) {
    Object.assign(this, { id, title, created, updated, leaf });
    this.nodes = new Map(nodes.map((node) => [node.id, node]));
  }

  /// The plain data of it, for storage.
  data() {
    const { id, title, created, updated, leaf } = this;
    return { id, title, created, updated, leaf, nodes: [...this.nodes.values()] };
  }

  /// Adds a turn below `parent` (null: a first turn), and shows it.
  add(parent, turn) {
    const now = Date.now();
    const node = { id: newId(), parent, created: now, updated: now, ...turn };
    this.nodes.set(node.id, node);
    this.leaf = node.id;
    this.updated = now;
    if (this.title === "" && node.role === "user") this.title = titleOf(node.content);
    return node;
  }

  touch(node) {
    node.updated = this.updated = Date.now();
  }

  get(id) {
    return this.nodes.get(id) ?? null;
  }

  /// Turns from the first one to `id`.
  path(id = this.leaf) {
    const turns = [];
    const seen = new Set();
    for (let node = this.get(id); node && !seen.has(node.id); node = this.get(node.parent)) {
      seen.add(node.id);
      turns.push(node);
    }
    return turns.reverse();
  }

  /// Turns beside `node`, itself among them, the oldest first.
  siblings(node) {
    return [...this.nodes.values()].filter((other) => other.parent === node.parent && other.role === node.role);
  }

  children(id) {
    return [...this.nodes.values()].filter((node) => node.parent === id);
  }

  /// Shows `node`, and below it the turns that came last.
  show(node) {
    let leaf = node;
    const seen = new Set();
    for (;;) {
      seen.add(leaf.id);
      const below = this.children(leaf.id).filter((child) => !seen.has(child.id));
      if (below.length === 0) break;
      leaf = below.reduce((last, child) => (child.updated > last.updated ? child : last));
    }
    this.leaf = leaf.id;
  }
}

function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  const letters = [...line.slice(0, 4 * TITLE)];
  return letters.length > TITLE ? `${letters.slice(0, TITLE - 1).join("")}…` : letters.join("");
}

/// The messages of a request for these turns. Answers without anything in them are left out, and a user's turns behind each
/// other are one, as most templates take roles in turn only.
export function messages(turns, system) {
  const all = system ? [{ role: "system", content: system }] : [];
  for (const turn of turns) {
    if (turn.role === "user") {
      const last = all[all.length - 1];
      if (last?.role === "user") last.content += `\n\n${turn.content}`;
      else all.push({ role: "user", content: turn.content });
    } else if (turn.role === "tool") {
      all.push({ role: "tool", tool_call_id: turn.call, name: turn.name, content: turn.content });
    } else if (turn.content || turn.calls?.length) {
      const message = { role: "assistant", content: turn.content };
      if (turn.reasoning) message.reasoning_content = turn.reasoning;
      if (turn.calls?.length) {
        message.tool_calls = turn.calls.map(({ id, name, args }) => ({
          id,
          type: "function",
          function: { name, arguments: args },
        }));
      }
      all.push(message);
    }
  }
  return all;
}

/// Adds a part of a call to `calls`.
export function addCall(calls, { index = 0, id, function: part = {} }) {
  const at = Math.min(index, calls.length);
  calls[at] ??= { id: "", name: "", args: "" };
  const call = calls[at];
  if (id) call.id = id;
  if (part.name) call.name += part.name;
  if (part.arguments) call.args += part.arguments;
}
