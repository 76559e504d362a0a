"""Puts the corpus into everything that a page might show: through forms, the API, the command line, and into every text column."""

import contextlib
import json
import sqlite3

from sqlalchemy import Text
from sqlmodel import SQLModel

from tests.browser.corpus import ALL, POLYGLOT, within
from tests.browser.house import House
from tests.path.client import ask

STRUCTURE = frozenset(
    (
        *("id", "digest", "hash", "previous", "sealed", "mac", "key_mac", "body_mac", "password", "totp", "secret", "wrapped"),
        *("state", "role", "kind", "purpose", "theme", "time_zone", "law", "reset", "logging", "currency", "day", "name_of_day"),
        *(
            "rules",
            "rates",
            "pepper",
            "attempts",
            "progress",
            "change",
            "data_policy",
            "document",
            "limits",
            "keys",
            "fields",
            "categories",
            "scope",
        ),
        *("root", "public_key", "signature", "api_type", "level", "subject", "issuer", "period", "status"),
    )
)
"""Columns that hold no words: keys, hashes, JSON, and values of closed lists."""
EMAILS = ("person", "member", "link")


def by_hand(house: House) -> dict[str, list[str]]:
    """What forms and the API took, by where it was put; what they refuse is none of a page's troubles."""
    taken: dict[str, list[str]] = {}
    names = within(64)
    taken["key"] = [text for text in names if _posted(house, "/dashboard/keys", {"name": text})]
    taken["project"] = [text for text in names if _posted(house, "/dashboard/members/projects", {"name": text})]
    for text in names:
        _posted(house, "/dashboard/members/invite", {"email": f"{text.replace(' ', '')[:60]}@example.com", "role": "viewer"})
    _posted(house, "/dashboard/members/name", {"name": POLYGLOT[:60]})
    _posted(house, "/dashboard/settings/profile", {"name": POLYGLOT[:60]})
    _routing(house)
    _generations(house)
    for text in within(200)[::6]:
        arguments = ("--account", house.home.account.account_id, "--usd", "0.01", "--reason", text)
        house.tollway.cli("credit", "add", *arguments)
    house.tollway.cli("account", "suspend", house.abroad.account.account_id, "--reason", POLYGLOT)
    return taken


def _posted(house: House, path: str, form: dict[str, str]) -> bool:
    answer = house.post("owner", path, form)
    assert answer.status < 500, (path, form, answer.body[-500:])
    return answer.status in (200, 303)


def _routing(house: House) -> None:
    """A document as the owner may write it, in which every string that may be anything is a payload."""
    models = [f"acme/{text}" for text in within(60)[:10]]
    document = {"allowed_providers": list(within(100))[:40], "provider": {"order": list(within(100))[:20]},
                "presets": {"x": {"model": models[0], "parameters": {"stop": list(within(100))[:4]}}},
                "policies": {"y": {"kind": "fallback", "models": models}}}  # fmt: skip
    for part in (document, {"presets": document["presets"]}, {"policies": document["policies"]}):
        _posted(house, "/dashboard/routing/document", {"document": json.dumps(part)})


def _generations(house: House) -> None:
    """Prompts, answers, attributions, models that do not exist, and errors."""
    port, key = house.tollway.port, house.home.account.key
    answer = ask(
        port, key, "tollway/echo", messages=[{"role": "system", "content": ALL}, {"role": "user", "content": ALL}], max_tokens=9000
    )
    assert answer.status == 200, answer.body[:300]
    house.home.ids["generation"] = answer.headers["x-generation-id"]
    for text in within(64):
        headers = {"HTTP-Referer": f"https://{text}", "X-Title": text, "Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        body = {"model": "tollway/echo", "user": text, "messages": [{"role": "user", "content": text, "name": "x"}],
                "tools": [{"type": "function", "function": {"name": "f", "description": text}}]}  # fmt: skip
        with contextlib.suppress(UnicodeEncodeError):
            house.send("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
        house.send("POST", "/v1/chat/completions", json.dumps({**body, "model": text}).encode(), {"Authorization": f"Bearer {key}"})


def every_column(house: House) -> list[str]:
    """Writes the polyglot over every text column of every row; the names of those that took it."""
    poisoned = []
    with contextlib.closing(sqlite3.connect(house.file, isolation_level=None, timeout=20)) as connection:
        for table in SQLModel.metadata.sorted_tables:
            for column in table.columns:
                words = (
                    isinstance(column.type, Text) and column.name not in STRUCTURE and not column.name.endswith(("_id", "_hash", "_mac"))
                )
                added_up = table.name in ("usage_hour", "usage_day")
                if words and (added_up or not column.primary_key) and _over(connection, table.name, column.name):
                    poisoned.append(f"{table.name}.{column.name}")
    return poisoned


def _over(connection: sqlite3.Connection, table: str, column: str) -> bool:
    """Rows stay different from each other; what a constraint or a trigger refuses stays as it is."""
    value = f"{POLYGLOT}@example.com" if column == "email" else POLYGLOT
    try:
        done = connection.execute(f'UPDATE "{table}" SET "{column}" = ? || rowid WHERE "{column}" IS NOT NULL', (value,))
    except sqlite3.OperationalError:  # a table without row numbers
        try:
            done = connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" IS NOT NULL', (value,))
        except sqlite3.DatabaseError:
            return False
    except sqlite3.DatabaseError:
        return False
    return done.rowcount > 0
