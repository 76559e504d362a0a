"""Where a word of a client could have come to rest, as raw bytes, and the search for markers in all their forms.

A marker is four times a fixed tag and ten random letters: cut anywhere it is still known by any of its four parts, compression has nothing
to gain from it, and URLs and JSON write it as it is. Also found: in hexadecimal, base64 at any offset, UTF-16, reversed, and as its MD5,
SHA-1 or SHA-256 in bytes, hexadecimal or base64. An HMAC under a secret is not: that is the form in which equality may be remembered.
"""

import base64
import contextlib
import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from redis import Redis

from tests.browser import pages
from tests.prove.canary_site import Site

TAG = "Qx7zKw"
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
SPAN = ("--from", "2026-01-01", "--to", "2026-12-31")
OWN = ("generation/stream", "generation/content")
"""What an owner may hear again of its own."""
IDS_MAX = 12


def marker(seed: int, slot: str) -> str:
    """64 letters and digits, a different one per slot and seed."""
    drawn = hashlib.shake_256(f"{seed} {slot}".encode()).digest(40)
    text = "".join(LETTERS[byte % len(LETTERS)] for byte in drawn)
    return "".join(TAG + text[at : at + 10] for at in range(0, 40, 10))


class Needles:
    """What to look for; `names` by marker."""

    def __init__(self, markers: dict[str, str]) -> None:
        self._parts = {text[at : at + 16].encode(): name for name, text in markers.items() for at in range(0, 64, 16)}
        self._digests = {form: f"{name} ({kind})" for name, text in markers.items() for kind, form in _digests(text.encode())}
        self._hex = {form[:24]: name for form, name in self._digests.items() if re.fullmatch(rb"[0-9a-f]+", form)}
        self._other = {form: name for form, name in self._digests.items() if form[:24] not in self._hex}
        self._forms = list(_forms(TAG.encode()))

    def found(self, data: bytes) -> set[str]:
        """The slots whose markers stand in `data`, and in what form."""
        data = re.sub(rb"\0{32,}", b"\0", data)
        hits = {self._named(data, match.start()) for match in re.finditer(TAG.encode(), data)}
        hits |= {f"some slot ({kind})" for kind, form in self._forms if form in data}
        for match in re.finditer(rb"[0-9a-fA-F]{32,}", data):
            run = match[0].lower()
            hits |= {self._hex[run[at : at + 24]] for at in range(len(run) - 23) if run[at : at + 24] in self._hex}
        return hits | {name for form, name in self._other.items() if form in data}

    def _named(self, data: bytes, at: int) -> str:
        return self._parts.get(data[at : at + 16], "some slot (cut)")


def _digests(text: bytes) -> Iterator[tuple[str, bytes]]:
    for kind in ("md5", "sha1", "sha256"):
        raw = hashlib.new(kind, text, usedforsecurity=False).digest()
        yield f"{kind} in bytes", raw
        yield kind, raw.hex().encode()
        for form in {base64.b64encode(raw), base64.urlsafe_b64encode(raw)}:
            yield f"{kind} in base64", form.rstrip(b"=")[:20]


def _forms(tag: bytes) -> Iterator[tuple[str, bytes]]:
    yield "hexadecimal", tag.hex().encode()
    yield "hexadecimal", tag.hex().upper().encode()
    yield "capitals", tag.upper()
    yield "small letters", tag.lower()
    yield "UTF-16", tag.decode().encode("utf-16-le")
    yield "reversed", tag[::-1]
    for offset in range(3):
        # Of the letters at both ends, some bits belong to what stands beside the tag.
        packed = base64.b64encode(b"\0" * offset + tag).rstrip(b"=")
        yield "base64", packed[(0, 2, 3)[offset] : len(packed) - (1 if (offset + len(tag)) % 3 else 0)]


def collected(at: Site, *, commands: bool = True) -> Iterator[tuple[str, bytes]]:
    """(sink, raw bytes) of everything that there is, while the gateway runs; `commands` cost some seconds."""
    yield from _files("log of the gateway", [at.tollway.log])
    yield from _files("temporary folder", (at.folder / "temp").rglob("*"))
    yield from _database(at)
    if at.redis_url:
        yield from _redis(at)
    yield "traces and events", "\n".join(at.caught.heads).encode() + b"\n".join(body for _, body in list(at.caught.bodies))
    yield from _answers(at)
    yield from _pages(at)
    if commands:
        yield from _commands(at)


def _files(sink: str, paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        yield sink, path.name.encode()
        with contextlib.suppress(OSError):  # gone meanwhile, a folder or a socket
            yield sink, path.read_bytes()


def _database(at: Site) -> Iterator[tuple[str, bytes]]:
    if not at.on_postgres:
        yield from _files("SQLite's files", (at.folder / "data").iterdir())
        return
    at.sql("CHECKPOINT")
    data = Path(str(at.sql("SHOW data_directory")[0][0]))
    since = at.tollway.log.stat().st_ctime - 3600
    changed = [path for path in data.rglob("*") if path.is_file() and path.stat().st_mtime > since]
    yield from _files("log of Postgres", [data.parent / "log"])
    yield from _files("write-ahead log of Postgres", [path for path in changed if "pg_wal" in path.parts])
    yield from _files("files of Postgres", [path for path in changed if "pg_wal" not in path.parts])
    for (table,) in at.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        rows = at.sql(f'SELECT * FROM "{table}"')
        yield "rows of Postgres", repr(rows).encode()


def _redis(at: Site) -> Iterator[tuple[str, bytes]]:
    """A dump that is not packed, and the name and the raw value of each key."""
    with Redis.from_url(at.redis_url) as redis, tempfile.TemporaryDirectory() as folder:
        redis.config_set("rdbcompression", "no")
        redis.config_set("dir", folder)
        redis.save()
        yield from _files("dump of Redis", Path(folder).iterdir())
        for name in redis.scan_iter("*"):
            yield "keys of Redis", name + (redis.dump(name) or b"")


def _answers(at: Site) -> Iterator[tuple[str, bytes]]:
    """Every GET that the gateway describes, asked by a stranger and by the owner; of a generation, for the newest ones."""
    _, described = at.get("/openapi.json")
    paths = [path for path, methods in json.loads(described)["paths"].items() if "get" in methods and not path.startswith("/api/")]
    for who, key in (("a stranger", at.stranger.key), ("the owner", at.owner.key)):
        for path in [*paths, "/metrics", "/openapi.json"]:
            if who == "the owner" and path.removeprefix("/v1/") in OWN:
                continue
            for id in at.ids[-IDS_MAX:] if "generation" in path else [""]:
                yield f"answers to {who}", at.get(f"{re.sub('{[^}]*}', 'x', path)}{f'?id={id}' if id else ''}", key)[1]
    for form in ("csv", "jsonl"):
        for by in ("generation", "day"):
            yield "export for the owner", at.get(f"usage/export?from=2026-01-01&to=2026-12-31&format={form}&by={by}")[1]


def _pages(at: Site) -> Iterator[tuple[str, bytes]]:
    """Every page and every file behind one, as the owner and operator gets it; of a generation, those of the newest."""
    cookie = at.sign_in()
    for route in pages.routes():
        if pages.GET not in route.methods:
            continue
        for id in at.ids[-IDS_MAX:] if "generation" in route.path else ["x"]:
            path = pages.PARAMETER.sub(id, route.path)
            status, body = at.send("GET", path, b"", {"Cookie": cookie, "Authorization": ""})
            assert status == 200 if route.path == "/dashboard" else status < 500, (path, status)
            yield "pages for the owner", body


def _commands(at: Site) -> Iterator[tuple[str, bytes]]:
    account = ("--account", at.owner.account_id)
    exports: list[tuple[str, ...]] = [
        ("usage", "export", *account, *SPAN, "--by", by, "--format", form, "--out", str(at.folder / f"{by}.{form}"))
        for by in ("generation", "day")
        for form in ("csv", "jsonl", "parquet")
    ]
    copy = ("privacy", "export", *account, "--out", str(at.folder / "account.zip"))
    shown = [
        ("ledger", "statement", *account, *SPAN, "--json"),
        ("ledger", "verify"),
        ("key", "list", *account),
        ("audit", "list", *account),
    ]
    for command in [*exports, *shown, copy]:
        done = at.tollway.cli(*command)
        yield "commands of the operator", (done.stdout + done.stderr).encode()
    yield from _files("exports of the operator", [at.folder / command[-1] for command in exports])
    with zipfile.ZipFile(copy[-1]) as whole:
        for name in whole.namelist():
            yield "copy of the account", name.encode() + whole.read(name)


def scan(at: Site, needles: Needles, *, commands: bool = True) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Hits by sink, and how many bytes were read of each."""
    hits: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for sink, data in collected(at, commands=commands):
        sizes[sink] = sizes.get(sink, 0) + len(data)
        if names := needles.found(data):
            hits.setdefault(sink, set()).update(names)
    return hits, sizes
