"""Load for the proofs: clients that ask without end, each request with a prompt of its own, by which the provider's book finds it.

A client whose answer was cut off asks the same again at once, without an Idempotency-Key: that is a new generation.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.prove.client import Seen, chat
from tests.running import Account

MODELS = {
    "short": "slow-tokens@ms=10,tokens=25",
    "long": "slow-tokens@ms=20,tokens=120",
    "untold": "missing-usage+slow-tokens@ms=15,tokens=40",
}


@dataclass
class Load:
    """`clients` at once over `ports`, until `stop`; `seen` is every request that was begun."""

    accounts: Sequence[Account]
    ports: Sequence[int]
    clients: int
    random: random.Random
    seen: list[Seen] = field(default_factory=list)
    retries: int = 0
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._ask_forever()) for _ in range(self.clients)]

    async def stop(self) -> None:
        """Returns when the last answer, or its connection, has ended."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _ask_forever(self) -> None:
        while not self._stopping:
            model = self.random.choices(list(MODELS), weights=(6, 2, 2))[0]
            seen = Seen(f"{model} crash-{next(self._numbers)}")
            account, stream = self.random.choice(self.accounts), self.random.random() < 0.8
            await self._ask(seen, account, model, stream=stream)
            if seen.cut_off and not self._stopping:
                again = Seen(f"{seen.prompt} again")
                await self._ask(again, account, model, stream=stream)
                self.retries += bool(again.status)

    async def _ask(self, seen: Seen, account: Account, model: str, *, stream: bool) -> None:
        await chat(seen, port=self.random.choice(self.ports), key=account.key, model=f"fake/{model}", keep_text=False, stream=stream)
        if seen.status:
            self.seen.append(seen)
        else:
            await asyncio.sleep(0.05)  # nobody listens there at present
