// Vercel's AI SDK: tools and `generateObject`, through `@ai-sdk/openai-compatible` and through `@ai-sdk/openai`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamObject, streamText } from "ai";

import { QUESTION, report, tools } from "./weather.js";

const URL = process.env.INFERNO_URL;
const MODEL = "ember";

const settings = { name: "inferno", baseURL: `${URL}/v1`, apiKey: "none", includeUsage: true };
const CHATS = {
  "openai-compatible": createOpenAICompatible({ ...settings, supportsStructuredOutputs: true })(MODEL),
  "openai.chat": createOpenAI({ baseURL: `${URL}/v1`, apiKey: "none" }).chat(MODEL),
};

for (const [name, model] of Object.entries(CHATS)) {
  test(`${name}: a tool is called and the answer has its result`, async () => {
    const options = { model, tools, prompt: QUESTION, temperature: 0, stopWhen: stepCountIs(3), maxRetries: 0 };
    const whole = await generateText(options);
    assert.deepEqual(whole.steps[0].toolCalls[0].input, { city: "Paris" });
    assert.match(whole.text, /21/);
    const stream = streamText(options);
    assert.equal(await stream.text, whole.text);
    assert.deepEqual((await stream.steps)[0].toolCalls[0].input, { city: "Paris" });
  });

  test(`${name}: a tool that is required is called at any temperature`, async () => {
    const only = { get_weather: { ...tools.get_weather, execute: undefined } };
    const options = { model, tools: only, prompt: "Hi", temperature: 1.5, seed: 1, toolChoice: "required", maxRetries: 0 };
    const { toolCalls } = await generateText(options);
    assert.equal(toolCalls[0].toolName, "get_weather");
    assert.equal(typeof toolCalls[0].input.city, "string");
  });

  test(`${name}: an object is one of its schema`, async () => {
    const options = { model, schema: report, prompt: QUESTION, temperature: 1.2, seed: 1, maxOutputTokens: 200, maxRetries: 0 };
    const { object } = await generateObject(options);
    report.parse(object);
    const stream = streamObject(options);
    for await (const _ of stream.partialObjectStream);
    assert.deepEqual(await stream.object, object);
  });
}
