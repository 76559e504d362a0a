"""The ledger's rules once more, in plain Python and without a database: one account and two limits, one of which starts anew every day."""

from dataclasses import dataclass, field

from metering.batch import OPEN, RECOVERED, SETTLED, Closed, Held, Refused

FUNDS = 1000
DAY_MS = 86_400_000
LIMITS: dict[str, tuple[int, str | None]] = {"lim_a": (900, None), "lim_b": (500, "daily")}
"""What each may spend, nano-USD, and how often it starts anew."""
BUCKETS = ("acc", *LIMITS)


@dataclass
class Bucket:
    """`day` is the number of the present period; None: there are no periods."""

    posted: int
    overdraft: int
    day: int | None = None

    def post(self, amount: int, now: int) -> None:
        """A charge counts in the period that it falls in: it starts a new one, and what is older than the present one is left out."""
        today = now // DAY_MS
        if self.day is not None and today < self.day:
            return
        if self.day is not None and today > self.day:
            self.day, self.posted = today, 0
        self.posted += amount


@dataclass
class Hold:
    amount: int
    buckets: tuple[str, ...]
    boot: int
    state: int = OPEN
    charge: int = 0
    progress: int | None = None


@dataclass
class Model:
    """`boots` processes have begun so far, of which `fenced` were taken for dead."""

    now: int
    buckets: dict[str, Bucket] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    boots: int = 1
    fenced: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.buckets["acc"] = Bucket(FUNDS, 0)
        for name, (amount, reset) in LIMITS.items():
            self.buckets[name] = Bucket(0, amount, self.now // DAY_MS if reset else None)

    # Which hold is meant

    def new(self) -> str:
        return str(len(self.holds))

    def some(self, pick: int) -> str:
        """Any that ever was, or one that never was."""
        return str(pick % (len(self.holds) + 1))

    def opened(self, pick: int) -> str:
        still = [id for id, hold in self.holds.items() if hold.state == OPEN]
        return still[pick % len(still)] if still else self.some(pick)

    def held(self, id: str) -> int:
        return self.holds[id].amount if id in self.holds else 0

    # The verbs

    def hold(self, id: str, limits: tuple[str, ...], amount: int, boot: int) -> Held | Refused | None:
        """None: the process was taken for dead."""
        hold, buckets = self.holds.get(id), ("acc", *limits)
        if hold is not None and hold.state == OPEN:
            return Held(hold.amount)
        least = self._least(buckets)
        if least.available < amount:
            return least
        if boot in self.fenced:
            return None
        if hold is not None:
            return least
        self.holds[id] = Hold(amount, buckets, boot)
        return Held(amount)

    def extend(self, id: str, target: int, *, partly: bool = False) -> Held | Refused:
        hold = self.holds.get(id)
        if hold is None or hold.state != OPEN:
            return Refused("", 0)
        least, missing = self._least(hold.buckets), max(0, target - hold.amount)
        if 0 < missing > least.available and not partly:
            return least
        hold.amount += min(missing, max(0, least.available))
        return Held(hold.amount)

    def settle(self, id: str, charge: int, held: int) -> Closed:
        """Above the hold, what there is; never more than the hold."""
        if charge > held:
            extended = self.extend(id, charge, partly=True)
            held = extended.amount if isinstance(extended, Held) else held
        return self.close(id, min(charge, held), SETTLED)

    def close(self, id: str, charge: int, state: int) -> Closed:
        hold = self.holds.get(id)
        if hold is None:
            return Closed(0, state, False)
        if hold.state != OPEN:
            return Closed(hold.charge, hold.state, False)
        hold.state, hold.charge = state, min(charge, hold.amount)
        for bucket in hold.buckets:
            self.buckets[bucket].post(-hold.charge, self.now)
        return Closed(hold.charge, state, True)

    def checkpoint(self, id: str, charge: int) -> None:
        if id in self.holds and self.holds[id].state == OPEN:
            self.holds[id].progress = charge

    def boot(self) -> None:
        self.boots += 1

    def fence(self, boot: int) -> None:
        self.fenced.add(boot)

    def recover(self) -> dict[str, Closed]:
        lost = [id for id, hold in self.holds.items() if hold.state == OPEN and hold.boot in self.fenced]
        return {id: self.close(id, self.holds[id].progress or 0, RECOVERED) for id in lost}

    def move(self, amount: int) -> bool:
        if self._least(("acc",)).available + amount < 0:
            return False
        self.buckets["acc"].posted += amount
        return True

    def start_period(self, limit: str) -> None:
        bucket, today = self.buckets[limit], self.now // DAY_MS
        if bucket.day is not None and today > bucket.day:
            bucket.day, bucket.posted = today, 0

    # What is there

    def figures(self) -> dict[str, tuple[int, int]]:
        """(posted, held) of every bucket."""
        return {name: (bucket.posted, self._held(name)) for name, bucket in self.buckets.items()}

    def _held(self, bucket: str) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.state == OPEN and bucket in hold.buckets)

    def _least(self, buckets: tuple[str, ...]) -> Refused:
        room, bucket = min((self._room(bucket), bucket) for bucket in buckets)
        return Refused(bucket, room, self._held(bucket))

    def _room(self, bucket: str) -> int:
        return self.buckets[bucket].posted + self.buckets[bucket].overdraft - self._held(bucket)
