// The chat page: what happens when.

import { recorder, requestFor } from "./answer.js";
import { Conversation } from "./conversation.js";
import { el, icon } from "./dom.js";
import { Key, Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { Failure, converse, models } from "./stream.js";
import { Thread } from "./thread.js";

/// Milliseconds between two saves of an answer that is coming.
const SAVE = 2000;

/// Drawings of the buttons that the page begins with.
const ICONS = { menu: "menu", new: "plus", "open-settings": "settings", send: "send", stop: "stop", latest: "down" };

const $ = (id) => document.getElementById(id);

class App {
  async start() {
    for (const [id, name] of Object.entries(ICONS)) $(id).append(icon(name));
    this.models = [];
    this.model = null;
    this.busy = null;
    this.conversation = new Conversation();
    this.key = new Key($("key"));
    this.settings = new Settings($("settings"), {
      changeKey: () => this.askKey("Enter another key, or nothing to use none."),
      clear: () => this.clear(),
    });
    const side = { nav: $("sidebar"), list: $("conversations"), kept: $("kept"), menu: $("menu") };
    this.sidebar = new Sidebar(side, { remove: (id, name) => this.remove(id, name) });
    const log = { root: $("thread"), scroll: $("scroll"), latest: $("latest"), welcome: $("welcome") };
    this.thread = new Thread(log, this);
    this.opening = openStore();
    this.listen();
    this.connect();
    const { isKept } = await this.opening;
    if (!isKept) this.sidebar.tell("This browser stores nothing here: conversations are gone when the page is closed.");
    await this.go();
    await this.list();
    if (matchMedia("(hover: hover)").matches) $("prompt").focus();
  }

  listen() {
    const prompt = $("prompt");
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    prompt.addEventListener("input", () => grow(prompt));
    $("stop").addEventListener("click", () => this.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      if (this.sidebar.isOpen) {
        this.sidebar.toggle(false);
        $("menu").focus();
      } else {
        this.stop();
      }
    });
    $("new").addEventListener("click", () => {
      this.sidebar.toggle(false);
      location.hash = "";
      this.open(new Conversation());
      prompt.focus();
    });
    $("open-settings").addEventListener("click", () => this.settings.open(this.model));
    $("model").addEventListener("change", (event) => {
      this.model = this.models.find((model) => model.id === event.target.value) ?? null;
    });
    window.addEventListener("hashchange", () => this.go());
    if ("BroadcastChannel" in window) {
      this.channel = new BroadcastChannel("inferno");
      this.channel.addEventListener("message", () => this.list());
    }
  }

  // The server.

  async connect() {
    clearTimeout(this.again);
    const key = this.key.value;
    try {
      this.models = await models(key);
    } catch (error) {
      const failure = asFailure(error);
      // The refused key is no longer the one in use.
      if (failure.kind === "key" && this.key.value !== key) return this.connect();
      const wait = Math.max(1, failure.seconds);
      if (failure.kind === "key") {
        this.tell("This server asks for an API key.", "Enter a key", () => this.askKey(failure.message));
        await this.askKey("This server asks for an API key.");
      } else if (failure.kind === "later") {
        this.tell(failure.code === "model_loading" ? "The model is being loaded…" : failure.message);
        this.again = setTimeout(() => this.connect(), wait * 1000);
      } else {
        this.tell(failure.message, "Try again", () => this.connect());
      }
      return;
    }
    this.tell(null);
    const options = this.models.map(({ id, max_model_len: length }) =>
      el("option", { value: id, text: id, title: length ? `${length.toLocaleString("en")} tokens of context` : null }),
    );
    $("model").replaceChildren(...options);
    $("model").disabled = options.length < 2;
    this.model = this.models.find(({ id }) => id === this.model?.id) ?? this.models[0] ?? null;
    if (this.model) {
      $("model").value = this.model.id;
      document.title = `${this.model.id} · inferno`;
    }
    if (this.model?.chat?.template === false) {
      this.tell("This model has no usable chat template: it completes texts at v1/completions and does not chat.");
    }
  }

  async askKey(reason) {
    const isGiven = await this.key.ask(reason);
    if (isGiven) await this.connect();
    return isGiven;
  }

  tell(text, label, act) {
    const banner = $("banner");
    banner.hidden = !text;
    const button = label ? el("button", { type: "button", text: label, on: { click: act } }) : null;
    banner.replaceChildren(...[text && el("span", { text }), button].filter(Boolean));
  }

  // Conversations.

  /// Opens the conversation that the address names.
  async go() {
    const id = /^#c=([0-9a-f]{24})$/.exec(location.hash)?.[1];
    if (!id && this.conversation.leaf) this.open(new Conversation());
    if (!id || id === this.conversation.id) return;
    if (id === this.busy?.conversation.id) {
      this.open(this.busy.conversation);
      return;
    }
    const store = await this.opening;
    const data = await store.load(id).catch(() => null);
    if (data) this.open(new Conversation(data));
    else location.hash = "";
  }

  open(conversation) {
    this.conversation = conversation;
    this.thread.quietly(() => this.show());
    this.thread.follow(true);
    this.list();
  }

  show() {
    this.thread.show(this.conversation, this.busy?.node ?? null);
  }

  async list() {
    const store = await this.opening;
    const titles = await store.list().catch(() => []);
    this.sidebar.show(titles, this.conversation.id);
  }

  async save(conversation) {
    if (conversation.isDeleted) return;
    const data = conversation.data();
    data.nodes = data.nodes.map(({ live, ...node }) => node);
    try {
      const store = await this.opening;
      await store.save(data);
      this.channel?.postMessage(conversation.id);
    } catch (error) {
      const why = error?.name === "QuotaExceededError" ? "storage is full" : "the browser does not store it";
      this.sidebar.tell(`This conversation is not saved: ${why}.`);
    }
  }

  async remove(id, name) {
    if (!confirm(`Delete “${name}”? It cannot be brought back.`)) return;
    this.forget((conversation) => conversation.id === id);
    const store = await this.opening;
    await store.remove(id).catch(() => {});
    this.channel?.postMessage(id);
    this.list();
  }

  async clear() {
    if (!confirm("Delete all chats in this browser? They cannot be brought back.")) return;
    this.forget(() => true);
    const store = await this.opening;
    await store.clear().catch(() => {});
    this.channel?.postMessage("");
    this.list();
  }

  /// Lets go of conversations that are deleted.
  forget(isDeleted) {
    if (this.busy && isDeleted(this.busy.conversation)) {
      this.busy.conversation.isDeleted = true;
      this.stop();
    }
    if (isDeleted(this.conversation)) {
      this.conversation.isDeleted = true;
      location.hash = "";
      this.open(new Conversation());
    }
  }

  // Turns.

  send() {
    const prompt = $("prompt");
    const text = prompt.value.trim();
    if (!text || this.busy) return;
    prompt.value = "";
    grow(prompt);
    this.ask(this.conversation.add(this.conversation.leaf, { role: "user", content: text }));
  }

  /// Has the turn answered.
  ask(turn) {
    const empty = { role: "assistant", content: "", reasoning: "", calls: [], finish: null };
    const node = this.conversation.add(turn.id, empty);
    const hash = `#c=${this.conversation.id}`;
    if (location.hash !== hash) history.pushState(null, "", hash);
    return this.answer(node);
  }

  edit(node, text) {
    if (!this.busy) this.ask(this.conversation.add(node.parent, { role: "user", content: text }));
  }

  again(node) {
    if (!this.busy) this.ask(this.conversation.get(node.parent));
  }

  results(node, results) {
    if (this.busy) return;
    let last = node;
    for (const [i, { id, name }] of node.calls.entries()) {
      last = this.conversation.add(last.id, { role: "tool", call: id, name, content: results[i] });
    }
    this.ask(last);
  }

  version(node) {
    if (!node || this.busy) return;
    this.conversation.show(node);
    this.conversation.touch(node);
    this.show();
    this.save(this.conversation);
  }

  /// Has an answer go on behind its text.
  goOn(node) {
    if (this.busy) return;
    node.isStale = true;
    this.answer(node);
  }

  /// Answers again; asks for a key first if the server has refused `key` and there is no other by now.
  async retry(node, key = this.key.value) {
    if (this.busy) return;
    if (node.failure?.kind === "key" && this.key.value === key) {
      if (!(await this.askKey("This server asks for an API key.")) || this.busy) return;
    }
    if (node.content || node.reasoning) {
      this.again(node);
    } else {
      node.isStale = true;
      this.answer(node);
    }
  }

  stop() {
    this.busy?.controller.abort();
  }

  async answer(node) {
    const { conversation } = this;
    const controller = new AbortController();
    const { model, settings } = this;
    const body = requestFor(conversation, node, model?.id, settings.values.system, settings.fields(model));
    this.busy = { controller, conversation, node };
    node.failure = null;
    node.finish = null;
    node.stats = null;
    node.live = { start: performance.now() };
    this.showState();
    this.show();
    this.thread.follow(true);
    announce("The model is answering.");
    await this.save(conversation);
    this.list();
    let finish = "stop";
    const key = this.key.value;
    try {
      const on = recorder(node, {
        changed: () => this.keep(conversation, node),
        news: () => this.schedule(node),
      });
      await converse(body, { key, signal: controller.signal, on });
      finish = node.live.finish ?? "stop";
    } catch (error) {
      finish = controller.signal.aborted ? "stopped" : "failed";
      if (finish === "failed") {
        const { kind, message, seconds } = asFailure(error);
        node.failure = { kind, message, until: seconds ? Date.now() + seconds * 1000 : 0 };
      }
    }
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.frame = this.timer = null;
    node.finish = finish;
    delete node.live;
    conversation.touch(node);
    this.busy = null;
    this.showState();
    this.thread.update(node, false);
    if (this.conversation === conversation) this.thread.showFeet(conversation, null);
    this.thread.setBusy(false);
    this.thread.follow(false);
    announce(node.failure?.message ?? (finish === "stopped" ? "Stopped." : "The answer is complete."));
    await this.save(conversation);
    this.list();
    if (node.failure?.kind === "key") this.retry(node, key);
  }

  /// Saves an answer that is coming, now and then.
  keep(conversation, node) {
    const now = performance.now();
    if (node.live.saved > now - SAVE) return;
    node.live.saved = now;
    conversation.touch(node);
    this.save(conversation);
  }

  /// Shows what has come at the next frame, or later where showing it takes long.
  schedule(node) {
    if (this.timer || this.frame) return;
    const run = () => {
      this.frame = this.timer = null;
      const from = performance.now();
      this.thread.update(node, true);
      this.cost = performance.now() - from;
    };
    this.timer = setTimeout(
      () => {
        this.timer = null;
        if (document.hidden) run();
        else this.frame = requestAnimationFrame(run);
      },
      Math.min(1000, 3 * (this.cost ?? 0)),
    );
  }

  showState() {
    const isBusy = this.busy !== null;
    const hadFocus = document.activeElement === $(isBusy ? "send" : "stop");
    $("send").hidden = isBusy;
    $("stop").hidden = !isBusy;
    if (hadFocus) $(isBusy ? "stop" : "prompt").focus();
  }
}

function asFailure(error) {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure("refused", `The page failed: ${error?.message ?? error}`);
}

/// Tells screen readers.
function announce(text) {
  $("announcer").textContent = text;
}

/// Makes a field as high as its text, where styles alone do not.
function grow(field) {
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

await new App().start();
