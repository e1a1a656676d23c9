// The server's API: requests with a key, answers as server-sent events, and errors in words for people.

/// Splits a stream of text into server-sent events: `{ data }`, and `{ comment }` for signs of life.
export class EventParser {
  #rest = "";
  #data = null;

  /// The events that end in `text`.
  feed(text) {
    const events = [];
    const all = this.#rest + text;
    let from = 0;
    for (let end = all.indexOf("\n", from); end >= 0; end = all.indexOf("\n", from)) {
      this.#line(all.slice(from, all[end - 1] === "\r" ? end - 1 : end), events);
      from = end + 1;
    }
    this.#rest = all.slice(from);
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data !== null) events.push({ data: this.#data });
      this.#data = null;
    } else if (line.startsWith(":")) {
      events.push({ comment: line.slice(1).trim() });
    } else if (line.startsWith("data:")) {
      const value = line.slice(line[5] === " " ? 6 : 5);
      this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    }
  }
}

/// Why there is no answer. `kind` is "key" (a key is asked for), "later" (try again after `seconds`), "refused" (the request
/// is not answered as it is), "gone" (no server there) or "broken" (the answer ended too early).
export class Failure extends Error {
  constructor(kind, message, { status = 0, code = null, seconds = 0 } = {}) {
    super(message);
    Object.assign(this, { kind, status, code, seconds });
  }
}

/// The failure that an error object of the API means.
export function failureOf(status, error, retryAfter) {
  const text = typeof error?.message === "string" && error.message ? error.message : `the server answered ${status}`;
  const sentence = `${text[0].toUpperCase()}${text.slice(1)}.`.replace(/([.!?…])\.$/, "$1");
  const isFull = error?.code === "context_length_exceeded";
  const message = isFull ? `${sentence} Begin a new chat, or edit an earlier message.` : sentence;
  const seconds = Math.min(3600, Math.max(0, Number(retryAfter) || 0));
  const more = { status, code: error?.code ?? null, seconds };
  if (status === 401) return new Failure("key", message, more);
  if (status === 429 || status === 503) return new Failure("later", message, more);
  return new Failure("refused", message, more);
}

const GONE = "The server does not answer. Is it still running, and is this machine online?";
const CUT = "The connection ended before the answer was complete.";

/// Sends a request and waits for the head of the answer, which is no error. Paths are relative to the page, which may stand
/// behind a proxy under a path of its own.
export async function request(path, { key, body, signal } = {}) {
  const headers = {};
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  const method = body ? "POST" : "GET";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    // A header cannot hold every text.
    if (error instanceof TypeError && key && !/^[\x21-\x7e]+$/.test(key)) {
      throw new Failure("key", "The key has characters that no key has.");
    }
    throw new Failure("gone", GONE);
  }
  if (response.ok) return response;
  let error = null;
  try {
    error = (await response.json()).error;
  } catch {
    // A proxy's page: its status has to do.
  }
  throw failureOf(response.status, error, response.headers.get("retry-after"));
}

/// The models of the server.
export async function models(key) {
  const listed = await (await request("v1/models", { key })).json();
  return Array.isArray(listed.data) ? listed.data : [];
}

/// Asks for a chat completion and tells its parts to `on`: `text`, `reasoning`, `call`, `usage`, `finish`, `progress`, `queued`.
/// Returns when the answer is complete.
export async function converse(body, { key, signal, on }) {
  const response = await request("v1/chat/completions", { key, body, signal });
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Failure("broken", CUT);
    }
    if (piece.done) throw new Failure("broken", CUT);
    for (const { data, comment } of parser.feed(decoder.decode(piece.value, { stream: true }))) {
      if (comment !== undefined) {
        const place = /^queued (\d+)\/(\d+)/.exec(comment);
        if (place) on.queued?.(Number(place[1]), Number(place[2]));
      } else if (data === "[DONE]") {
        reader.cancel().catch(() => {});
        return;
      } else {
        tell(data, on);
      }
    }
  }
}

function tell(data, on) {
  let event;
  try {
    event = JSON.parse(data);
  } catch {
    throw new Failure("broken", "The server sent an event that is no JSON.");
  }
  if (event.error) throw failureOf(event.error.code === "shutting_down" ? 503 : 500, event.error);
  if (event.prompt_progress) on.progress?.(event.prompt_progress);
  const choice = event.choices?.[0];
  const delta = choice?.delta ?? {};
  const reasoning = delta.reasoning_content ?? delta.reasoning;
  if (typeof reasoning === "string" && reasoning) on.reasoning?.(reasoning);
  if (typeof delta.content === "string" && delta.content) on.text?.(delta.content);
  for (const call of delta.tool_calls ?? []) on.call?.(call);
  if (choice?.finish_reason) on.finish?.(choice.finish_reason);
  if (event.usage || event.timings) on.usage?.(event.usage ?? null, event.timings ?? null);
}
