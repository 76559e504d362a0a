"""`make bench-pages`: how large and how quick every page is, over 1,000,000 generations of one account, on SQLite and on Postgres.

A real `tollway serve` on a seeded, durable database, asked over loopback as a browser asks, one page after another; what is measured is
the whole answer, from the first byte of the request to the last of the page. Before that the server's chore adds up what is there.
"""

import argparse
import asyncio
import http.client
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

from sqlmodel import Session, col, select, update

from benchmarks import pages_seed
from benchmarks.gateways import ROOT
from benchmarks.ledger_places import PLACES, Place
from benchmarks.pages_report import Measured, Run, render
from gateway.app import HOT, create_app
from gateway.dashboard.visitor import COOKIE
from gateway.settings import Settings
from gateway.timespan import DAY_MS, iso_day
from metering import rollups
from metering.database import open_database
from metering.money import now_ms
from metering.tables import Generation
from policy import sessions
from policy.people_tables import Person
from policy.tables import Member
from tests.running import Tollway, tollway

T = TypeVar("T")
REPEATS: Final = 15
CATCH_UP_SECONDS_MAX: Final = 600
RESULTS: Final = ROOT / "benchmarks" / "pages_results.md"
NO_PAGE: Final = re.compile(r"^/(v1|api|health|metrics|openapi\.json|schema|static|favicon\.ico|robots\.txt|sitemap\.xml|\.well-known)\b")
FILE: Final = re.compile(r"/(export|json|download|statement|proof|callback|unsubscribe|billing/usage)$|\.\w+$")
INSIDE: Final = ("/dashboard", "/operator", "/welcome", "/confirm")
"""Pages that are asked for with a session; links that were mailed and single sign-on are asked for without one, and so refused."""
NOT_KEPT: Final = ("/dashboard/logs/{generation_id:str}",)
"""The seeded account keeps no prompts."""
PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")


def routes() -> list[str]:
    """Every page that the application has; what posts, and files, are none."""
    handled = [(route.path, getattr(route, "route_handlers", ())) for route in create_app(Settings()).litestar.routes]
    found = {path for path, handlers in handled for handler in handlers if "GET" in handler.http_methods}
    return sorted(path for path in found if path not in (*HOT, *NOT_KEPT) and not NO_PAGE.match(path) and not FILE.search(path))


def addresses(generation_id: str) -> list[str]:
    """Every page with something in its parameters, and the pages about usage in every way of theirs. A page nobody filled is left out."""
    ids = {"generation_id": generation_id, "key_id": pages_seed.KEYS[1], "account_id": pages_seed.ACCOUNT}
    ids |= {"company": "tollway", "name": "echo"}
    filled = [PARAMETER.sub(lambda name: ids.get(name[1], "?"), path) for path in routes()]
    today = now_ms() - now_ms() % DAY_MS
    month = {"from": iso_day(today - 29 * DAY_MS), "to": iso_day(today)}
    usage = [{**month, "by": by} for by in ("day", "model", "provider", "key", "member", "app")]
    usage += [{**month, "by": "model", "show": "tokens", "key": pages_seed.KEYS[1]}, {"from": iso_day(today - DAY_MS), "by": "model"}]
    usage.append({**month, "from": iso_day(today - 91 * DAY_MS), "by": "model"})
    lists = [{"model": pages_seed.MODELS[3]}, {"outcome": "failed"}, {"model": "no/such"}, {"before": f"{today - 20 * DAY_MS}.x"}]
    more = [f"/dashboard/usage?{urlencode(query)}" for query in usage] + [f"/dashboard/generations?{urlencode(query)}" for query in lists]
    return [path for path in filled if "?" not in path] + more


def measure(server: Tollway, paths: list[str], token: str) -> list[Measured]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        signed_in = {"Cookie": f"{COOKIE}={token}"}
        return [_measured(connection, path, signed_in if path.startswith(INSIDE) else {}) for path in paths]


def _measured(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> Measured:
    times, status, length = [], 0, 0
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        status, length = answer.status, len(answer.read())
        times.append((time.perf_counter() - began) * 1000)
    return Measured(path, status, length, sorted(times[1:]))


def run(place: Place, url: str, *, count: int) -> Run:
    seeded, token = asyncio.run(pages_seed.seed(url, count=count, days=30)), secrets.token_urlsafe(32)
    generation_id = asyncio.run(_in(url, move_in, token))
    with tempfile.TemporaryDirectory() as folder, tollway({"TOLLWAY_DATABASE_URL": url}, Path(folder)) as server:
        caught_up = asyncio.run(_caught_up(url))
        pages = measure(server, addresses(generation_id), token)
    return Run(place.name, place.on, seeded, caught_up, pages)


async def _in(url: str, work: Callable[..., T], *args: object) -> T:
    database = open_database(url)
    try:
        return await database.write(work, *args)
    finally:
        await database.aclose()


def move_in(session: Session, token: str) -> str:
    """The owner of the seeded account, an operator too, with a session; the id of one generation."""
    now = now_ms()
    session.add(Person(id="per_pages", email=pages_seed.OWNER, verified_at=now, operator=1, created_at=now, updated_at=now))
    session.flush()
    session.connection().execute(update(Member).where(col(Member.account_id) == pages_seed.ACCOUNT).values(person_id="per_pages"))
    sessions.begin(session, "per_pages", token=token, agent="bench", account_id=pages_seed.ACCOUNT, now=now)
    newest = select(Generation.id).where(Generation.account_id == pages_seed.ACCOUNT).order_by(col(Generation.created_at).desc()).limit(1)
    return session.exec(newest).one()


async def _caught_up(url: str) -> float:
    """The seconds until nothing is left to be added up; RuntimeError when that takes too long."""
    began, database = time.perf_counter(), open_database(url)
    try:
        while time.perf_counter() - began < CATCH_UP_SECONDS_MAX:
            found = await database.read(rollups.behind, after="", until=now_ms() - 2 * rollups.MARGIN_MS)
            if not found.accounts:
                return time.perf_counter() - began
            await asyncio.sleep(0.5)
    finally:
        await database.aclose()
    raise RuntimeError(f"usage was not added up within {CATCH_UP_SECONDS_MAX} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="sqlite,postgres", help="databases, with commas")
    parser.add_argument("--generations", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="write benchmarks/pages_results.md")
    args = parser.parse_args()
    load, runs = os.getloadavg()[0], []
    for key in args.only.split(","):
        with PLACES[key]() as place, place.fresh() as url:
            runs.append(run(place, url, count=args.generations))
    text = render(runs, command=" ".join(["python -m benchmarks.pages", *sys.argv[1:]]), count=args.generations, load=load)
    print(text)
    if args.write:
        RESULTS.write_text(text)
    over = sorted({page.path for each in runs for page in each.pages if not page.within or page.status >= HTTPStatus.INTERNAL_SERVER_ERROR})
    if over:
        sys.exit(f"{len(over)} pages are over their bounds, or failed: {', '.join(over)}")


if __name__ == "__main__":
    main()
