"""Decides: who is calling, what they may do, which endpoints in which order, and what may be kept. Opens no provider socket.

Who:    `keys` (only HMACs are stored), `caller` (a token -> a `Caller`, remembered for a second), `members`, `budgets`, `idempotency`
People: `people` sign in through `sign_in` (the door: the same answer for nobody and somebody), with `passwords`, `totp`, `passkeys`,
        `single_sign_on` or `links`, no oftener than `sign_in_limits` allows; `sessions` and `permissions` say who they are and what they
        may; `letters` are what they are mailed; `people_end` forgets them
How much:  `limits` (requests and tokens per minute, requests at once; memory or Redis, one rule set), `shedding`
Where:  `route` is pure: request + rules + catalog + figures + one draw -> the ordered endpoints, the ceiling, and why. It reads
        `preferences` (the request's word), `rules` (the owner's, which a request can only narrow), `key_policy` (a key's, under them),
        `filters` and `funnel` (who goes, and why), `ranking` and `draw` (in which order), `explanation` (in words)
What is known:  `health` (which endpoints work), `retries` (what a provider can bear), `sticky` (where a prompt is cached)

Invariants:
- everything here happens before a provider is called, and can refuse with the reason;
- randomness and time are arguments; `route.plan` gives the same answer for the same inputs;
- limits, health and sticky routes fail open, money fails closed; no request waits for health, and only limits and sticky routes ask Redis.
"""
