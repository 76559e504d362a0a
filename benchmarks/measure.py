"""One round of one gateway: what is asked of it and which figures come out.

A figure's name says its load: `cpu_ms@32` at 32 connections, `ttfb_p99@200` at 200 requests/s. Times to first byte are those
added by the gateway: while it is under load the same rate goes straight to the mock, so that both see the same noise.
"""

import asyncio
import itertools
import json
from dataclasses import dataclass

from benchmarks.load import Run, Sample, Target, closed_loop, held_streams, open_loop
from benchmarks.running import Running

Figures = dict[str, float]

PROMPT = (
    "Summarise the following report for a colleague who has five minutes before a meeting and needs the three points that matter. "
    "The harbour authority reviewed its winter timetable after two storms closed the northern quay for eleven days in January. "
    "Ferries were moved to the smaller southern berth, which takes one vessel at a time, so that departures slipped by forty minutes "
    "on average and freight waited overnight. A survey of 412 passengers found that most would accept fewer sailings if those that "
    "remained were punctual, while hauliers asked for a guaranteed slot before noon. The engineers estimate that raising the quay by "
    "sixty centimetres would cost 2.4 million and take nine months; a floating pontoon would cost a third of that and could be in "
    "place before the next season, but must be towed away whenever the wind exceeds force nine. The finance committee meets on the "
    "fourteenth and wants one recommendation, with its risks stated plainly, and a fallback should the first choice be refused."
)
TTFB_STREAM = "bench:10:10;"  # ten events, one every 10 ms: streams overlap as they do in life
IDLE_STREAM = "bench:1000:3000;"
EVENTS, GAP_MS, STREAMS_PER_S = 200, 10, 16.0
SUSTAINED = 0.8  # of the saturated rate: above it an open loop measures its own queue


@dataclass(frozen=True)
class Sizes:
    rounds: int
    warm_s: float
    closed_s: float
    open_s: float
    sse_s: float
    burst_s: float
    connections: tuple[int, ...]  # beside 32; first round only, like the other rates
    rates: tuple[int, ...]  # beside 200
    streams: int
    hold_s: float


FULL = Sizes(
    rounds=3, warm_s=1, closed_s=3, open_s=4, sse_s=3, burst_s=1.5, connections=(1, 8, 128), rates=(50, 100, 400), streams=1000, hold_s=7
)
QUICK = Sizes(rounds=1, warm_s=0.5, closed_s=2, open_s=3, sse_s=2, burst_s=1, connections=(), rates=(), streams=200, hold_s=4)


def target(running: Running, plan: str = TTFB_STREAM, stream: bool = False) -> Target:
    """1 KB prompts, each different in its first bytes and all of one length."""
    content = f"{plan} No. 00000000. {PROMPT}"
    body = {"model": running.model, "messages": [{"role": "user", "content": content}], "max_tokens": 1024, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    before, after = json.dumps(body).encode().split(b"00000000")
    headers = {"Host": f"127.0.0.1:{running.port}", "Content-Type": "application/json", **running.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    length = len(before) + 8 + len(after)
    start = f"POST {running.path} HTTP/1.1\r\n{lines}Content-Length: {length}\r\n\r\n".encode() + before
    serial = itertools.count(1)
    return Target(port=running.port, payload=lambda: b"%b%08d%b" % (start, next(serial), after), stream=stream)


async def one_round(running: Running, upstream: Running, sizes: Sizes, first: bool) -> Figures:
    """Raises RuntimeError if plain answers are wrong; wrong streams are only noted, with everything plain still measured."""
    figures: Figures = {"cold_s": running.cold_start_s}
    if wrong := await wrong_answer(running, stream=False):
        raise RuntimeError(f"a plain answer had status {wrong.status}")
    if wrong := await wrong_answer(running, stream=True):
        figures["stream_status"] = wrong.status
    streams = wrong is None
    await asyncio.sleep(1)
    figures["idle_mb"] = running.resident_mb()
    if first and streams:
        figures |= await idle_streams(running, sizes)
    await closed_loop(target(running), connections=32, seconds=sizes.warm_s)
    ceiling = (await saturated(running, connections=32, seconds=1))["rps@32"]
    for rate in (200, *(sizes.rates if first else ())):
        if rate <= ceiling * SUSTAINED:
            figures |= await added(running, upstream, stream=False, rate=rate, seconds=sizes.open_s)
            figures |= await added(running, upstream, stream=True, rate=rate, seconds=sizes.open_s) if streams else {}
    if streams:
        figures |= await per_event(running, sizes, ceiling=ceiling)
    for connections in sizes.connections if first else ():
        figures |= await saturated(running, connections=connections, seconds=sizes.closed_s * 2 / 3)
    # Last, because a just-in-time compiler (Portkey's) needs thousands of requests before it costs what it will cost all day.
    return figures | await saturated(running, connections=32, seconds=sizes.closed_s)


async def direct_round(upstream: Running) -> Figures:
    """What the mock itself costs."""
    await closed_loop(target(upstream), connections=32, seconds=0.3)
    return await saturated(upstream, connections=32, seconds=0.7)


async def wrong_answer(running: Running, stream: bool) -> Sample | None:
    """The first answer that is not right, if any: looked for before anything is timed, and it warms the process up."""
    run = await closed_loop(target(running, stream=stream), connections=1, seconds=0.3)
    expected = 10 if stream else 1
    return next((sample for sample in run.samples if sample.status != 200 or sample.events != expected), None)


async def saturated(running: Running, connections: int, seconds: float) -> Figures:
    cpu, beside = running.cpu_seconds(), running.beside_cpu_seconds()
    run = await closed_loop(target(running), connections=connections, seconds=seconds)
    done = max(1, len(run.good))
    figures = {
        f"cpu_ms@{connections}": (running.cpu_seconds() - cpu) / done * 1e3,
        f"rps@{connections}": len(run.good) / run.seconds,
        f"failed@{connections}": run.failed,
    }
    if running.beside:
        figures[f"beside_ms@{connections}"] = (running.beside_cpu_seconds() - beside) / done * 1e3
    return figures


async def added(running: Running, upstream: Running, stream: bool, rate: int, seconds: float) -> Figures:
    """Milliseconds to the first byte through the gateway minus those straight to the mock, p50 and p99."""
    kind = "stream" if stream else "ttfb"
    run, direct = await asyncio.gather(
        open_loop(target(running, stream=stream), rate=rate, seconds=seconds, seed=rate),
        open_loop(target(upstream, stream=stream), rate=rate, seconds=seconds, seed=rate + 1),
    )
    figures: Figures = {f"failed_{kind}@{rate}": run.failed}
    if run.overloaded or not run.good:
        return figures
    for name, q in (("p50", 0.50), ("p99", 0.99)):
        straight = quantile(direct, q)
        figures |= {f"{kind}_{name}@{rate}": quantile(run, q) - straight, f"direct_{kind}_{name}@{rate}": straight}
    return figures | {f"late_{kind}@{rate}": sorted(run.late_s)[int(len(run.late_s) * 0.99)] * 1e3}


def quantile(run: Run, q: float) -> float:
    """Milliseconds to the first byte."""
    ordered = sorted(sample.ttfb_s for sample in run.good)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1e3


async def per_event(running: Running, sizes: Sizes, ceiling: float) -> Figures:
    """CPU microseconds per relayed event: long streams minus one-event streams of the same load, so that a request's own cost falls out."""
    rate = min(STREAMS_PER_S, ceiling * 0.2)
    costs: Figures = {}
    for events, gap in itertools.product((1, EVENTS), (GAP_MS, 0)):
        load = target(running, plan=f"bench:{events}:{gap};", stream=True)
        cpu = running.cpu_seconds()
        if gap:
            run = await open_loop(load, rate=rate, seconds=sizes.sse_s)
        else:
            run = await closed_loop(load, connections=8, seconds=sizes.burst_s)
        costs[f"{gap}:{events}"] = (running.cpu_seconds() - cpu) / max(1, len(run.good)) * 1e6
        costs["lost"] = costs.get("lost", 0) + events * len(run.samples) - run.events
    spread = EVENTS - 1
    return {
        "event_us": (costs[f"{GAP_MS}:{EVENTS}"] - costs[f"{GAP_MS}:1"]) / spread,
        "burst_event_us": (costs[f"0:{EVENTS}"] - costs["0:1"]) / spread,
        "events_lost": costs["lost"],
    }


async def idle_streams(running: Running, sizes: Sizes) -> Figures:
    before = running.resident_mb()
    peak, opened = before, 0
    async with held_streams(target(running, plan=IDLE_STREAM, stream=True), count=sizes.streams, limit_s=60) as streams:
        for _ in range(int(sizes.hold_s * 4)):
            await asyncio.sleep(0.25)
            peak = max(peak, running.resident_mb())
        opened = sum(not stream.closed for stream in streams)
    await asyncio.sleep(1)
    return {"streams_mb": peak - before, "streams_open": opened}
