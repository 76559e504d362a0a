"""Speaks to third-party providers: who serves which model at what price, and how to talk to them. Knows no accounts.

`catalog` loads data rows (companies, models, providers, endpoints) into one immutable `Catalog`; an endpoint is one model at one
provider at one price. `provider` defines what a wire dialect is: `Dialect.stream(call)` yields batches of canonical events, which
are chat completion chunks (or, for a request that is not streamed, one whole chat completion). One file per dialect (`openai`,
`echo`), found through `registry`. `wire` is the only place that opens a socket to a provider.

Invariants:
- N + M: a dialect translates to and from the canonical request and events, never to another dialect;
- a provider is a data row; code only for a new dialect;
- whoever opens a response closes it, on every kind of end; every read, buffer and wait has a bound;
- a provider's text is content: errors carry a class, a status and a code, and the text only as `Content`.
"""
