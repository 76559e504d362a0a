"""Decides: who is calling, what they may do, which endpoints in which order, and what may be kept. Opens no provider socket.

`keys` creates and revokes API keys (only their HMAC is stored), `caller` turns a token into a `Caller`, `limits` holds requests and
tokens per minute and requests at once (memory or Redis, one rule set), `shedding` says when a process is too busy for one more. `health`
knows which endpoints work, `retries` how many more attempts a provider can bear, `sticky` where a conversation's prompt is cached:
all three guide routing, none is needed for it. `idempotency` says which request owns an Idempotency-Key, `route` is pure:
request + caller + catalog -> the ordered endpoints, the ceiling, and the funnel that explains every endpoint kept or removed.

Invariants:
- everything here happens before a provider is called, and can refuse with the reason;
- randomness and time are arguments; `route.plan` gives the same answer for the same inputs;
- limits, health and sticky routes fail open, money fails closed; no request waits for health, and only limits and sticky routes ask Redis.
"""
