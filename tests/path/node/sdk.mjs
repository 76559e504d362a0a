// Runs the official OpenAI Node SDK against a Tollway and prints what it saw as one JSON object, for test_sdk_node.py to judge.
// Usage: node sdk.mjs <base url> <key> <key without credit>

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, apiKey, poorKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const echo = "tollway/echo";
const say = (content) => [{ role: "user", content }];
const tool = (name, field) => ({
  type: "function",
  function: {
    name,
    strict: true,
    parameters: { type: "object", properties: { [field]: { type: "string" } }, required: [field], additionalProperties: false },
  },
});
const tools = [tool("weather", "city"), tool("clock", "zone")];
const City = z.object({ name: z.string(), people: z.number().int(), tags: z.array(z.string()) });

async function collect(body) {
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) chunks.push(chunk);
  return chunks;
}

/** The SDK's class for a failure, and what a program can read from it. */
async function failure(attempt) {
  try {
    await attempt();
    return null;
  } catch (error) {
    const { status = null, code, type, param, requestID, message, error: body = null } = error;
    const kinds = Object.keys(OpenAI).filter((name) => name.endsWith("Error") && error.constructor === OpenAI[name]);
    const retryAfter = error.headers?.get("retry-after") ?? null;
    return { kinds, status, code, type, param, requestID, message, body, retryAfter };
  }
}

async function abortedStream() {
  const stream = await client.chat.completions.create({ model: "acme/slow", messages: say("endless"), stream: true });
  let id = null;
  let text = "";
  for await (const chunk of stream) {
    id = chunk.id;
    text += chunk.choices[0]?.delta.content ?? "";
    if (text.split(" ").length > 3) stream.controller.abort();
  }
  return { id, text };
}

async function toolCallsByHelper() {
  const stream = client.chat.completions.stream({ model: echo, messages: say("weather and clock"), tools });
  const message = await stream.finalMessage();
  return { message, usage: await stream.totalUsage() };
}

const ask = { model: echo, messages: say("one two three") };
const { data: created, response, request_id } = await client.chat.completions.create(ask).withResponse();
const failing = (model, more = {}) => failure(() => client.chat.completions.create({ model, messages: say("hi"), ...more }));
const asKey = (key) => failure(() => new OpenAI({ baseURL, apiKey: key, maxRetries: 0 }).chat.completions.create(ask));

const seen = {
  created,
  headers: { request_id, generation_id: response.headers.get("x-generation-id"), server: response.headers.get("server") },
  stream: await collect(ask),
  streamWithUsage: await collect({ ...ask, stream_options: { include_usage: true } }),
  tools: await client.chat.completions.create({ model: "acme/fast-1", messages: say("parallel"), tools }),
  streamedTools: await toolCallsByHelper(),
  parsed: await client.chat.completions.parse({ model: echo, messages: say("Bern"), response_format: zodResponseFormat(City, "city") }),
  models: (await Array.fromAsync(client.models.list())).map((model) => model.id),
  model: await client.models.retrieve(echo),
  aborted: await abortedStream(),
  errors: {
    noKey: await asKey("sk-nothing"),
    noCredit: await asKey(poorKey),
    unknownModel: await failing("tollway/ecko"),
    wrongField: await failing(echo, { max_tokens: -1 }),
    busy: await failing("acme/busy"),
    broken: await failing("acme/broken"),
    late: await failing("acme/late"),
    midstream: await failure(() => collect({ model: "acme/breaks", messages: say("hi") })),
    unknownPage: await failure(() => client.get("/nothing")),
  },
};
console.log(JSON.stringify(seen));
