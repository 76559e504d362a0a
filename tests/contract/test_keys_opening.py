"""Keys that are older than their hash: they stay enabled, work as before and are known by their id; what they used is still found."""

from metering import ledger
from policy import account_keys, keys
from policy.account_keys import public_id
from tests import books

PEPPER = b"pepper"
TOKEN = keys.generate(lambda _: 7)
OLD = (
    "INSERT INTO key (id, account_id, kind, name, digest, label, created_at) VALUES "
    f"('key_1', 'acc', 'inference', 'old', '{keys.digest(TOKEN, PEPPER)}', 'l', 1)"
)
ASKED = """INSERT INTO generation (id, account_id, key_id, created_at, model, api_type, streamed, outcome, prompt, cached_prompt,
    cache_write, image, audio, completion, reasoning, audio_completion,
    held, total_pico, charge, remainder, shortfall, duration_ms, attempts)
    VALUES ('gen_1', 'acc', 'key_1', 5, 'm', 'completions', 0, 'completed', 0, 0, 0, 0, 0, 0, 0, 0, 9, 7000, 7, 0, 0, 1, '[]')"""


async def test_a_key_made_before_keys_had_a_hash_works_and_is_known_by_its_id(database_url: str) -> None:
    async with books.connected(database_url) as database:
        await database.write(books.migrate, "0004")
        await database.write(lambda session: ledger.open_account(session, id="acc", now=1))
        await books.sql(database_url, OLD, ASKED)
        await database.write(books.migrate, "head")
        found = await database.read(keys.find, keys.digest(TOKEN, PEPPER))
        assert found is not None
        assert (found[0].disabled_at, found[0].revoked_at) == (None, None)
        seen = await database.read(account_keys.one, "acc", "key_1", now=books.START)
        assert seen is not None
        assert (public_id(seen.key), seen.use.charged.total, seen.use.last_used_at) == ("key_1", 7, 5)
