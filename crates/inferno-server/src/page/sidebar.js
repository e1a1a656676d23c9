// The list of conversations.

import { el, iconButton } from "./dom.js";

export class Sidebar {
  constructor({ nav, list, kept, menu }, { remove }) {
    Object.assign(this, { nav, list, kept, menu, remove });
    menu.addEventListener("click", () => this.toggle(menu.getAttribute("aria-expanded") !== "true"));
    // On a narrow page a chosen conversation takes its place.
    list.addEventListener("click", (event) => {
      if (event.target.closest("a")) this.toggle(false);
    });
  }

  get isOpen() {
    return this.menu.getAttribute("aria-expanded") === "true";
  }

  toggle(isOpen) {
    this.menu.setAttribute("aria-expanded", String(isOpen));
    this.nav.classList.toggle("open", isOpen);
    if (isOpen) this.nav.querySelector("a")?.focus();
  }

  show(titles, current) {
    const rows = titles.map(({ id, title }) => {
      const name = title || "Untitled";
      const link = el("a", { href: `#c=${id}`, text: name, dir: "auto", "aria-current": id === current ? "page" : null });
      return el("li", {}, link, iconButton("remove", `Delete ${name}`, () => this.remove(id, name)));
    });
    this.list.replaceChildren(...rows);
  }

  tell(text) {
    this.kept.textContent = text;
  }
}
