"""`python -m tests.prove.ledger`: random steps against SQLite, Postgres and a model, which must agree on every answer and every balance.

Both databases are durable (SQLite synchronous=FULL, Postgres with fsync and synchronous_commit). The same `--seed` gives the same
examples; a difference is cut down to the steps it needs and printed. Exit status 1 if there is one.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time

from migrations.upgrade import upgrade
from tests import books, servers
from tests.prove import scorecard
from tests.prove.machine import Machine, Step, drawn, machine

REPLAYS_MAX = 400
TOGETHER = 20
"""Examples that are played side by side: their jobs share batches."""


async def prove(machine: Machine, *, examples: int, steps: int, seed: int) -> list[str]:
    """What differs, in words; empty when nothing does."""
    for first in range(0, examples, TOGETHER):
        plans = drawn(random.Random(f"{seed} {first}"), steps, examples=min(TOGETHER, examples - first))
        difference = await _difference(machine, *plans)
        if difference:
            return ["\n".join([f"examples from {first}: {difference}", *await _explained(machine, plans)])]
        print(f"\r{first + len(plans)} examples, {machine.steps:,} steps", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [line for side in machine.sides for line in await side.wrong()]


async def _explained(machine: Machine, plans: list[list[Step]]) -> list[str]:
    """The shortest form of the first example that differs alone as well."""
    for plan in plans:
        if await _difference(machine, plan):
            shortest = await _shrunk(machine, plan)
            return ["its shortest form:", *map(str, shortest), await _difference(machine, shortest)]
    return ["none of them differs alone"]


async def _difference(machine: Machine, *plans: list[Step]) -> str:
    try:
        await machine.play(*plans)
    except AssertionError as difference:
        return str(difference)
    return ""


async def _shrunk(machine: Machine, plan: list[Step]) -> list[Step]:
    """Leaves out what the difference does not need: halves, quarters, ..., single steps."""
    size, replays = len(plan) // 2, 0
    while size and replays < REPLAYS_MAX:
        for start in range(0, len(plan), size):
            shorter, replays = plan[:start] + plan[start + size :], replays + 1
            if await _difference(machine, shorter):
                plan = shorter
                break
        else:
            size //= 2
    return plan


async def _migrated(url: str) -> str:
    async with books.connected(url) as database:
        await database.write(lambda session: upgrade(session.connection()))
    return url


async def _prove(wanted: argparse.Namespace, *urls: str) -> tuple[int, list[str]]:
    async with machine(*[await _migrated(url) for url in urls]) as playing:
        differences = await prove(playing, examples=wanted.examples, steps=wanted.steps, seed=wanted.seed)
        return playing.steps, differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50, help="per example; a third of them is done twice")
    parser.add_argument("--seed", type=int, default=1)
    scorecard.option(parser)
    wanted = parser.parse_args()
    start = time.monotonic()
    with (
        servers.postgres(durable=True) as server,
        servers.database(server) as url,
        tempfile.TemporaryDirectory(prefix="tollway-") as folder,
    ):
        steps, differences = asyncio.run(_prove(wanted, f"sqlite:///{folder}/tollway.db", url))
    figures = {
        "Examples": f"{wanted.examples:,} of {wanted.steps} steps",
        "Steps on each database": f"{steps:,}, after each the answer, and every balance and held amount, compared with the model's",
        "Differences": f"{len(differences)}",
        "Duration": scorecard.seconds(time.monotonic() - start),
    }
    print("\n".join([*(f"{name}: {value}" for name, value in figures.items()), *differences]))
    if wanted.scorecard:
        scorecard.write("State machine", figures, seed=wanted.seed)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
