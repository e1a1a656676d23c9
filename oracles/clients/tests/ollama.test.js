// `ollama` for JavaScript: chats and completions whole and as streams, tools, forms, lists, and what an error becomes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Ollama } from "ollama";

const ollama = new Ollama({ host: process.env.INFERNO_URL });
const model = "ember";
const messages = [{ role: "user", content: "Tell me a story about a dragon." }];
const options = { temperature: 0, num_predict: 24 };
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

test("a stream is the whole answer", async () => {
  const whole = await ollama.chat({ model, messages, options });
  assert.ok(whole.done && whole.message.content.length > 0 && whole.total_duration > 0);
  let text = "";
  for await (const part of await ollama.chat({ model, messages, options, stream: true })) text += part.message.content;
  assert.equal(text, whole.message.content);
  let prompt = "";
  const generated = { model, prompt: messages[0].content, options };
  for await (const part of await ollama.generate({ ...generated, stream: true })) prompt += part.response;
  assert.equal(prompt, (await ollama.generate(generated)).response);
  assert.equal(prompt, text);
});

test("a tool is called", async () => {
  const question = [{ role: "user", content: "What is the weather in Paris?" }];
  const { message } = await ollama.chat({ model, messages: question, tools: [weather], options: { temperature: 0 } });
  assert.deepEqual(message.tool_calls[0].function.arguments, { city: "Paris" });
});

test("a schema is kept", async () => {
  const format = { type: "object", properties: { n: { enum: [7] } }, required: ["n"], additionalProperties: false };
  const { message } = await ollama.chat({ model, messages, format, think: false });
  assert.deepEqual(JSON.parse(message.content), { n: 7 });
});

test("models are listed, described and named", async () => {
  const { models } = await ollama.list();
  assert.equal(models[0].name, "ember:latest");
  assert.equal((await ollama.ps()).models.length, 1);
  assert.ok((await ollama.show({ model })).capabilities.includes("completion"));
  assert.ok((await ollama.version()).version);
  await ollama.copy({ source: model, destination: "mine" });
  assert.equal((await ollama.list()).models.length, models.length + 1);
  await ollama.delete({ model: "mine" });
  assert.equal((await ollama.list()).models.length, models.length);
});

test("an error is told with its words", async () => {
  await assert.rejects(ollama.chat({ model: "other", messages }), /does not exist/);
  await assert.rejects(ollama.embed({ model, input: "x" }), /embeddings/);
});

test("an answer is ended by its client", async () => {
  const stream = await ollama.chat({ model, messages, options: { num_predict: 900, ignore_eos: true }, stream: true });
  let n = 0;
  await assert.rejects(async () => {
    for await (const _ of stream) if (++n === 2) stream.abort();
  }, { name: "AbortError" });
});
