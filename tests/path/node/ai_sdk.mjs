// Runs the Vercel AI SDK against a Tollway, by each of its providers that can be pointed at one, for test_client_ai_sdk.py to judge.
// Usage: node ai_sdk.mjs <base url> <key> <key without credit>

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { APICallError, Output, embed, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const [baseURL, key, poorKey] = process.argv.slice(2);
const name = "tollway";
const makers = {
  chat: (apiKey) => createOpenAI({ baseURL, apiKey }).chat,
  responses: (apiKey) => createOpenAI({ baseURL, apiKey }).responses,
  compatible: (apiKey) => createOpenAICompatible({ name, baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true }),
  openrouter: (apiKey) => createOpenRouter({ baseURL, apiKey }),
  anthropic: (apiKey) => createAnthropic({ baseURL, apiKey }),
};
const echo = "tollway/echo";
const fast = "acme/fast-1";
const schema = z.object({ name: z.string(), people: z.number().int(), tags: z.array(z.string()) });
const tools = {
  weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `12 degrees in ${city}` }),
  clock: tool({ inputSchema: z.object({ zone: z.string() }), execute: async ({ zone }) => `noon in ${zone}` }),
};
const maxRetries = 0;

/** What a program can read from a failure. */
function shown(error) {
  const { statusCode = null, isRetryable = null, message, responseHeaders } = error;
  return { api: APICallError.isInstance(error), statusCode, isRetryable, message, retryAfter: responseHeaders?.["retry-after"] ?? null };
}

async function failure(attempt) {
  try {
    await attempt();
    return null;
  } catch (error) {
    return shown(error);
  }
}

const steps = (taken) =>
  taken.map(({ text, finishReason, toolCalls, toolResults }) => ({
    text,
    finishReason,
    calls: toolCalls.map(({ toolName, input }) => [toolName, input]),
    results: toolResults.map(({ output }) => output),
  }));

/** A stream that is read to its end: its pieces, and the error part in it if there is one. */
async function streamed(asked) {
  const result = streamText({ maxRetries, onError: () => {}, ...asked });
  const seen = { text: "", reasoning: "", pieces: 0, error: null };
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") Object.assign(seen, { text: seen.text + part.text, pieces: seen.pieces + 1 });
    if (part.type === "reasoning-delta") seen.reasoning += part.text;
    if (part.type === "error") seen.error = shown(part.error);
    if (part.type === "finish") Object.assign(seen, { finishReason: part.finishReason, usage: part.totalUsage });
  }
  if (!seen.error) seen.steps = steps(await result.steps);
  return seen;
}

async function whole(asked) {
  const { text, reasoningText, finishReason, totalUsage, steps: taken, providerMetadata } = await generateText({ maxRetries, ...asked });
  return { text, reasoning: reasoningText ?? "", finishReason, usage: totalUsage, steps: steps(taken), metadata: providerMetadata };
}

async function objects(model) {
  const asked = { model, prompt: "Bern", schema, maxRetries };
  const stream = streamObject(asked);
  const partial = [];
  for await (const each of stream.partialObjectStream) partial.push(each);
  const { output } = await generateText({ model, prompt: "Bern", maxRetries, output: Output.object({ schema }) });
  return { generated: (await generateObject(asked)).object, streamed: await stream.object, partial: partial.length, output };
}

async function seen(make) {
  const model = make(key);
  const several = { model: model(fast), tools, prompt: "in parallel: weather and clock", stopWhen: stepCountIs(4) };
  const failing = (id, apiKey = key) => failure(() => generateText({ model: make(apiKey)(id), prompt: "hi", maxRetries }));
  return {
    whole: await whole({ model: model(echo), prompt: "one two three" }),
    streamed: await streamed({ model: model(echo), prompt: "one two three" }),
    tools: await whole(several),
    streamedTools: await streamed(several),
    objects: { echo: await objects(model(echo)), fast: await objects(model(fast)) },
    thinks: await whole({ model: model("acme/thinks"), prompt: "Why?" }),
    streamedThinks: await streamed({ model: model("acme/thinks"), prompt: "Why?" }),
    errors: {
      noKey: await failing(echo, "sk-nothing"),
      noCredit: await failing(echo, poorKey),
      busy: await failing("acme/busy"),
      broken: await failing("acme/broken"),
      unknownModel: await failing("tollway/ecko"),
      noCreditStreamed: (await streamed({ model: make(poorKey)(echo), prompt: "x" })).error,
    },
    cut: await streamed({ model: model("acme/cut"), prompt: "x" }),
  };
}

async function embeddings(model) {
  const many = await embedMany({ model, values: ["one two", "three"], maxRetries });
  const one = await embed({ model, value: "one two", maxRetries });
  return { many: many.embeddings, one: one.embedding, usage: many.usage };
}

const openai = createOpenAI({ baseURL, apiKey: key });
const openrouter = createOpenRouter({ baseURL, apiKey: key });
const compatible = createOpenAICompatible({ name, baseURL, apiKey: key });
const result = {};
for (const [route, make] of Object.entries(makers)) result[route] = await seen(make);
result.embeddings = {
  openai: await embeddings(openai.embedding(fast)),
  compatible: await embeddings(compatible.embeddingModel(fast)),
  openrouter: await embeddings(openrouter.textEmbeddingModel(fast)),
};
result.completions = {
  openai: await whole({ model: openai.completion(fast), prompt: "one two three" }),
  compatible: await streamed({ model: compatible.completionModel(fast), prompt: "one two three" }),
};
console.log(JSON.stringify(result));
