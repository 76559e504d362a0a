"""The table: medians over the rounds, and everything a reader needs to judge or repeat them."""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.gateways import Gateway
from benchmarks.measure import EVENTS, GAP_MS, STREAMS_PER_S, SUSTAINED, Figures, Sizes
from benchmarks.running import Cores

YARDSTICK = "tensorzero"
Cell = Callable[[str], str]


@dataclass
class Results:
    """What one run of the benchmark found; `missing` says why a gateway has no figures or not all rounds."""

    chosen: list[Gateway]
    sizes: Sizes
    cores: Cores
    command: str
    direct: list[Figures] = field(default_factory=list)
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def value(self, key: str, name: str) -> float | None:
        found = [figures[name] for figures in self.rounds.get(key, []) if name in figures]
        return median(found) if found else None

    def over_all(self, name: str) -> float:
        return median([figures[name] for rounds in self.rounds.values() for figures in rounds if name in figures] or [0.0])

    def best(self, key: str, prefix: str) -> float | None:
        """The highest of a figure's loads, each the median of its rounds."""
        names = {name for figures in self.rounds.get(key, []) for name in figures if name.startswith(prefix)}
        found = [value for name in names if (value := self.value(key, name)) is not None]
        return max(found) if found else None

    def total(self, key: str, prefix: str) -> int:
        return int(sum(value for figures in self.rounds.get(key, []) for name, value in figures.items() if name.startswith(prefix)))


def render(results: Results) -> str:
    parts = [
        "# Relay benchmark",
        machine(results),
        main_table(results),
        notes(results),
        what_was_on(results),
        "## Other loads" if results.sizes.rates else "",
        connections_table(results) if results.sizes.connections else "",
        rates_table(results) if results.sizes.rates else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def hardware() -> str:
    cpus = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return (
        f"{os.cpu_count()} cores ({cpus[0] if cpus else '?'}), {memory:.0f} GB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def machine(results: Results) -> str:
    layout = (
        "the gateway has one core to itself; mock, load and database share the rest" if pinned(results) else "nothing is pinned to a core"
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, `{results.command}`: {hardware()}, load average {results.load_before:.1f} before; {layout}. "
        f"Rounds: {results.sizes.rounds}, each gateway alone and as a fresh process, the order rotated; medians over the rounds."
    )


def pinned(results: Results) -> bool:
    return results.cores.gateway != results.cores.rest


def main_table(results: Results) -> str:
    streams = results.sizes.streams
    titles: dict[str, Cell] = {
        "CPU ms/request, 32 conn.": plain(results, "cpu_ms@32", digits=3),
        "x TensorZero": partial(ratio, results),
        "req/s, one core" if pinned(results) else "req/s": lambda key: number(results.best(key, "rps@"), 0),
        "added TTFB ms p50 / p99, 200/s": partial(pair, results, kind="ttfb", rate=200),
        "same, streamed": partial(pair, results, kind="stream", rate=200),
        "CPU us/SSE event": plain(results, "event_us", digits=1),
        "same, in bursts": plain(results, "burst_event_us", digits=1),
        "RSS idle MB": plain(results, "idle_mb", digits=0),
        f"RSS added by {streams:,} streams MB": partial(held, results),
        "cold start s": plain(results, "cold_s", digits=2),
    }
    return table(results, titles)


def connections_table(results: Results) -> str:
    titles: dict[str, Cell] = {}
    for count in sorted({32, *results.sizes.connections}):
        titles[f"CPU ms/request, {count} conn."] = plain(results, f"cpu_ms@{count}", digits=3)
        titles[f"req/s, {count} conn."] = plain(results, f"rps@{count}", digits=0)
    return table(results, titles)


def rates_table(results: Results) -> str:
    """Added milliseconds to the first byte, p50 / p99."""
    titles: dict[str, Cell] = {}
    for kind, label in (("ttfb", "plain"), ("stream", "streamed")):
        for rate in sorted({200, *results.sizes.rates}):
            titles[f"added TTFB ms, {label}, {rate}/s"] = partial(pair, results, kind=kind, rate=rate)
    return table(results, titles)


def plain(results: Results, name: str, digits: int) -> Cell:
    return lambda key: number(results.value(key, name), digits)


def table(results: Results, titles: dict[str, Cell]) -> str:
    lines = ["| gateway | " + " | ".join(titles) + " |", "|---" + "|---:" * len(titles) + "|"]
    present = [gateway for gateway in results.chosen if gateway.key in results.rounds]
    rows = [[gateway.name, *(cell(gateway.key) for cell in titles.values())] for gateway in present]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(results: Results, key: str) -> str:
    mine, yardstick = results.value(key, "cpu_ms@32"), results.value(YARDSTICK, "cpu_ms@32")
    return number(mine / yardstick, 2) if mine and yardstick else "-"


def pair(results: Results, key: str, kind: str, rate: int) -> str:
    p50, p99 = results.value(key, f"{kind}_p50@{rate}"), results.value(key, f"{kind}_p99@{rate}")
    return "-" if p50 is None else f"{number(p50, 2)} / {number(p99, 2)}"


def held(results: Results, key: str) -> str:
    opened = results.value(key, "streams_open")
    text = number(results.value(key, "streams_mb"), 0)
    return text if opened in (None, results.sizes.streams) else f"{text} (only {opened:.0f} open)"


METHOD = f"""
Load: 1 KB prompts, each different; a plain answer is one small message with usage. Closed loops for CPU and req/s, open loops with
random (Poisson) arrivals, the same ones for all, for latency. Added: the quantile through the gateway minus the same quantile straight
to the mock, both under load in the same seconds. Streams at a fixed rate carry 10 events, one every 10 ms, and are timed to their
first content. "-" at a rate: more than {SUSTAINED:.0%} of what the gateway reaches at 32 connections.

SSE events: streams of {EVENTS} events minus streams of one at the same load, {STREAMS_PER_S:.0f} streams/s (or a fifth of what the gateway
reaches), each event in a write of its own every {GAP_MS} ms, so that each costs its receiver a wake-up, a read and a write; nginx shows how
much of it is the machine's. In bursts: the whole stream in one write, 8 connections. Idle streams: one event every 3 s each. CPU and
memory are sums over all of a gateway's processes; a database beside it is counted apart.
""".strip()


def notes(results: Results) -> str:
    mock_us = median(figures["cpu_ms@32"] for figures in results.direct) * 1e3
    ceiling = median(figures["rps@32"] for figures in results.direct)
    p50, p99, late = (results.over_all(name) for name in ("direct_ttfb_p50@200", "direct_ttfb_p99@200", "late_ttfb@200"))
    return (
        f"{METHOD}\n\nThe mock takes {mock_us:.0f} us of CPU per request and answers {ceiling:,.0f} req/s on the core that it shares "
        f"with the generator; direct p50 / p99 at 200/s {p50:.2f} / {p99:.2f} ms; the generator sends {late:.1f} ms late at its p99."
    )


def what_was_on(results: Results) -> str:
    lines = [f"- **{gateway.name}**: {gateway.on}.{remarks(results, gateway.key)}" for gateway in results.chosen]
    return "\n".join(["What was on:", "", *lines])


def remarks(results: Results, key: str) -> str:
    """What a reader must know before believing a row."""
    said = []
    if key in results.missing:
        said.append(f" **{results.missing[key]}.**")
    if status := results.value(key, "stream_status"):
        said.append(f" **Streamed answers fail here with status {status:.0f}, so they have no figures.**")
    if failed := results.total(key, "failed"):
        said.append(f" {failed} requests failed.")
    if lost := results.total(key, "events_lost"):
        said.append(f" {lost} events never arrived.")
    if (beside := results.value(key, "beside_ms@32")) is not None:
        said.append(f" The database's own CPU: {beside:.3f} ms/request, not in the table.")
    return "".join(said)


if sys.platform != "linux":
    raise SystemExit("the benchmark reads CPU and memory from /proc: Linux only")
