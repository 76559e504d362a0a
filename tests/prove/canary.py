"""`python -m tests.prove.canary`: sends marked words through every slot of a gateway and looks for them in the raw bytes of every sink.

Once on SQLite and once on Postgres, both with Redis. Prompt logging is off, as by default, and nothing may be found: on SQLite without any
opt-in, on Postgres with every other one on, none of which lets a word be kept. A second account has logging on: what it asked is kept, its
marker is nowhere all the same, and its owner reads it back. One more stream is cut by kill -9 in the middle.
Then the search itself is tried: a marker is laid into each sink by hand and must be found. At last the guards of `redactions.py` are taken
away one at a time, each of which must turn `tests/path/test_canary.py` red.

It cannot show what a provider does with a prompt, what stands in the memory of a running process, or a sink that nobody has named.
Exit status 1 on any hit, on a plant that is not found, and on a guard that is not missed.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from tests.prove import scorecard
from tests.prove.canary_provider import stream
from tests.prove.canary_sinks import Needles, marker, scan
from tests.prove.canary_site import Site, site
from tests.prove.canary_slots import Slot, slots
from tests.prove.mutation import Copy
from tests.prove.redactions import REDACTIONS

KILLED = "stream cut by kill -9"
KEPT = "kept prompt"
ANSWERED = "kept answer"
PLANTED = "planted"
GUARD_SECONDS_MAX = 600
POSTGRES = ("rows of Postgres", "write-ahead log of Postgres", "files of Postgres", "log of Postgres")


@dataclass
class Findings:
    """`wrong` ends the proof with status 1; `sizes` are the bytes read by sink."""

    database: str
    slots: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    plants: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0

    def figures(self) -> dict[str, str]:
        return {
            "Slots": f"{self.slots}, each with a marker of its own",
            "Sinks": f"{len(self.sizes)}, {sum(self.sizes.values()) / 1e6:,.0f} MB read",
            "Markers found": f"{len(self.wrong)}",
            "Planted by hand and found": f"{self.plants}",
            "Duration": scorecard.seconds(self.seconds),
        }


def prove(database: str, seed: int = 1, *, short: bool = False) -> Findings:
    """`short`: all is looked through once, after the kill."""
    found, start = Findings(database), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, site(database, Path(folder), with_redis=True) as at:
        chosen = slots()
        markers = {name: marker(seed, name) for name in [*(slot.name for slot in chosen), KILLED, KEPT, ANSWERED]}
        needles = Needles(markers)
        _send(at, chosen, markers)
        found.slots = len(markers)
        found.wrong += _kept(at, markers)
        if not short:
            _look(at, needles, found, "before the kill")
        _killed(at, markers[KILLED])
        _look(at, needles, found, "after the kill")
        found.wrong += _readable(at, markers)
        found.plants = _plants(at, seed, found)
    found.seconds = time.monotonic() - start
    return found


def _send(at: Site, chosen: list[Slot], markers: dict[str, str]) -> None:
    for slot in chosen:
        try:
            slot.act(at, markers[slot.name])
        except (OSError, EOFError) as error:
            raise AssertionError(f"{slot.name}: the gateway did not answer: {type(error).__name__}") from error
    assert at.statuses.count(200) > 40, "most slots are good requests"


def _look(at: Site, needles: Needles, found: Findings, when: str) -> None:
    hits, sizes = scan(at, needles)
    found.sizes |= sizes
    found.wrong += [f"{sink}, {when}: {', '.join(sorted(names))}" for sink, names in hits.items()]


def _kept(at: Site, markers: dict[str, str]) -> list[str]:
    """The positive control's request, of the account that has logging on."""
    at.provider.says = stream({"content": markers[ANSWERED]})
    asked = {"messages": [{"role": "user", "content": markers[KEPT]}], "stream": True}
    status, _ = at.post("chat/completions", asked, key=at.open.key)
    at.provider.says = None
    [(rows,)] = at.sql("SELECT count(*) FROM content")
    return [] if (status, rows) == (200, 1) else [f"the positive control: status {status}, {rows} rows of content"]


def _readable(at: Site, markers: dict[str, str]) -> list[str]:
    """After the kill and with logging on, the owner reads what was kept."""
    _, listed = at.get("logs", at.open.key)
    (row,) = json.loads(listed)["data"]
    _, body = at.get(f"generation/content?id={row['id']}", at.open.key)
    return [f"the positive control: {name} is not read back" for name in (KEPT, ANSWERED) if markers[name].encode() not in body]


def _killed(at: Site, text: str) -> None:
    """kill -9 of the gateway in the middle of an answer, and a new one on what it left."""
    at.provider.says = stream({"content": text}, {"content": text}, pause=1)
    body = json.dumps({"model": "acme/one", "messages": [{"role": "user", "content": text}], "stream": True}).encode()
    with at.ask(body, until=b"content", headers={"Idempotency-Key": text}):
        at.tollway.kill()
    at.provider.says = None
    at.tollway.start()


def _plants(at: Site, seed: int, found: Findings) -> int:
    """A marker is laid where none may be, and in forms in which none may be; each must be found. How many there were."""
    word = marker(seed, PLANTED)
    needles = Needles({PLANTED: word})
    with at.tollway.log.open("a") as log:
        log.write(f"a careless line with {word[5:40]}\n")
    (at.folder / "temp" / "upload").write_text(word)
    [(id,), *_] = at.sql(f"SELECT id FROM generation WHERE account_id = '{at.owner.account_id}'")
    at.sql(f"UPDATE generation SET title = '{word}', origin = '{word}' WHERE id = '{id}'")
    at.ids.append(str(id))
    at.caught.heads.append(word)
    wanted = {"log of the gateway", "temporary folder", "traces and events", "answers to the owner"}
    wanted |= set(POSTGRES) if at.on_postgres else {"SQLite's files"}
    if at.redis_url:
        with Redis.from_url(at.redis_url) as redis:
            redis.set("tollway:careless", word)
        wanted |= {"dump of Redis", "keys of Redis"}
    hits, _ = scan(at, needles, commands=False)
    found.wrong += [f"planted in {sink} and not found" for sink in sorted(wanted - set(hits))]
    return len(wanted)


def missed(say: bool = True) -> list[str]:
    """The guards that can be taken away without the short canary turning red."""
    standing = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for guard in REDACTIONS:
            fate = copy.fate(guard.file, guard.applied(copy.folder), guard.tests, seconds=GUARD_SECONDS_MAX, postgres=True)
            noticed = "::" in fate.by  # by a test, not by running out of time
            if say:
                print(f"{'red' if noticed else 'NOT NOTICED'} by {fate.by or 'any test'}: without “{guard.name}”", flush=True)
            standing += [] if noticed else [guard.name]
    return standing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--guards", choices=("all", "none"), default="all", help="whether the guards are taken away, some minutes")
    parser.add_argument("--seed", type=int, default=1, help="chooses the markers")
    scorecard.option(parser)
    wanted = parser.parse_args()
    figures: dict[str, str] = {}
    wrong: list[str] = []
    for database in ("sqlite", "postgres") if wanted.database == "both" else (wanted.database,):
        found = prove(database, wanted.seed)
        figures |= {f"{database}: {name}": value for name, value in found.figures().items()}
        wrong += [f"{database}: {each}" for each in found.wrong]
    if wanted.guards == "all":
        standing = missed()
        figures["Guards taken away"] = f"{len(REDACTIONS)}, {len(REDACTIONS) - len(standing)} noticed"
        wrong += [f"nobody misses “{name}”" for name in standing]
    for name, value in figures.items():
        print(f"{name:40}  {value}")
    print("\n".join(wrong))
    if wanted.scorecard:
        scorecard.write("Canary", figures, seed=wanted.seed, notes="\n".join(f"- {each}" for each in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
