// One turn of a conversation on the page: a user's, an answer, the result of a tool.

import { Code } from "./blocks.js";
import { copyButton, el, icon, iconButton } from "./dom.js";
import { Markdown } from "./markdown.js";
import { Pieces } from "./pieces.js";

/// Characters of arguments that are set out in lines.
const LONGEST_JSON = 200_000;
/// Milliseconds of a frame for new text, and characters between two looks at the time.
const SLICE = 30;
const PART = 4096;

function seconds(ms) {
  return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}

function count(n) {
  return n.toLocaleString("en");
}

/// Buttons that only work while no answer is coming.
function idle(button) {
  button.dataset.idle = "";
  return button;
}

/// Goes from one version of a turn to the next.
function versions(node, siblings, actions) {
  if (siblings.length < 2) return null;
  const at = siblings.findIndex((other) => other.id === node.id);
  const step = (name, label, to) => {
    const button = idle(iconButton(name, label, () => actions.version(siblings[to])));
    if (!siblings[to]) button.dataset.never = "";
    return button;
  };
  return el(
    "span",
    { class: "versions", role: "group", "aria-label": "Versions" },
    step("left", "Previous version", at - 1),
    el("span", { text: `${at + 1} / ${siblings.length}` }),
    step("right", "Next version", at + 1),
  );
}

class Turn {
  constructor(node, actions, name, attributes) {
    this.node = node;
    this.actions = actions;
    this.foot = el("footer");
    this.body = el("div", { class: "body" });
    const label = el("h2", { class: "hidden", text: name });
    this.root = el("article", { class: `turn ${node.role}`, ...attributes }, label, this.body, this.foot);
  }

  /// Whether another `update` is needed to show all of it.
  get hasMore() {
    return false;
  }

  update() {}
}

export class UserTurn extends Turn {
  constructor(node, actions) {
    super(node, actions, "You");
    this.show();
  }

  show() {
    const text = el("div", { class: "plain", dir: "auto" });
    const pieces = new Pieces(text);
    pieces.add(this.node.content);
    pieces.show();
    this.body.replaceChildren(text);
  }

  showFoot(siblings) {
    const { node, actions } = this;
    const edit = idle(iconButton("edit", "Edit", () => this.edit()));
    this.foot.replaceChildren(copyButton("Copy message", () => node.content), edit);
    const nav = versions(node, siblings, actions);
    if (nav) this.foot.append(nav);
  }

  edit() {
    const field = el("textarea", { "aria-label": "Edit the message", rows: "3", dir: "auto" });
    field.value = this.node.content;
    const end = () => {
      this.show();
      this.foot.querySelector("[data-idle]")?.focus();
    };
    const send = () => {
      const text = field.value.trim();
      if (text) this.actions.edit(this.node, text);
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        end();
      } else if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    const cancel = el("button", { type: "button", text: "Cancel", on: { click: end } });
    const submit = idle(el("button", { type: "button", class: "primary", text: "Send", on: { click: send } }));
    this.body.replaceChildren(field, el("div", { class: "row" }, el("span", { class: "space" }), cancel, submit));
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

export class ToolTurn extends Turn {
  constructor(node, actions) {
    super(node, actions, "Result of a tool");
    const code = new Code("result");
    code.add(node.content);
    code.show();
    this.body.append(el("details", {}, el("summary", { text: `Result of ${node.name || "a tool"}` }), code.root));
  }

  showFoot(siblings) {
    this.foot.replaceChildren(versions(this.node, siblings, this.actions) ?? "");
  }
}

export class AnswerTurn extends Turn {
  constructor(node, actions) {
    super(node, actions, "Answer");
    /// Characters that are shown already.
    this.shown = { reasoning: 0, content: 0 };
    this.calls = [];
    this.status = el("p", { class: "status muted" });
    this.failure = el("div", { class: "failure", role: "alert", hidden: true });
    this.text = el("div", { class: "text" });
    this.callList = el("div", { class: "calls" });
    this.body.append(this.text, this.callList, this.status, this.failure);
  }

  /// Shows what has come since the last time, or as much of it as there is time for: then there is more to show.
  update(isBusy) {
    const { node } = this;
    const until = performance.now() + SLICE;
    this.isBusy = isBusy;
    this.root.setAttribute("aria-busy", String(isBusy));
    this.updateThoughts(isBusy, until);
    if (node.content.length > this.shown.content) {
      this.markdown ??= new Markdown(this.text);
      this.feed(this.markdown, "content", until);
    }
    this.updateCalls();
    this.status.textContent = isBusy ? statusOf(node) : "";
    this.status.hidden = !isBusy || this.status.textContent === "";
    if (!isBusy && !this.hasMore) this.end();
  }

  get hasMore() {
    return this.shown.content < this.node.content.length || this.shown.reasoning < this.node.reasoning.length;
  }

  feed(markdown, field, until) {
    const text = this.node[field];
    do {
      const from = this.shown[field];
      markdown.add(text.slice(from, from + PART));
      this.shown[field] = Math.min(text.length, from + PART);
    } while (this.shown[field] < text.length && performance.now() < until);
    markdown.showOpen();
  }

  /// Builds what was open: nothing more comes.
  end() {
    this.markdown?.finish();
    this.thoughts?.markdown.finish();
    const { node } = this;
    for (const [i, view] of this.calls.entries()) view.end(node.calls[i]);
    this.showFailure();
  }

  updateThoughts(isBusy, until) {
    const { node } = this;
    if (node.reasoning.length > this.shown.reasoning) {
      this.thoughts ??= this.newThoughts();
      this.feed(this.thoughts.markdown, "reasoning", until);
    }
    if (!this.thoughts) return;
    const isThinking = isBusy && node.content === "" && !node.calls?.length;
    const { details, summary } = this.thoughts;
    summary.textContent = isThinking ? "Thinking…" : node.thought >= 0 ? `Thought for ${seconds(node.thought)}` : "Thoughts";
    // Open while the model thinks, unless a reader has decided otherwise.
    if (!this.thoughts.isDecided && details.open !== isThinking) details.open = isThinking;
  }

  newThoughts() {
    const summary = el("summary");
    const inside = el("div", { class: "text" });
    const details = el("details", { class: "thoughts" }, summary, inside);
    const thoughts = { details, summary, markdown: new Markdown(inside), isDecided: false };
    summary.addEventListener("click", () => {
      thoughts.isDecided = true;
    });
    this.body.prepend(details);
    return thoughts;
  }

  updateCalls() {
    for (const [i, call] of (this.node.calls ?? []).entries()) {
      if (!this.calls[i]) {
        this.calls[i] = new CallView();
        this.callList.append(this.calls[i].root);
      }
      this.calls[i].update(call);
    }
  }

  showFailure() {
    const { failure } = this.node;
    clearInterval(this.timer);
    this.failure.replaceChildren();
    this.failure.hidden = !failure;
    if (!failure) return;
    const button = idle(el("button", { type: "button", on: { click: () => this.actions.retry(this.node) } }));
    const label = failure.kind === "key" ? "Enter a key" : "Try again";
    const left = () => Math.ceil(((failure.until ?? 0) - Date.now()) / 1000);
    const tick = () => {
      button.textContent = left() > 0 ? `${label} (in ${left()} s)` : label;
      if (left() <= 0) clearInterval(this.timer);
    };
    tick();
    if (left() > 0) this.timer = setInterval(tick, 500);
    this.failure.append(el("p", { text: failure.message }), button);
  }

  showFoot(siblings, isLeaf) {
    const { node, actions } = this;
    this.callList.querySelector("form")?.remove();
    const needsResults = isLeaf && node.calls?.length > 0 && !node.failure && node.finish !== null;
    if (needsResults) this.callList.append(resultForm(node, actions));
    const foot = [];
    if (node.content) foot.push(copyButton("Copy answer", () => node.content));
    foot.push(idle(iconButton("again", "Ask again", () => actions.again(node))));
    const isCut = node.finish === "length" || node.finish === "stopped" || node.finish === "failed";
    if (isLeaf && isCut && node.content && !node.calls?.length) {
      foot.push(idle(iconButton("play", "Continue the answer", () => actions.goOn(node))));
    }
    foot.push(versions(node, siblings, actions), el("span", { class: "stats muted", text: statsOf(node) }));
    this.foot.replaceChildren(...foot.filter(Boolean));
  }
}

/// A call of a tool: its name, and its arguments as they come.
class CallView {
  constructor() {
    this.name = el("strong");
    this.code = new Code("arguments");
    this.shown = 0;
    this.root = el("div", { class: "call" }, el("p", {}, icon("settings"), " Calls ", this.name), this.code.root);
  }

  update({ name, args }) {
    this.name.textContent = name;
    if (args.length > this.shown) {
      this.code.add(args.slice(this.shown));
      this.code.show();
      this.shown = args.length;
    }
  }

  end({ args }) {
    if (args.length > LONGEST_JSON) return;
    let lines;
    try {
      lines = JSON.stringify(JSON.parse(args), null, 2);
    } catch {
      return;
    }
    const code = new Code("arguments");
    code.add(lines);
    code.show();
    this.code.root.replaceWith(code.root);
    this.code = code;
  }
}

function resultForm(node, actions) {
  const fields = node.calls.map(({ name }) =>
    el("textarea", { rows: "2", "aria-label": `Result of ${name}`, placeholder: `Result of ${name}` }),
  );
  const button = idle(el("button", { type: "submit", class: "primary", text: "Send results" }));
  const submit = (event) => {
    event.preventDefault();
    actions.results(node, fields.map((field) => field.value));
  };
  return el("form", { on: { submit } }, ...fields, el("div", { class: "row" }, el("span", { class: "space" }), button));
}

function statusOf(node) {
  if (node.content || node.calls?.length) return "";
  const { queued, progress } = node.live ?? {};
  if (node.reasoning) return "";
  if (progress && progress.processed < progress.total) {
    return `Reading the prompt: ${count(progress.processed)} of ${count(progress.total)} tokens`;
  }
  if (queued) return `Waiting in the queue: place ${queued[0]} of ${queued[1]}`;
  return "…";
}

const ENDS = {
  length: "Stopped at the limit of tokens",
  stopped: "Stopped",
  failed: "",
  stop: "",
  tool_calls: "",
};

/// The line of numbers below an answer.
export function statsOf({ stats, finish, calls }) {
  const words = [finish === null ? "Interrupted" : (ENDS[finish] ?? finish)];
  if (stats) {
    const { tokens, rate, first, prompt, cached } = stats;
    if (tokens) words.push(`${count(tokens)} ${tokens === 1 ? "token" : "tokens"}`);
    if (rate) words.push(`${rate < 100 ? rate.toFixed(1) : count(Math.round(rate))} tokens/s`);
    if (first) words.push(`first after ${first < 995 ? `${Math.round(first)} ms` : seconds(first)}`);
    if (prompt) words.push(`prompt ${count(prompt)}${cached ? ` (${count(cached)} cached)` : ""}`);
  }
  if (calls?.length) words.push(`${calls.length} ${calls.length === 1 ? "call" : "calls"}`);
  return words.filter(Boolean).join(" · ");
}
