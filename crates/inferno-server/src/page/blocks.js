// Blocks of Markdown, whole lines to nodes: headings, lists, quotes, code, tables, paragraphs.

import { copyButton, el } from "./dom.js";
import { inline } from "./inline.js";
import { Pieces } from "./pieces.js";

/// Lists and quotes inside each other; deeper ones are shown as text.
const DEPTH = 8;
/// Columns of a table.
const COLUMNS = 64;

const FENCE = /^( *)(`{3,}|~{3,})([^\n]*)$/;
export const HEADING = /^ {0,3}(#{1,6})(?:[ \t]([^\n]*))?$/;
const QUOTE = /^ {0,3}> ?/;
export const ITEM = /^( *)([-*+]|(\d{1,9})[.)])(?:( +)([^\n]*))?$/;
const TASK = /^\[([ xX])\] /;

/// Characters that change the order in which text is seen: code with them can look like other code.
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;

/// A block of code that grows.
export class Code {
  constructor(language) {
    const body = el("code");
    const copy = copyButton("Copy code", () => body.textContent);
    const bar = el("div", { class: "bar" }, el("span", { text: language || "code" }), copy);
    const pre = el("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, body);
    this.root = el("div", { class: "code" }, bar, pre);
    this.pieces = new Pieces(body);
  }

  add(text) {
    this.pieces.add(text.replace(TURNS, "\ufffd"));
  }

  /// Shows what was added, and behind it `rest`, a line that is not whole yet.
  show(rest = "") {
    this.pieces.show(rest);
  }
}

/// The line with spaces for the tabs that it begins with.
export function expanded(line) {
  if (!line.includes("\t")) return line;
  const indent = /^[ \t]*/.exec(line)[0];
  let width = 0;
  for (const c of indent) width = c === "\t" ? width - (width % 4) + 4 : width + 1;
  return " ".repeat(width) + line.slice(indent.length);
}

export function indentOf(line) {
  let n = 0;
  while (line[n] === " ") n++;
  return n;
}

export function dedented(line, n) {
  return line.slice(Math.min(n, indentOf(line)));
}

export function fenceOf(line) {
  const found = FENCE.exec(line);
  if (!found) return null;
  const [, indent, mark, info] = found;
  if (mark[0] === "`" && info.includes("`")) return null;
  return { indent: indent.length, mark, language: info.trim().split(/\s/, 1)[0].slice(0, 40) };
}

export function closes(line, fence) {
  const bare = line.trim();
  return bare.length >= fence.mark.length && bare === fence.mark[0].repeat(bare.length) && bare !== "";
}

function isRule(line) {
  return indentOf(line) < 4 && /^(?:-{3,}|\*{3,}|_{3,})$/.test(line.replaceAll(" ", ""));
}

function itemOf(line) {
  const found = ITEM.exec(line);
  if (!found || isRule(line)) return null;
  const [, indent, mark, number, spaces = " ", text = ""] = found;
  const gap = spaces.length > 4 ? 1 : spaces.length;
  return {
    indent: indent.length,
    inside: indent.length + mark.length + gap,
    number: number === undefined ? null : Number(number),
    text: " ".repeat(spaces.length - gap) + text,
  };
}

/// Whether the line begins a block in the middle of a paragraph.
function interrupts(line) {
  if (fenceOf(line) || HEADING.test(line) || QUOTE.test(line) || isRule(line)) return true;
  const item = itemOf(line);
  return item !== null && item.text !== "" && (item.number === null || item.number === 1);
}

export function blocks(parent, lines, depth) {
  let i = 0;
  while (i < lines.length) {
    const line = lines[i];
    const heading = HEADING.exec(line);
    if (line.trim() === "") {
      i++;
    } else if (depth >= DEPTH) {
      paragraph(parent, lines.slice(i));
      return;
    } else if (fenceOf(line)) {
      i = fenced(parent, lines, i);
    } else if (heading) {
      parent.append(headingOf(heading[1].length, heading[2] ?? ""));
      i++;
    } else if (isRule(line)) {
      parent.append(el("hr"));
      i++;
    } else if (QUOTE.test(line)) {
      i = quote(parent, lines, i, depth);
    } else if (itemOf(line)) {
      i = list(parent, lines, i, depth);
    } else if (indentOf(line) >= 4 && depth === 0) {
      i = indented(parent, lines, i);
    } else {
      const columns = tableColumns(line, lines[i + 1]);
      if (columns) {
        i = table(parent, lines, i, columns);
        continue;
      }
      const from = i++;
      const goesOn = (next) => next.trim() !== "" && !interrupts(next);
      while (i < lines.length && goesOn(lines[i]) && !tableColumns(lines[i], lines[i + 1])) i++;
      paragraph(parent, lines.slice(from, i));
    }
  }
}

function paragraph(parent, lines) {
  const p = el("p", { dir: "auto" });
  inline(p, lines.map((line) => line.trim()).join("\n").trim());
  parent.append(p);
}

/// Headings of answers stand below those of the page. Most answers begin with the second level.
function headingOf(level, text) {
  let bare = text.trim();
  let marks = 0;
  while (bare[bare.length - 1 - marks] === "#") marks++;
  if (marks > 0 && (marks === bare.length || bare[bare.length - marks - 1] === " ")) {
    bare = bare.slice(0, bare.length - marks).trim();
  }
  const heading = el(`h${Math.max(3, Math.min(6, level + 1))}`, { dir: "auto", class: `level${level}` });
  inline(heading, bare);
  return heading;
}

function fenced(parent, lines, from) {
  const fence = fenceOf(lines[from]);
  let to = from + 1;
  while (to < lines.length && !closes(lines[to], fence)) to++;
  addCode(parent, fence.language, lines.slice(from + 1, to).map((line) => dedented(line, fence.indent)));
  return to + 1;
}

function indented(parent, lines, from) {
  let to = from;
  while (to < lines.length && indentOf(lines[to]) >= 4) to++;
  addCode(parent, "", lines.slice(from, to).map((line) => dedented(line, 4)));
  return to;
}

function addCode(parent, language, lines) {
  const code = new Code(language);
  if (lines.length > 0) code.add(`${lines.join("\n")}\n`);
  code.show();
  parent.append(code.root);
}

function quote(parent, lines, from, depth) {
  const inside = [];
  let i = from;
  const isLazy = (line) => inside[inside.length - 1].trim() !== "" && line.trim() !== "" && !interrupts(line);
  while (i < lines.length && (QUOTE.test(lines[i]) || (i > from && isLazy(lines[i])))) {
    inside.push(lines[i++].replace(QUOTE, ""));
  }
  const node = el("blockquote");
  blocks(node, inside, depth + 1);
  parent.append(node);
  return i;
}

function list(parent, lines, from, depth) {
  const first = itemOf(lines[from]);
  const isOrdered = first.number !== null;
  const node = el(isOrdered ? "ol" : "ul", { start: isOrdered && first.number !== 1 ? first.number : null });
  let i = from;
  let isLoose = false;
  let isBlank = false;
  while (i < lines.length) {
    const item = itemOf(lines[i]);
    if (!item || (item.number !== null) !== isOrdered) break;
    isLoose ||= isBlank;
    isBlank = false;
    const inside = [item.text.replace(TASK, (_, mark) => (mark === " " ? "☐ " : "☑ "))];
    for (i++; i < lines.length; i++) {
      const line = lines[i];
      const indent = indentOf(line);
      if (line.trim() === "") {
        isBlank = true;
        inside.push("");
        continue;
      }
      if (indent >= item.indent + 2) inside.push(line.slice(Math.min(indent, item.inside)));
      else if (!isBlank && !itemOf(line) && !interrupts(line)) inside.push(line.trimStart());
      else break;
      isLoose ||= isBlank;
      isBlank = false;
    }
    const li = el("li", { dir: "auto" });
    blocks(li, inside, depth + 1);
    node.append(li);
  }
  if (!isLoose) node.classList.add("tight");
  parent.append(node);
  return i;
}

/// Cells of a row. A bar behind a backslash or in a code span belongs to its cell.
function cells(line) {
  const all = [];
  let cell = "";
  let isCode = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (c === "\\" && line[i + 1] === "|") {
      cell += "|";
      i++;
    } else if (c === "|" && !isCode) {
      all.push(cell.trim());
      cell = "";
    } else {
      if (c === "`") isCode = !isCode && line.indexOf("`", i + 1) > 0;
      cell += c;
    }
  }
  all.push(cell.trim());
  if (all.length > 1 && all[0] === "") all.shift();
  if (all.length > 1 && all[all.length - 1] === "") all.pop();
  return all;
}

/// Alignments of the columns, if these two lines begin a table.
function tableColumns(head, below) {
  if (!below || !head.includes("|") || !/^[ |:-]{1,400}$/.test(below) || !below.includes("-")) return null;
  const marks = cells(below);
  const isTable = marks.length <= COLUMNS && marks.every((mark) => /^:?-+:?$/.test(mark));
  if (!isTable || cells(head).length !== marks.length) return null;
  return marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : null));
}

function table(parent, lines, from, columns) {
  const row = (tag, line) => {
    const found = cells(line);
    const cell = (align, i) => {
      const node = el(tag, { class: align, dir: "auto" });
      inline(node, found[i] ?? "");
      return node;
    };
    return el("tr", {}, ...columns.map(cell));
  };
  const body = el("tbody");
  let i = from + 2;
  for (; i < lines.length && lines[i].includes("|") && !interrupts(lines[i]); i++) body.append(row("td", lines[i]));
  const node = el("table", {}, el("thead", {}, row("th", lines[from])), body);
  parent.append(el("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, node));
  return i;
}
