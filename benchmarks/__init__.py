"""Tollway beside its peers: same upstream, same load, same run; `make bench` prints the table.

    relay.py        the way in: rounds over all gateways, then the table
    measure.py      what is asked of one gateway in one round, and the figures that come out
    load.py         the load generator: closed loop, open loop, streams held open
    upstream.py     the mock provider that every gateway is put in front of
    gateways.py     how each gateway is configured (configs.py) and started, and what was on
    running.py      a gateway as a context: its core, its cold start, its end
    processes.py    CPU and memory from /proc
    report.py       the table
    setup_peers.py  installs the peers, pinned, into `.bench/`

    ledger.py           `make bench-ledger`: hold and settle on SQLite and Postgres, beside one transaction per step
    ledger_load.py      all waiting, or so many a second
    ledger_baseline.py  one transaction per step, as most gateways do it
    ledger_places.py    durable databases, a fresh one for every load
    ledger_books.py     accounts, bills, and the audit without which no figure is reported
    ledger_report.py    the tables and the goals

Rules: a peer that is missing or fails is in the table's notes with the reason; a cut or empty answer never counts as a fast one;
what a peer had switched off is said beside its name. Linux only. Tollway runs with everything on, its peers bare.
"""
