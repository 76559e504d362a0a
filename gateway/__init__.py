"""Speaks HTTP to clients, and is the only place where things are wired together. Nobody imports it. Read `pipeline.py` first.

    api/chat.py      raw ASGI: body -> ChatRequest; watches for a client that leaves
    pipeline.py      answer(): route -> hold -> attempt -> meter -> settle -> record
    routing.py       what the route is told, and what its end teaches; trials.py: which endpoint next, and how it did
    idempotency.py   a request with an Idempotency-Key is answered once
    generation.py    the state machine of one generation and the task that owns it
    protocol.py      the client's connection: bounds, and a cut for those who take nothing
    watch.py         one ticker for all live generations: time-outs and keep-alives
    streaming.py     events -> SSE, or collected -> JSON
    trace.py         a route in the open; timing.py: where the time went
    errors.py        the one table from error class to HTTP status, type and code
    lifeline.py      heartbeat, checkpoints, recovery of holds whose process died
    workers.py       the chores: sealing, checkpoints, expiry, pruning; beside the requests or in `tollway worker`
    telemetry.py     what an ended generation tells its operator: metrics.py, spans.py over otlp.py, analytics.py; logs.py: the log's lines
    people.py        what lets people in, from the settings: oidc.py (single sign-on), mail.py (the mail port), letters.py over mails/
    services.py      everything that is opened at start and closed in reverse

Invariants:
- all that can refuse happens before the first content byte; afterwards there is only draining;
- a generation belongs to its own task: a client that leaves interrupts it, it never takes the settlement along;
- the settle is durable before the chunk with the usage (or the JSON answer) leaves.
"""
