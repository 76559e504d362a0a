// Runs Anthropic's own Node SDK against a Tollway and prints what it saw as one JSON object, for test_messages_node.py to judge.
// Usage: node anthropic.mjs <base url without /v1> <key> <key without credit>

import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey, poorKey] = process.argv.slice(2);
const clientOf = (key) => new Anthropic({ baseURL, apiKey: key, maxRetries: 0 });
const client = clientOf(apiKey);
const say = (content) => [{ role: "user", content }];
const tool = (name, field) => ({
  name,
  description: `Tells the ${name}.`,
  input_schema: { type: "object", properties: { [field]: { type: "string" } }, required: [field] },
});
const tools = [tool("weather", "city"), tool("clock", "zone")];
const ask = { model: "tollway/echo", max_tokens: 100, messages: say("one two three") };
const both = { model: "acme/fast-1", max_tokens: 100, messages: say("in parallel: weather and clock"), tools };

/** The SDK's own accumulator, and the types of the events that it was fed. */
async function streamed(body) {
  const events = [];
  const stream = client.messages.stream(body).on("streamEvent", ({ type }) => events.push(type));
  return { message: await stream.finalMessage(), events };
}

/** The SDK's class for a failure, and what a program can read from it. */
async function failure(attempt) {
  try {
    await attempt();
    return null;
  } catch (error) {
    const kind = error instanceof Anthropic.APIError ? error.constructor.name : null;
    return { kind, status: error.status ?? null, type: error.error?.error?.type ?? null, message: error.message };
  }
}

const failing = (model, by = client) => failure(() => by.messages.create({ ...ask, model }));
const called = await client.messages.create(both);
const results = called.content.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "12 degrees" }));
const turns = [...both.messages, { role: "assistant", content: called.content }, { role: "user", content: results }];

console.log(
  JSON.stringify({
    created: await client.messages.create(ask),
    streamed: await streamed(ask),
    called,
    streamedCalls: (await streamed(both)).message,
    split: (await streamed({ ...both, model: "acme/split" })).message,
    answered: await client.messages.create({ ...both, messages: turns }),
    thought: (await streamed({ ...ask, model: "acme/thinks" })).message,
    counted: await client.messages.countTokens({ model: ask.model, messages: ask.messages }),
    errors: {
      noKey: await failing(ask.model, clientOf("sk-nothing")),
      noCredit: await failing(ask.model, clientOf(poorKey)),
      busy: await failing("acme/busy"),
      broken: await failing("acme/broken"),
      unknownModel: await failing("tollway/ecko"),
      cut: await failure(() => streamed({ ...ask, model: "acme/cut" })),
    },
  }),
);
