"""`python -m tests.prove.crash`: kills the gateway (kill -9) at random moments under load, and proves that no nano-dollar is lost.

After every kill: restart, wait for recovery, recompute the ledger, and compare every generation with what its client saw and with
what the fake provider emitted. Postgres runs with fsync. Exit status 1 on any violation. `--stops` pauses a process for longer than
its lease (SIGSTOP), `--postgres-kills` kills the database server itself; both need Postgres and several processes.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from metering.batch import OPEN
from tests import books, servers
from tests.fakes.process import Fake, fake_provider
from tests.prove import scorecard
from tests.prove.judge import judge
from tests.prove.load import MODELS, Load
from tests.prove.postgres import Crashable
from tests.prove.rig import Rig
from tests.prove.score import Score
from tests.running import Account, Tollway

ACCOUNTS = 3
CLIENTS = 12
CREDIT = 1000 * 10**9
RECOVERY_SECONDS_MAX = {"sqlite": 5.0, "postgres": 8.0}
FENCE_SECONDS_MAX = 45.0


class Proof:
    """Gateways on one database. A round: load, a blow, recovery, and the judgement of every request of the round."""

    def __init__(self, rig: Rig, fake: Fake, accounts: list[Account], score: Score, dice: random.Random) -> None:
        self.rig, self.fake, self.accounts, self.score, self.dice = rig, fake, accounts, score, dice
        self.gateways: list[Tollway] = []
        self.boots: dict[Tollway, str] = {}
        self._known: set[str] = set()
        self._told = 0

    async def start(self, gateway: Tollway) -> None:
        await asyncio.to_thread(gateway.start)
        rows = await books.sql(self.rig.database_url, "SELECT id FROM boot ORDER BY started_at DESC LIMIT 1")
        self.boots[gateway] = str(rows[0][0])

    async def round(self, blow: Callable[[], Awaitable[None]]) -> None:
        load = Load(self.accounts, [each.port for each in self.gateways], CLIENTS, self.dice)
        load.start()
        await asyncio.sleep(self.dice.uniform(0.05, 3.0))
        await blow()
        await asyncio.sleep(self.dice.uniform(0, 1))
        await load.stop()
        try:
            await self.rig.idle(20)
        except AssertionError as error:
            self.score.violations.append(str(error))
            print("".join(f"\n{each.log}\n{each.log.read_text()[-4000:]}" for each in self.gateways), file=sys.stderr)
        new = {id: row for id, row in (await self.rig.ended()).items() if id not in self._known}
        self._known |= set(new)
        self.score.retries += load.retries
        self.score.add(judge(load.seen, new, self.fake.ledger()))
        self.score.violations += [f"{check.id}: {check.figure} {check.rows}" for check in await self.rig.verify()]
        self.fake.reset()
        for each in self.score.violations[self._told :]:
            print(f"violation: {each}", file=sys.stderr, flush=True)
        self._told = len(self.score.violations)

    async def kill(self) -> None:
        """One process, or all at once; the last that is left takes the orphans of the others."""
        struck = self.gateways if self.dice.random() < 0.3 else [self.dice.choice(self.gateways)]
        for gateway in struck:
            gateway.kill()
        orphans = await self._open([self.boots[gateway] for gateway in struck])
        self.score.kills += len(struck)
        self.score.orphans += len(orphans)
        restart = time.monotonic()
        for gateway in struck:
            start = time.monotonic()
            await self.start(gateway)
            self.score.ready(time.monotonic() - start)
        await self._resolved(orphans, time.monotonic())
        self.score.restored(time.monotonic() - restart)

    async def _resolved(self, orphans: set[str], since: float) -> None:
        while orphans & set(await self.rig.open_holds()):
            await asyncio.sleep(0.05)
            if time.monotonic() - since > FENCE_SECONDS_MAX:
                self.score.violations.append(f"not recovered: {orphans}")
                return
        self.score.recovered(time.monotonic() - since)

    async def stop(self) -> None:
        """A process that is paused until it has been fenced and its holds have been recovered, and then goes on."""
        gateway = self.dice.choice(self.gateways)
        os.killpg(gateway.pid, signal.SIGSTOP)
        self.score.stops += 1
        orphans = await self._open([self.boots[gateway]])
        start = time.monotonic()
        while orphans & set(await self.rig.open_holds()) and time.monotonic() - start < FENCE_SECONDS_MAX:
            await asyncio.sleep(0.5)
        self.score.fenced(time.monotonic() - start)
        os.killpg(gateway.pid, signal.SIGCONT)
        await asyncio.sleep(2)
        gateway.get("/credits", self.accounts[0].key)
        rows = await books.sql(self.rig.database_url, f"SELECT fenced FROM boot WHERE id = '{self.boots[gateway]}'")
        if rows != [(1,)]:
            self.score.violations.append(f"{self.boots[gateway]} was paused for longer than its lease and not fenced")
        gateway.kill()
        await self.start(gateway)

    async def kill_postgres(self, server: Crashable) -> None:
        await server.kill()
        self.score.postgres_kills += 1
        await asyncio.sleep(self.dice.uniform(0, 6))
        await server.start()
        await asyncio.sleep(7)  # long enough for somebody to look for the dead
        ids = ", ".join(f"'{id}'" for id in self.boots.values())
        fenced = await books.sql(self.rig.database_url, f"SELECT id FROM boot WHERE fenced = 1 AND id IN ({ids})")
        self.score.violations += [f"{id} lives and was fenced" for (id,) in fenced]

    async def _open(self, boots: list[str]) -> set[str]:
        named = ", ".join(f"'{boot}'" for boot in boots)
        rows = await books.sql(self.rig.database_url, f"SELECT id FROM hold WHERE state = {OPEN} AND boot_id IN ({named})")
        return {str(id) for (id,) in rows}

    async def close(self) -> None:
        """The sums of the accounts, when all is over."""
        balances = [await self.rig.balance(account) for account in self.accounts]
        used = sum(each.usage for each in balances)
        if used != self.score.charged or any(each.held or each.available != each.credits - each.usage for each in balances):
            self.score.violations.append(f"the accounts used {used}, their generations were charged {self.score.charged}: {balances}")


def prove(database: str, wanted: argparse.Namespace, kills: int) -> Score:
    """In a process of its own, with a provider of its own: most of a proof is waiting, so two can run beside each other."""
    start = time.monotonic()
    with fake_provider() as fake, tempfile.TemporaryDirectory(prefix="tollway-crash-") as folder:
        score = asyncio.run(_prove(database, wanted, kills, fake, Path(folder)))
    score.duration = time.monotonic() - start
    return score


async def _prove(database: str, wanted: argparse.Namespace, kills: int, fake: Fake, folder: Path) -> Score:
    dice = random.Random(f"{wanted.seed} {database}")
    score = Score(database, RECOVERY_SECONDS_MAX[database])
    with contextlib.ExitStack() as stack:
        server = Crashable(stack.enter_context(servers.postgres(durable=True))) if database == "postgres" else None
        url = f"sqlite:///{folder}/tollway.db"
        if server is not None:
            stack.callback(server.close)
            await asyncio.to_thread(servers.create_database, server.url, name="tollway")
            url = servers.database_url(server.url, name="tollway")
        rig = Rig(database_url=url, fake_url=fake.base_url, models=MODELS, folder=folder, cold=True)
        accounts = [await rig.account(CREDIT) for _ in range(ACCOUNTS)]
        proof = Proof(rig, fake, accounts, score, dice)
        for number in range(wanted.processes if server else 1):
            gateway = rig.gateway(f"{database}-{number}")
            stack.callback(_end, gateway)
            proof.gateways.append(gateway)
            await proof.start(gateway)
        for number, blow in enumerate(_blows(proof, wanted, kills, server)):
            await proof.round(blow)
            if number % 10 == 9:
                print(score.line(), file=sys.stderr, flush=True)
        await proof.close()
    return score


def _blows(proof: Proof, wanted: argparse.Namespace, kills: int, server: Crashable | None) -> Iterator[Callable[[], Awaitable[None]]]:
    while proof.score.kills < kills:
        yield proof.kill
    if server is not None:
        crash = server
        for _ in range(wanted.postgres_kills):
            yield lambda: proof.kill_postgres(crash)
        for _ in range(wanted.stops):
            yield proof.stop


def _end(gateway: Tollway) -> None:
    with contextlib.suppress(ProcessLookupError, AssertionError):
        os.killpg(gateway.pid, signal.SIGCONT)
    with contextlib.suppress(AssertionError):
        gateway.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of gateway processes; half of them on each database")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--processes", type=int, default=3, help="gateways on Postgres")
    parser.add_argument("--stops", type=int, default=0, help="SIGSTOP for longer than the lease, about 45 s each")
    parser.add_argument("--postgres-kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1, help="chooses whom a blow strikes, and when; not what the machine is doing then")
    scorecard.option(parser)
    wanted = parser.parse_args()
    databases = ("sqlite", "postgres") if wanted.database == "both" else (wanted.database,)
    kills = -(-wanted.kills // len(databases))
    with ProcessPoolExecutor(len(databases), mp_context=multiprocessing.get_context("spawn")) as beside:
        scores = [each.result() for each in [beside.submit(prove, database, wanted, kills) for database in databases]]
    for score in scores:
        print(score.table())
    if wanted.scorecard:
        figures = {f"{score.database}: {name}": value for score in scores for name, value in score.figures().items()}
        notes = "\n".join(f"- {each}" for score in scores for each in score.violations[:20])
        if databases == ("sqlite",):
            scorecard.write("Crashes on one node", figures, seed=wanted.seed, notes=notes)
        else:
            scorecard.write("Crashes", figures, seed=wanted.seed, notes=notes)
    return 1 if any(score.violations for score in scores) else 0


if __name__ == "__main__":
    sys.exit(main())
