// Plain text of any length that grows: pieces of it are laid out by themselves, so that a character more costs the same at
// the end of a million.

import { el } from "./dom.js";

/// Characters of a piece.
const PIECE = 8192;

/// `n`, or one less where it would cut a character in two.
export function whole(text, n) {
  const code = text.charCodeAt(n - 1);
  return n > 1 && code >= 0xd800 && code < 0xdc00 ? n - 1 : n;
}

/// Text under `root`. A piece ends behind a line, or inside of one that is longer than a piece.
export class Pieces {
  constructor(root) {
    this.root = root;
    this.pending = "";
    this.rest = document.createTextNode("");
    this.start();
  }

  start() {
    this.piece = document.createTextNode("");
    this.root.append(el("span", { class: "piece" }, this.piece, this.rest));
  }

  add(text) {
    this.pending += text;
  }

  /// Shows what was added, and behind it `rest`, which the next call replaces.
  show(rest = "") {
    let text = this.pending;
    this.pending = "";
    while (text !== "") {
      const room = PIECE - this.piece.length;
      let n = text.length;
      if (n > room) {
        n = text.lastIndexOf("\n", room - 1) + 1;
        const isLineOpen = this.piece.length === 0 || !this.piece.data.endsWith("\n");
        if (n === 0 && isLineOpen) n = room > 0 ? whole(text, room) : 0;
      }
      this.piece.appendData(text.slice(0, n));
      text = text.slice(n);
      if (text !== "") this.start();
    }
    this.rest.data = rest;
  }
}
