// Vercel's AI SDK over messages: `@ai-sdk/anthropic`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { generateObject, generateText, stepCountIs, streamObject, streamText } from "ai";

import { QUESTION, report, tools } from "./weather.js";

const anthropic = createAnthropic({ baseURL: `${process.env.INFERNO_URL}/v1`, apiKey: "none" });
const model = anthropic("ember");

test("a stream is the whole answer", async () => {
  const options = { model, prompt: "Tell me a story about a dragon.", temperature: 0, maxOutputTokens: 40, maxRetries: 0 };
  const { text, usage, finishReason } = await generateText(options);
  assert.ok(text.length > 0 && usage.outputTokens <= 40);
  const stream = streamText(options);
  assert.equal(await stream.text, text);
  assert.equal(await stream.finishReason, finishReason);
  assert.equal((await stream.usage).outputTokens, usage.outputTokens);
});

test("a tool is called and the answer has its result", async () => {
  const options = { model, tools, prompt: QUESTION, temperature: 0, stopWhen: stepCountIs(3), maxRetries: 0 };
  const whole = await generateText(options);
  assert.deepEqual(whole.steps[0].toolCalls[0].input, { city: "Paris" });
  assert.match(whole.text, /21/);
  const stream = streamText(options);
  assert.equal(await stream.text, whole.text);
  assert.deepEqual((await stream.steps)[0].toolCalls[0].input, { city: "Paris" });
});

test("a tool that is required is called", async () => {
  const only = { get_weather: { ...tools.get_weather, execute: undefined } };
  const options = { model, tools: only, prompt: "Hi", temperature: 0, toolChoice: "required", maxRetries: 0 };
  const { toolCalls, finishReason } = await generateText(options);
  assert.equal(toolCalls[0].toolName, "get_weather");
  assert.equal(finishReason, "tool-calls");
});

test("a budget for thinking is taken", async () => {
  const options = {
    model, prompt: QUESTION, maxOutputTokens: 60, maxRetries: 0,
    providerOptions: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
  };
  const { finishReason, usage } = await generateText(options);
  assert.ok(["stop", "length"].includes(finishReason) && usage.outputTokens > 0);
});

test("an object is one of its schema", async () => {
  const options = { model, schema: report, prompt: QUESTION, temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
  const { object } = await generateObject(options);
  report.parse(object);
  const stream = streamObject(options);
  for await (const _ of stream.partialObjectStream);
  assert.deepEqual(await stream.object, object);
});

test("an error is told with its words", async () => {
  const options = { model: anthropic("other"), prompt: "Hi", maxRetries: 0 };
  await assert.rejects(generateText(options), /does not exist/);
});
