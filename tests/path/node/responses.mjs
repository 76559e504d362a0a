// Runs the Responses API of the official OpenAI Node SDK against a Tollway and prints what it saw, for test_responses_node.py to judge.
// Usage: node responses.mjs <base url> <key>

import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const tool = (name, field) => ({
  type: "function",
  name,
  strict: true,
  parameters: { type: "object", properties: { [field]: { type: "string" } }, required: [field], additionalProperties: false },
});
const tools = [tool("weather", "city"), tool("clock", "zone")];

/** What the events say until they end or throw. */
async function collect(body) {
  const types = [];
  try {
    for await (const event of await client.responses.create({ ...body, stream: true })) types.push(event.type);
    return { types, error: null };
  } catch (error) {
    return { types, error: { code: error.code, message: error.message, api: error instanceof OpenAI.APIError } };
  }
}

/** The SDK's own accumulator, which holds every event against the ones before it. */
async function helper(body) {
  const stream = client.responses.stream(body);
  try {
    return await stream.finalResponse();
  } catch (error) {
    return { error: error.message };
  }
}

const question = { role: "user", content: "in parallel: weather and clock" };
const called = await helper({ model: "acme/fast-1", input: [question], tools });
const results = called.output.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "12 degrees" }));

console.log(
  JSON.stringify({
    created: await client.responses.create({ model: "tollway/echo", input: "one two three" }),
    streamed: await helper({ model: "tollway/echo", input: "one two three" }),
    events: await collect({ model: "tollway/echo", input: "one two three" }),
    called,
    answered: await client.responses.create({ model: "acme/fast-1", input: [question, ...called.output, ...results], tools }),
    split: await helper({ model: "acme/split", input: [question], tools }),
    thought: await helper({ model: "acme/thinks", input: "Why?", include: ["reasoning.encrypted_content"] }),
    refused: await helper({ model: "acme/refuses", input: "x" }),
    cut: await collect({ model: "acme/cut", input: "x" }),
    cutHelper: await helper({ model: "acme/cut", input: "x" }),
  }),
);
