// Vercel's AI SDK through `@ai-sdk/openai-compatible` and through `@ai-sdk/openai`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false;

const URL = process.env.INFERNO_URL;
const MODEL = "ember";
const STORY = "Tell me a story about a dragon.";

const compatible = (url = URL, more = {}) =>
  createOpenAICompatible({ name: "inferno", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true, ...more });
const openai = (url = URL, more = {}) => createOpenAI({ baseURL: `${url}/v1`, apiKey: "none", ...more });

const CHATS = {
  "openai-compatible": (...options) => compatible(...options)(MODEL),
  "openai.chat": (...options) => openai(...options).chat(MODEL),
};

/** A server with these flags, as long as `work` takes. */
async function serving(flags, work) {
  const args = ["serve", "--port", "0", "--log-level", "error", ...flags];
  const server = spawn(process.env.INFERNO, args, { stdio: ["ignore", "pipe", "ignore"] });
  try {
    for await (const line of createInterface({ input: server.stdout })) {
      const found = line.match(/http:\/\/[0-9.]+:\d+/);
      if (found) return await work(found[0]);
    }
    throw new Error("the server did not start");
  } finally {
    server.kill("SIGKILL");
  }
}

// Slow on every machine: what is ended early would not have ended by itself.
const SLOW = ["--threads", "1", "--isa", "scalar"];
const NARROW = ["--sequences", "1", "--queue", "1", ...SLOW];

const loads = async (url) => (await fetch(`${url}/v1/loads`)).json();

async function untilIdle(url) {
  for (let i = 0; i < 200; i++) {
    const { sequences_running, sequences_waiting } = await loads(url);
    if (sequences_running === 0 && sequences_waiting === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail("it still runs");
}

async function parts(result) {
  const all = [];
  for await (const part of result.fullStream) all.push(part);
  return all;
}

for (const [name, chat] of Object.entries(CHATS)) {
  test(`${name}: generateText gives text, usage and reason`, async () => {
    const result = await generateText({ model: chat(), prompt: STORY, maxOutputTokens: 12, seed: 1 });
    assert.ok(result.text.trim());
    assert.equal(result.finishReason, "length");
    assert.equal(result.usage.outputTokens, 12);
    assert.ok(result.usage.inputTokens > 5);
    assert.equal(result.usage.totalTokens, result.usage.inputTokens + 12);
    assert.equal(typeof result.usage.inputTokenDetails.cacheReadTokens, "number");
    assert.equal(result.response.modelId, MODEL);
    assert.ok(result.response.id.startsWith("chatcmpl-"));
    assert.deepEqual(result.warnings, []);
  });

  test(`${name}: an answer that ends by itself says stop`, async () => {
    const result = await generateText({ model: chat(), prompt: STORY, seed: 1 });
    assert.equal(result.finishReason, "stop");
  });

  test(`${name}: streamText gives what generateText gives, with usage`, async () => {
    const ask = { model: chat(), prompt: STORY, maxOutputTokens: 20, seed: 2 };
    const whole = await generateText(ask);
    const result = streamText(ask);
    let text = "";
    for await (const piece of result.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.equal(await result.finishReason, "length");
    const usage = await result.usage;
    for (const key of ["inputTokens", "outputTokens", "totalTokens"]) assert.equal(usage[key], whole.usage[key], key);
    assert.equal((await result.response).modelId, MODEL);
  });

  test(`${name}: a stream has one start and one end of its text`, async () => {
    const all = await parts(streamText({ model: chat(), prompt: STORY, maxOutputTokens: 5 }));
    const count = (type) => all.filter((part) => part.type === type).length;
    assert.deepEqual(["text-start", "text-end", "finish", "error"].map(count), [1, 1, 1, 0]);
  });

  test(`${name}: a conversation with a system prompt is taken`, async () => {
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: [{ type: "text", text: "Ahoy!" }] },
      { role: "user", content: [{ type: "text", text: "Who are you?" }] },
    ];
    const result = await generateText({ model: chat(), system: "You are a pirate.", messages, maxOutputTokens: 10 });
    assert.ok(result.text.trim());
  });

  test(`${name}: stop sequences end the text before them`, async () => {
    const ask = { model: chat(), prompt: STORY, maxOutputTokens: 60, seed: 1 };
    const whole = (await generateText(ask)).text;
    const stop = whole.slice(20, 24);
    const result = await generateText({ ...ask, stopSequences: [stop] });
    assert.equal(result.text, whole.slice(0, whole.indexOf(stop)));
    assert.equal(result.finishReason, "stop");
  });

  test(`${name}: text comes while it is written, and an abort frees the sequence`, async () => {
    await serving(SLOW, async (url) => {
      const abort = new AbortController();
      const model = chat(url, { fetch: endless });
      const ask = { model, prompt: STORY, maxOutputTokens: 900, abortSignal: abort.signal, onError: () => {} };
      let n = 0;
      for await (const part of streamText(ask).fullStream) {
        if (part.type === "text-delta" && (n += 1) === 3) {
          assert.equal((await loads(url)).sequences_running, 1);
          abort.abort();
        }
      }
      assert.ok(n >= 3);
      await untilIdle(url);
    });
  });

  test(`${name}: a bad field is an error that is not tried again`, async () => {
    const seen = [];
    const model = chat(URL, { fetch: counted(seen) });
    await assert.rejects(generateText({ model, prompt: STORY, temperature: 5 }), (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.statusCode, 400);
      assert.equal(error.isRetryable, false);
      assert.match(error.message, /temperature/);
      assert.equal(error.data.error.param, "temperature");
      assert.equal(error.data.error.code, "invalid_value");
      return true;
    });
    assert.deepEqual(seen, [400]);
  });

  test(`${name}: an error in the middle of a stream is a part of it`, async () => {
    await serving(SLOW, async (url) => {
      const model = chat(url, { fetch: endless });
      const result = streamText({ model, prompt: STORY, maxOutputTokens: 900, onError: () => {} });
      const errors = [];
      let isCancelled = false;
      for await (const part of result.fullStream) {
        if (part.type === "error") errors.push(part.error);
        if (part.type === "text-delta" && !isCancelled) {
          isCancelled = true;
          const { requests } = await (await fetch(`${url}/admin/requests`)).json();
          await fetch(`${url}/admin/requests/${requests[0].id}/cancel`, { method: "POST" });
        }
      }
      assert.equal(errors.length, 1);
      assert.match(errors[0].message ?? String(errors[0]), /cancelled/);
    });
  });

  test(`${name}: who is sent away comes back when told to`, async () => {
    await serving(NARROW, async (url) => {
      const seen = [];
      const model = chat(url, { fetch: counted(seen, endless) });
      const ask = () => generateText({ model, prompt: STORY, maxOutputTokens: 150 });
      const results = await Promise.all([ask(), ask(), ask()]);
      assert.deepEqual(results.map((result) => result.usage.outputTokens), [150, 150, 150]);
      assert.ok(seen.includes(429));
    });
  });

  test(`${name}: a stream waits in the queue through comments`, async () => {
    await serving([...NARROW, "--hold", "1", "--keep-alive", "1"], async (url) => {
      const busy = generateText({ model: chat(url, { fetch: endless }), prompt: STORY, maxOutputTokens: 400 });
      while ((await loads(url)).sequences_running === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      const result = streamText({ model: chat(url), prompt: STORY, maxOutputTokens: 5 });
      await result.consumeStream();
      assert.equal((await result.usage).outputTokens, 5);
      await busy;
    });
  });

  test(`${name}: a wrong key is an error of its own`, async () => {
    await serving(["--api-key", "sk-one"], async (url) => {
      await assert.rejects(generateText({ model: chat(url), prompt: STORY }), { statusCode: 401 });
      const result = await generateText({ model: chat(url, { apiKey: "sk-one" }), prompt: STORY, maxOutputTokens: 3 });
      assert.equal(result.usage.outputTokens, 3);
    });
  });
}

test("openai.chat: log-probabilities arrive, whole and streamed", async () => {
  const ask = {
    model: openai().chat(MODEL),
    prompt: STORY,
    maxOutputTokens: 6,
    seed: 1,
    providerOptions: { openai: { logprobs: 2 } },
  };
  const whole = (await generateText(ask)).providerMetadata.openai.logprobs;
  assert.equal(whole.length, 6);
  assert.equal(whole[0].top_logprobs.length, 2);
  const result = streamText(ask);
  await result.consumeStream();
  assert.ok((await result.providerMetadata).openai.logprobs.length > 0);
});

for (const [name, model] of Object.entries({
  "openai-compatible": () => compatible().completionModel(MODEL),
  "openai.completion": () => openai().completion(MODEL),
})) {
  test(`${name}: completions are answered, whole and streamed`, async () => {
    const ask = { model: model(), prompt: STORY, maxOutputTokens: 10, temperature: 0 };
    const whole = await generateText(ask);
    assert.equal(whole.usage.outputTokens, 10);
    assert.equal(whole.finishReason, "length");
    const result = streamText(ask);
    let text = "";
    for await (const piece of result.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.equal((await result.usage).outputTokens, 10);
  });
}

/** A request for as much as was asked for, whatever the model would say. */
function endless(url, options) {
  return fetch(url, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ignore_eos: true }) });
}

/** Writes down what was answered. */
function counted(seen, ask = fetch) {
  return async (url, options) => {
    const response = await ask(url, options);
    seen.push(response.status);
    return response;
  };
}
