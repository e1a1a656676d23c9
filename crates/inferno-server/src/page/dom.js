// Elements from data. Text always becomes a text node: there is no way from a string to markup here.

/// An element with attributes and children. `text` is its text, `on` its listeners by event.
export function el(tag, { text, on, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on ?? {})) node.addEventListener(event, listener);
  if (text !== undefined) node.append(String(text));
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  menu: "M4 6h16M4 12h16M4 18h16",
  plus: "M12 5v14M5 12h14",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6",
  send: "M12 19V5M5 12l7-7 7 7",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  again: "M20 12a8 8 0 1 1-2.3-5.7L20 8.500M20 3v5.500h-5.500",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  down: "M12 5v14M5 12l7 7 7-7",
  play: "M8 5l11 7-11 7z",
  done: "M5 12l5 5 9-11",
};

/// A drawing of 24 by 24, hidden from screen readers.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/// A button that shows a drawing and is named by `label`.
export function iconButton(name, label, click) {
  return el("button", { type: "button", class: "icon", "aria-label": label, title: label, on: { click } }, icon(name));
}

/// Copies text; true if it is on the clipboard. Pages without TLS have no `navigator.clipboard`.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = el("textarea", { class: "hidden", "aria-hidden": "true" });
    field.value = text;
    const before = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus?.();
    return done;
  }
}

/// A button that copies what `text()` returns.
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    const done = await copy(text());
    button.replaceChildren(icon(done ? "done" : "copy"));
    button.setAttribute("aria-label", done ? "Copied" : "Copying is not allowed here");
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, 1500);
  });
  return button;
}
