"""`python -m tests.prove.crowd`: a thousand requests at once on an account that affords a hundred, over three gateways on one Postgres.

Every request costs its fee and nothing else, so the worst case that is held is what is charged, and less than one whole request cannot be
afforded. Exactly a hundred must be served, the others get 402, the balance is exact and never below zero, and the provider's own book
says a hundred. The short form is `tests/path/test_crowd.py`. Exit status 1 on any violation.
"""

import argparse
import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from metering.ledger import Balance
from tests import servers
from tests.fakes.process import Fake, fake_provider
from tests.prove import scorecard
from tests.prove.client import Seen, chat
from tests.prove.rig import Rig
from tests.running import Account, Tollway

MODELS = {"fee": "fast-1"}
FEE = 10_000_000
PRICES = {"fee": {"prompt": "0", "completion": "0", "request": "0.01"}}
GATEWAYS = 3


@contextlib.contextmanager
def place(database_url: str, fake: Fake, folder: Path) -> Iterator[tuple[Rig, list[Tollway]]]:
    """Three running gateways on one database."""
    rig = Rig(database_url=database_url, fake_url=fake.base_url, models=MODELS, folder=folder, prices=PRICES)
    gateways = [rig.gateway(f"crowd-{number}") for number in range(GATEWAYS)]
    with contextlib.ExitStack() as stack:
        for gateway in gateways:
            stack.callback(_end, gateway)
            gateway.start()
        yield rig, gateways


async def crowd(rig: Rig, gateways: list[Tollway], fake: Fake, *, requests: int, affordable: int) -> list[str]:
    """What went wrong, in words."""
    fake.reset()
    account = await rig.account(affordable * FEE + FEE - 1)
    watch = asyncio.create_task(_watch(rig, account))
    seen = [Seen(f"request {number}") for number in range(requests)]
    await asyncio.gather(*(_ask(each, gateways[number % len(gateways)].port, account, number) for number, each in enumerate(seen)))
    watch.cancel()
    await rig.idle(10)
    lowest = (await asyncio.gather(watch, return_exceptions=True))[0]
    wrong = [] if isinstance(lowest, asyncio.CancelledError) else [f"the balance was watched and {lowest}"]
    statuses = Counter(each.status for each in seen)
    if statuses != {200: affordable, 402: requests - affordable}:
        odd = next((each.body for each in seen if each.status not in (200, 402)), None)
        return [*wrong, f"{affordable} were to be served and the others refused: {dict(statuses)} {odd or ''}"]
    costs = Counter(each.cost for each in seen if each.status == 200)
    if costs != {FEE: affordable}:
        wrong.append(f"each was to be told the fee: {dict(costs)}")
    spent, left = affordable * FEE, FEE - 1
    if await rig.balance(account) != (expected := Balance(credits=spent + left, usage=spent, held=0, available=left)):
        wrong.append(f"{await rig.balance(account)} instead of {expected}")
    served = [row["outcome"] for row in fake.settled(count=affordable)]
    if served != ["served"] * affordable:
        wrong.append(f"the provider booked {dict(Counter(served))}")
    return wrong + [f"{check.id}: {check.figure} {check.rows}" for check in await rig.verify()]


async def _ask(seen: Seen, port: int, account: Account, number: int) -> None:
    await chat(seen, port=port, key=account.key, model="fake/fee", stream=number % 2 == 0, max_tokens=3)


async def _watch(rig: Rig, account: Account) -> str:
    """Ends only if the balance is ever below zero."""
    while True:
        balance = await rig.balance(account)
        if min(balance.available, balance.held) < 0:
            return f"it was {balance}"
        await asyncio.sleep(0.05)


def _end(gateway: Tollway) -> None:
    with contextlib.suppress(AssertionError):
        gateway.kill()


def more_files() -> None:
    """A connection per request needs more open files than some systems allow at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="at once")
    parser.add_argument("--affordable", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    scorecard.option(parser)
    wanted = parser.parse_args()
    more_files()
    start = time.monotonic()
    wrong: list[str] = []
    with (
        fake_provider() as fake,
        tempfile.TemporaryDirectory(prefix="tollway-crowd-") as folder,
        servers.postgres(durable=True) as server,
        servers.database(server) as url,
        place(url, fake, Path(folder)) as (rig, gateways),
    ):
        for _ in range(wanted.rounds):
            wrong += asyncio.run(crowd(rig, gateways, fake, requests=wanted.requests, affordable=wanted.affordable))
    figures = {
        "Rounds": f"{wanted.rounds}, {wanted.requests:,} requests at once over {GATEWAYS} gateways on one Postgres",
        "Served": f"exactly {wanted.affordable} in each; {wanted.requests - wanted.affordable} refused with 402"
        if not wrong
        else "see below",
        "Violations": f"{len(wrong)}",
        "Duration": scorecard.seconds(time.monotonic() - start),
    }
    print("\n".join([*(f"{name}: {value}" for name, value in figures.items()), *wrong]))
    if wanted.scorecard:
        scorecard.write("Crowd", figures)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
