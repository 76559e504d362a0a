"""Speaks to third-party providers: who serves which model at what price, and how to talk to them. Knows no accounts.

`catalog` loads data rows (companies, models, providers, endpoints) into one immutable `Catalog`; an endpoint is one model at one
provider at one price. `provider` defines what a wire dialect is: `Dialect.stream(call)` yields batches of canonical events, which
are chat completion chunks (or, for a request that is not streamed, one whole chat completion). One file per dialect, found through
`registry`; what it makes of a request stands beside it in `<dialect>_request`. `parts` reads canonical messages for those that must
translate them, `dropping` names what they leave out, `reading` is the loop around every answer. `wire` is the only place that opens a
socket to a provider.

Invariants:
- N + M: a dialect translates to and from the canonical request and events, never to another dialect;
- a provider is a data row; code only for a new dialect;
- a dialect's events carry usage in OpenAI's shape, and its own finish reason as `native_finish_reason` where OpenAI's word differs;
- thoughts, their signatures and what a model encrypts travel in `reasoning_details` and go back as they came;
- a request that a dialect has no words for is `Inexpressible`, before anything is sent, naming message and part;
- an answer that its own API does not allow is a ProviderError; a cut stream never looks like an end;
- whoever opens a response closes it, on every kind of end; every read, buffer and wait has a bound;
- a provider's text is content: errors carry a class, a status and a code, and the text only as `Content`.
"""
