"""One Alembic history for SQLite and Postgres. `upgrade` is what `tollway migrate` runs.

Rules: a revision only ever adds (expand, then contract in a later release); amounts are 64-bit integers; SQLite tables are STRICT;
what differs between the databases stands side by side in the same revision.
"""
