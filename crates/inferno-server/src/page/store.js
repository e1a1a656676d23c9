// Conversations and settings in the browser. Where it allows no storage, as in private windows, they are kept in memory until
// the page is closed, and the page says so.

const NAME = "inferno";
const VERSION = 1;
/// Milliseconds to wait for a database that another tab may hold.
const PATIENCE = 3000;

/// The store of this browser; `isKept` is false where it forgets.
export async function openStore() {
  try {
    return new Database(await openDatabase());
  } catch {
    return new Memory();
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the database does not open")), PATIENCE);
    const fail = (error) => {
      clearTimeout(late);
      reject(error);
    };
    let opening;
    try {
      opening = indexedDB.open(NAME, VERSION);
    } catch (error) {
      fail(error);
      return;
    }
    opening.onupgradeneeded = ({ oldVersion }) => {
      if (oldVersion < 1) {
        // Titles by themselves: the list needs no texts.
        opening.result.createObjectStore("titles", { keyPath: "id" });
        opening.result.createObjectStore("conversations", { keyPath: "id" });
      }
    };
    opening.onerror = () => fail(opening.error);
    opening.onblocked = () => fail(new Error("another tab holds an older database"));
    opening.onsuccess = () => {
      clearTimeout(late);
      // A newer page of another tab may replace it.
      opening.result.onversionchange = () => opening.result.close();
      resolve(opening.result);
    };
  });
}

function outcome(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function done(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("not stored"));
  });
}

function byTime(titles) {
  return titles.sort((a, b) => b.updated - a.updated);
}

/// The turns of both, of each the newer: another tab may have added some.
export function merged(ours, stored) {
  const all = new Map((stored?.nodes ?? []).map((node) => [node.id, node]));
  for (const node of ours.nodes) {
    const other = all.get(node.id);
    if (!other || other.updated <= node.updated) all.set(node.id, node);
  }
  return { ...ours, nodes: [...all.values()] };
}

class Database {
  isKept = true;

  constructor(database) {
    this.database = database;
  }

  #stores(mode) {
    const transaction = this.database.transaction(["titles", "conversations"], mode);
    const [titles, conversations] = [transaction.objectStore("titles"), transaction.objectStore("conversations")];
    return { transaction, titles, conversations };
  }

  async list() {
    return byTime(await outcome(this.#stores("readonly").titles.getAll()));
  }

  async load(id) {
    return (await outcome(this.#stores("readonly").conversations.get(id))) ?? null;
  }

  async save(data) {
    const { transaction, titles, conversations } = this.#stores("readwrite");
    const end = done(transaction);
    const stored = conversations.get(data.id);
    stored.onsuccess = () => {
      conversations.put(merged(data, stored.result));
      titles.put({ id: data.id, title: data.title, updated: data.updated });
    };
    await end;
  }

  async remove(id) {
    const { transaction, titles, conversations } = this.#stores("readwrite");
    titles.delete(id);
    conversations.delete(id);
    await done(transaction);
  }

  async clear() {
    const { transaction, titles, conversations } = this.#stores("readwrite");
    titles.clear();
    conversations.clear();
    await done(transaction);
  }
}

export class Memory {
  isKept = false;
  all = new Map();

  async list() {
    return byTime([...this.all.values()].map(({ id, title, updated }) => ({ id, title, updated })));
  }

  async load(id) {
    return this.all.get(id) ?? null;
  }

  async save(data) {
    this.all.set(data.id, data);
  }

  async remove(id) {
    this.all.delete(id);
  }

  async clear() {
    this.all.clear();
  }
}

/// Small values by name: settings, and the key if it is to be remembered.
export const small = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`inferno.${name}`));
    } catch {
      return null;
    }
  },
  /// null forgets it.
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`inferno.${name}`);
      else localStorage.setItem(`inferno.${name}`, JSON.stringify(value));
    } catch {
      // Not allowed here: it is known until the page is closed.
    }
  },
};
