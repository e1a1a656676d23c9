// A tool, a question that needs it, and a schema, for tests of the AI SDK.

import { tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

export const QUESTION = "What is the weather in Paris?";

export const report = z.object({ city: z.string().max(12), degrees: z.number().int(), isWindy: z.boolean() });

export const tools = {
  get_weather: tool({
    description: "Get the weather of a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async () => `{"condition": "sunny", "temperature": 21}`,
  }),
};
