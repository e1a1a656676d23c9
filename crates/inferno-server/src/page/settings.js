// The dialogs: settings, and the API key.

import { small } from "./store.js";

const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const TEXTS = ["system", "thinking", "theme", "tools"];

export class Settings {
  constructor(dialog, { changeKey, clear }) {
    this.dialog = dialog;
    this.form = dialog.querySelector("form");
    this.error = dialog.querySelector(".error");
    this.values = { ...Object.fromEntries([...TEXTS, ...NUMBERS].map((name) => [name, ""])), ...small.get("settings") };
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
    dialog.querySelector("#change-key").addEventListener("click", () => {
      dialog.close();
      changeKey();
    });
    dialog.querySelector("#clear").addEventListener("click", () => {
      dialog.close();
      clear();
    });
    this.applyTheme();
  }

  open(model) {
    for (const name of [...TEXTS, ...NUMBERS]) this.form.elements[name].value = this.values[name] ?? "";
    const thinks = model?.chat?.thinking !== false;
    this.dialog.querySelector("#thinking-label").hidden = !thinks;
    this.error.hidden = true;
    this.dialog.showModal();
  }

  save() {
    const read = {};
    for (const name of NUMBERS) {
      const field = this.form.elements[name];
      const label = field.closest("label").firstChild.data.trim();
      if (!field.checkValidity()) {
        this.refuse(field, `${label}: ${field.validationMessage}`);
        return;
      }
      read[name] = field.value.trim();
    }
    for (const name of TEXTS) read[name] = this.form.elements[name].value.trim();
    const problem = toolsProblem(read.tools);
    if (problem) {
      this.refuse(this.form.elements.tools, problem);
      return;
    }
    this.values = read;
    small.set("settings", read);
    this.applyTheme();
    this.dialog.close();
  }

  refuse(field, why) {
    this.error.textContent = why;
    this.error.hidden = false;
    field.focus();
  }

  applyTheme() {
    const { theme } = this.values;
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }

  /// Fields of a request: those that are set, for a model that knows them.
  fields(model) {
    const fields = {};
    for (const name of NUMBERS) if (this.values[name] !== "") fields[name] = Number(this.values[name]);
    if (this.values.tools) fields.tools = JSON.parse(this.values.tools);
    if (this.values.thinking && model?.chat?.thinking !== false) fields.enable_thinking = this.values.thinking === "on";
    return fields;
  }
}

/// The reason why a text is no list of tools, or null.
export function toolsProblem(text) {
  if (!text) return null;
  try {
    return Array.isArray(JSON.parse(text)) ? null : "Tools: expected a JSON array, [ … ]";
  } catch (error) {
    return `Tools: no JSON: ${error.message}`;
  }
}

/// The key, kept in the browser only when that is asked for.
export class Key {
  constructor(dialog) {
    this.dialog = dialog;
    this.value = small.get("key") ?? "";
    this.asked = null;
    this.form = dialog.querySelector("form");
    dialog.querySelector(".cancel").addEventListener("click", () => dialog.close("cancelled"));
  }

  /// Asks for a key; true if one was given, or taken away. All that ask at the same time get the answer of one dialog.
  ask(reason) {
    this.asked ??= this.show(reason).finally(() => (this.asked = null));
    return this.asked;
  }

  show(reason) {
    this.dialog.querySelector("#key-reason").textContent = reason;
    const { key, remember } = this.form.elements;
    key.value = "";
    remember.checked = small.get("key") !== null;
    this.dialog.returnValue = "";
    this.dialog.showModal();
    key.focus();
    return new Promise((resolve) => {
      const submit = (event) => {
        event.preventDefault();
        this.value = key.value.trim();
        small.set("key", remember.checked && this.value ? this.value : null);
        this.dialog.close("given");
      };
      this.form.addEventListener("submit", submit);
      this.dialog.addEventListener(
        "close",
        () => {
          this.form.removeEventListener("submit", submit);
          key.value = "";
          resolve(this.dialog.returnValue === "given");
        },
        { once: true },
      );
    });
  }
}
