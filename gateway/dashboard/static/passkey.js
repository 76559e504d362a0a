// Passkeys: the browser's answer goes into the form that asked for it. Without this file the other ways in remain.
"use strict";
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const words = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const described = (list) => (list || []).map((each) => ({ ...each, id: bytes(each.id) }));
async function ask(kind, options) {
  options.challenge = bytes(options.challenge);
  options.excludeCredentials = described(options.excludeCredentials);
  options.allowCredentials = described(options.allowCredentials);
  if (options.user) options.user.id = bytes(options.user.id);
  const found = await navigator.credentials[kind]({ publicKey: options });
  const response = { clientDataJSON: words(found.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (found.response[name]) response[name] = words(found.response[name]);
  }
  return JSON.stringify({ id: found.id, rawId: words(found.rawId), type: found.type, clientExtensionResults: {}, response });
}
document.addEventListener("submit", async (event) => {
  const button = event.submitter;
  const form = event.target;
  if (!button || !button.dataset.passkey || form.elements.answer.value) return;
  event.preventDefault();
  const problem = form.querySelector("[role=alert]");
  problem.hidden = true;
  try {
    form.elements.answer.value = await ask(button.dataset.passkey, JSON.parse(button.dataset.options));
    form.submit();
  } catch (error) {
    problem.textContent = error.name === "InvalidStateError" ? "This device has a passkey here already." : "That did not work, or it was called off.";
    problem.hidden = false;
  }
});
