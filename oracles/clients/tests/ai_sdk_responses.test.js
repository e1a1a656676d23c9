// Vercel's AI SDK over responses, the default of `@ai-sdk/openai`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamObject, streamText } from "ai";

import { QUESTION, report, tools } from "./weather.js";

const openai = createOpenAI({ baseURL: `${process.env.INFERNO_URL}/v1`, apiKey: "none" });
const model = openai("ember");

test("a stream is the whole answer", async () => {
  const options = { model, prompt: "Tell me a story about a dragon.", temperature: 0, maxOutputTokens: 40, maxRetries: 0 };
  const { text, usage, finishReason } = await generateText(options);
  assert.ok(text.length > 0 && usage.outputTokens <= 40);
  const stream = streamText(options);
  assert.equal(await stream.text, text);
  assert.equal(await stream.finishReason, finishReason);
});

// With `store` the next step refers to items of the last response, without it sends them.
for (const store of [true, false]) {
  test(`a tool is called and the answer has its result, store: ${store}`, async () => {
    const options = {
      model, tools, prompt: QUESTION, temperature: 0, stopWhen: stepCountIs(3), maxRetries: 0,
      providerOptions: { openai: { store, include: store ? undefined : ["reasoning.encrypted_content"] } },
    };
    const whole = await generateText(options);
    assert.deepEqual(whole.steps[0].toolCalls[0].input, { city: "Paris" });
    assert.match(whole.text, /21/);
    const stream = streamText(options);
    assert.equal(await stream.text, whole.text);
    assert.deepEqual((await stream.steps)[0].toolCalls[0].input, { city: "Paris" });
  });
}

test("an object is one of its schema", async () => {
  const options = { model, schema: report, prompt: QUESTION, temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
  const { object } = await generateObject(options);
  report.parse(object);
  const stream = streamObject(options);
  for await (const _ of stream.partialObjectStream);
  assert.deepEqual(await stream.object, object);
});

test("an error is told with its words", async () => {
  const options = { model: openai("other"), prompt: "Hi", maxRetries: 0 };
  await assert.rejects(generateText(options), /does not exist/);
});
