"""A fake OpenAI-compatible provider for tests: a real HTTP/1.1 server in its own process, with a fault plan and its own ledger.

    with fake_provider() as fake:                      # tests.fakes.process
        client = OpenAI(base_url=fake.base_url, api_key="any")
        fake.fault("fast-1", fault="slow-tokens", ms=20)
        assert fake.ledger(model="fast-1")[-1]["billed_tokens"]["completion_tokens"] == 3

By hand: `python -m tests.fakes.provider --port 9100`, then use any fault's name as the model: `close-midstream@k=2`.

- Meaning: `faults.py` lists every fault with its parameters; `ledger.py` says what a record holds and what is billed.
- Ownership: one process owns one ledger and one set of plans; nothing is on disk. It dies with the thread that started it.
- Invariants: one piece of an answer is one token; prompt tokens are words plus 3 per message; a record's outcome is set once;
  what one connection does wrong never touches another.
"""
