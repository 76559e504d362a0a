"""The tables of `translate`: what each dialect and each client API costs, and how much more than a chat over the openai dialect."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from benchmarks.report import hardware, number

EVENT_US_MAX: Final = 30
REQUEST_US_MAX: Final = 200
Key = tuple[str, str]
"""(dialect, client API)"""
YARDSTICK: Final[Key] = ("openai", "chat")
TITLES: Final = {"event": "per streamed event", "streamed": "per streamed request", "whole": "per whole request"}
GOALS: Final = {"event": EVENT_US_MAX, "streamed": REQUEST_US_MAX, "whole": REQUEST_US_MAX}


@dataclass(frozen=True)
class Figures:
    """CPU microseconds; None where there is nothing of the kind."""

    event: float | None
    streamed: float | None
    whole: float


@dataclass
class Results:
    command: str
    rounds: int
    events: int
    repeats: int
    signature_us: float = 0.0
    figures: dict[Key, Figures] = field(default_factory=dict)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def added(self, key: Key, name: str) -> float | None:
        """More than the yardstick; embeddings have one of their own."""
        base = ("openai", "embeddings") if key[1] == "embeddings" else YARDSTICK
        mine, yardstick = getattr(self.figures[key], name), getattr(self.figures[base], name)
        return None if mine is None or yardstick is None else mine - yardstick

    def most(self, name: str) -> tuple[float, Key]:
        return max((added, key) for key in self.figures if (added := self.added(key, name)) is not None)

    @property
    def missed(self) -> int:
        return sum(self.most(name)[0] > goal for name, goal in GOALS.items())


def render(results: Results) -> str:
    parts = ["# Translation benchmark", machine(results), goals(results), *(table(results, name) for name in TITLES), method(results)]
    return "\n\n".join(parts) + "\n"


def machine(results: Results) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, `{results.command}`: {hardware()}, load average {results.load_before:.1f} before. CPU time of one "
        "thread, so that what else ran on the machine counts little."
    )


def goals(results: Results) -> str:
    rows = ["| goal | most that was added | where |", "|---|---:|---|"]
    for name, goal in GOALS.items():
        added, (dialect, api) = results.most(name)
        judged = "reached" if added <= goal else "**missed**"
        rows.append(f"| <= {goal} us {TITLES[name]} | {number(added, 1)} us, {judged} | {api} over {dialect} |")
    return "\n".join(rows)


def table(results: Results, name: str) -> str:
    """Dialects down, client APIs across: microseconds, and in brackets what of them was added."""
    keys = [key for key in results.figures if getattr(results.figures[key], name) is not None]
    apis, dialects = (list(dict.fromkeys(key[place] for key in keys)) for place in (1, 0))
    rows = [f"| us {TITLES[name]} | {' | '.join(apis)} |", "|---" + "|---:" * len(apis) + "|"]
    rows += [f"| {dialect} | {' | '.join(_cell(results, (dialect, api), name) for api in apis)} |" for dialect in dialects]
    return "\n".join(rows)


def _cell(results: Results, key: Key, name: str) -> str:
    if key not in results.figures:
        return "-"
    told, added = getattr(results.figures[key], name), results.added(key, name)
    return number(told, 1) if added is None else f"{number(told, 1)} ({added:+.1f})"


def method(results: Results) -> str:
    return f"""
In brackets: more (or less) than the same without translation, which is a chat over the openai dialect, and for embeddings OpenAI's own.
From the bytes of the request to the last byte of the answer, without sockets, money and database: the client API's parser, the
dialect's request, its reading of the answer, our count and labels, the client API's words. Medians of {results.rounds} rounds; in each
round every pair has its turn, {results.repeats} times in a row.

Events: streams of {results.events + 1} events of one word minus streams of one, each event in a read and a write of its own. Requests:
five turns with a tool, two parallel calls and their results, answered by 40 words, or streamed by one event; completions have one
prompt of the same words, embeddings one text and 256 numbers. Bedrock's carry an API key; a signature (SigV4) is no translation and
costs {number(results.signature_us, 0)} us more in the same run.
""".strip()
