// Streams the answer over the real API with a key that lasts an hour; without this file the form asks for the whole answer.
"use strict";
const form = document.getElementById("ask");
const output = document.getElementById("answer");
const figures = document.getElementById("figures");
let key = null;
let running = null;

async function hourKey() {
  const own = document.getElementById("f-own").value.trim();
  if (own) return own;
  if (key) return key;
  const response = await fetch("/dashboard/playground/key", { method: "POST", body: new URLSearchParams({ csrf: form.elements.csrf.value }) });
  if (!response.ok) throw new Error("No key could be made (" + response.status + "). Open the page again.");
  key = (await response.json()).key;
  return key;
}

function show(chunk) {
  if (chunk.error) throw new Error(chunk.error.message);
  for (const choice of chunk.choices || []) output.textContent += (choice.delta && choice.delta.content) || "";
  if (chunk.usage) figures.textContent = chunk.usage.prompt_tokens + " prompt and " + chunk.usage.completion_tokens + " completion tokens, charged $" + chunk.usage.cost.toFixed(9).replace(/\.?0+$/, "");
}

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) show(JSON.parse(line.slice(6)));
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) { running.abort(); return; }
  running = new AbortController();
  const button = form.querySelector("button");
  button.textContent = "Stop";
  output.textContent = ""; figures.textContent = "";
  document.getElementById("result").hidden = false;
  const fields = form.elements;
  const messages = [{ role: "user", content: fields.prompt.value }];
  if (fields.system.value) messages.unshift({ role: "system", content: fields.system.value });
  const body = { model: fields.model.value, messages, stream: true, max_tokens: Number(fields.max_tokens.value) || undefined };
  try {
    const headers = { "Authorization": "Bearer " + await hourKey(), "Content-Type": "application/json" };
    const response = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal: running.signal, credentials: "omit" });
    if (!response.ok) throw new Error((await response.json()).error.message);
    const link = document.getElementById("generation");
    link.href = "/dashboard/generations/" + encodeURIComponent(response.headers.get("x-generation-id"));
    link.hidden = false;
    await read(response);
  } catch (error) {
    if (error.name !== "AbortError") figures.textContent = error.message;
  } finally {
    running = null;
    button.textContent = "Ask";
  }
});
