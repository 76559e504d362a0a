"""Counts what was used and moves money for it. Knows no HTTP, no users' rights and no vendors.

Ownership: `usage` (units), `price` (rates and the one rounding), `meter` (counts while events pass), `ledger` (hold, extend,
settle, void, deposit), `credits` (what was given: order of burning, refunds, expiry), `commit` (group commit), `generations` (one
row per answered request), `database` (one function, one transaction, on SQLite or on Postgres), `recovery` (holds whose process died),
`invoices`, `chain` (what is hashed), `seal` and `sealer` (entries into chains), `notary` (signed checkpoints),
`proof` (the file that outsiders check), `statement`, `exports` and `daily` (the books for people), `verify`.

Data flow of one generation:  Price.ceiling -> Ledger.hold -> Meter.see(event) ... -> price.cost(Meter.usage()) -> Ledger.close

Invariants, checked on live data by `tollway ledger verify` (I1-I7, I10-I12, I15, I16) and otherwise by tests (I8, I9, I13, I14):
- amounts are integers in nano-USD, rates are integers in pico-USD per unit; there is no float in this package;
- an account's `posted` is the sum of its entries, its `held` the sum of its open holds, and posted - held + overdraft >= 0 in
  every committed state of a prepaid account: the database decides admission, no cache ever does;
- entries are only ever added; the legs of one transaction sum to zero;
- hold id = generation id; a hold ends once (settled, void or recovered) and its charge never exceeds it;
- a charge is exactly price(usage), floored to the nano-dollar once; the remainder is stored beside it.
"""
