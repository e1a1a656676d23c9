// Markdown as it streams in, to nodes. Blocks that have ended are built once; only the last block is built again as text
// comes, and it is cut when it gets long, so that an answer of any length takes time in proportion to it.

import { Code, HEADING, ITEM, blocks, closes, dedented, expanded, fenceOf, indentOf } from "./blocks.js";
import { el } from "./dom.js";
import { whole } from "./pieces.js";

/// Characters of a block that is still open; longer ones are cut.
export const LONGEST = 16384;
/// Blocks that are laid out together, and not at all while they are out of sight.
const GROUP = 50;

/// Characters that turn the direction of all text behind them, by which an address or a name can look like another one.
const OVERRIDES = /[\u202d\u202e]/g;

/// An answer's text under `root`, to which more can be appended.
export class Markdown {
  constructor(root) {
    this.root = root;
    /// Text that may still change what it is: the open block.
    this.tail = "";
    /// Characters of it that are whole lines and were looked at.
    this.scanned = 0;
    /// null, "list" (goes on behind an empty line) or "other" (ends there).
    this.kind = null;
    this.isBlank = false;
    /// The open fence and its code.
    this.fence = null;
    this.code = null;
    /// Nodes of the open block.
    this.open = [];
    /// The next block goes on in the middle of a line.
    this.isContinued = false;
  }

  append(text) {
    this.add(text);
    this.showOpen();
  }

  /// Takes text in; blocks that it ends are shown, the open one by the next `showOpen`.
  add(text) {
    this.tail += text.replaceAll("\r", "").replace(OVERRIDES, "\ufffd");
    this.scan();
  }

  /// Ends the text: what is open is as it will stay.
  finish() {
    this.hideOpen();
    if (this.fence) {
      const isEnd = closes(this.tail, this.fence);
      if (!isEnd) this.code.add(this.tail);
      this.tail = "";
      this.endCode();
    }
    this.freeze(this.tail.length);
  }

  scan() {
    for (;;) {
      const end = this.tail.indexOf("\n", this.fence ? 0 : this.scanned);
      if (end < 0 && this.tail.length < LONGEST) return;
      if (this.fence) {
        this.scanCode(end);
      } else if (end < 0) {
        this.freeze(cutPlace(this.tail)).pop()?.classList.add("cut");
        this.isContinued = true;
      } else {
        this.scanLine(this.scanned, end);
      }
    }
  }

  scanLine(from, end) {
    const line = expanded(this.tail.slice(from, end));
    this.scanned = end + 1;
    const fence = fenceOf(line);
    if (fence && (fence.indent === 0 || this.kind !== "list")) {
      this.freeze(from);
      this.tail = this.tail.slice(this.scanned);
      this.scanned = 0;
      this.fence = fence;
      this.code = new Code(fence.language);
      this.group().append(this.code.root);
      return;
    }
    if (line.trim() === "") {
      this.isBlank = true;
      if (this.kind !== "list") this.freeze(this.scanned);
      return;
    }
    const isHeading = HEADING.test(line) && (this.kind !== "list" || indentOf(line) === 0);
    const isItem = ITEM.test(line);
    const endsList = this.kind === "list" && this.isBlank && !isItem && indentOf(line) < 2;
    if (isHeading || endsList) this.freeze(from);
    this.isBlank = false;
    this.kind = isItem || this.kind === "list" ? "list" : "other";
    if (isHeading || this.scanned > LONGEST) this.freeze(this.scanned);
  }

  scanCode(end) {
    if (end < 0) {
      this.code.add(this.tail);
      this.tail = "";
      return;
    }
    const line = this.tail.slice(0, end);
    this.tail = this.tail.slice(end + 1);
    if (closes(line, this.fence)) this.endCode();
    else this.code.add(`${dedented(line, this.fence.indent)}\n`);
  }

  endCode() {
    this.code.show();
    this.fence = this.code = null;
    this.scanned = 0;
  }

  /// Builds the first `n` characters for good, and returns their nodes.
  freeze(n) {
    if (n === 0) return [];
    this.hideOpen();
    const nodes = this.build(this.tail.slice(0, n));
    this.isContinued = false;
    this.tail = this.tail.slice(n);
    this.scanned = Math.max(0, this.scanned - n);
    this.kind = null;
    this.isBlank = false;
    return nodes;
  }

  hideOpen() {
    for (const node of this.open) node.remove();
    this.open = [];
  }

  showOpen() {
    this.hideOpen();
    if (!this.fence) {
      this.open = this.build(this.tail);
      return;
    }
    // Backticks at the end may become the fence's end.
    const mayEnd = this.tail.trim() !== "" && /^ {0,3}[`~]+ *$/.test(this.tail.slice(0, 80));
    this.code.show(mayEnd ? "" : this.tail);
  }

  build(text) {
    const lines = text.split("\n").map(expanded);
    const parent = document.createDocumentFragment();
    blocks(parent, lines, 0);
    if (this.isContinued && parent.firstChild?.tagName === "P") parent.firstChild.classList.add("continued");
    const nodes = [...parent.childNodes];
    if (nodes.length > 0) this.group().append(parent);
    return nodes;
  }

  group() {
    const last = this.root.lastElementChild;
    if (last && last.childElementCount < GROUP) return last;
    const group = el("div", { class: "blocks" });
    this.root.append(group);
    return group;
  }
}

function cutPlace(text) {
  const space = text.lastIndexOf(" ", LONGEST);
  return space > LONGEST / 2 ? space + 1 : whole(text, LONGEST);
}
