"""`python -m benchmarks.relay`: Tollway beside its peers, in rounds, and one table at the end."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import uvloop

from benchmarks.gateways import GATEWAYS, ROOT, Gateway
from benchmarks.measure import FULL, QUICK, Figures, direct_round, one_round
from benchmarks.report import Results, render
from benchmarks.running import Cores, Running, mock, running


def main() -> None:
    options = read_options()
    sizes = QUICK if options.quick else FULL
    chosen = [gateway for gateway in GATEWAYS if not options.only or gateway.key in options.only.split(",")]
    cores = Cores.split(pin=not options.no_pin)
    os.sched_setaffinity(0, cores.rest)
    results = Results(chosen=chosen, sizes=sizes, cores=cores, command=command(options))
    results.missing = {gateway.key: f"not installed: {reason}" for gateway in chosen if (reason := gateway.missing())}
    with mock(cores) as upstream:
        for number in range(sizes.rounds):
            play_round(number, upstream=upstream, results=results, cores=cores)
    table = render(results)
    options.out.write_text(table)
    print(table)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a result")
    parser.add_argument("--only", default="", help="comma-separated: " + ",".join(gateway.key for gateway in GATEWAYS))
    parser.add_argument("--no-pin", action="store_true", help="do not give the gateway a core of its own")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.md")
    return parser.parse_args()


def command(options: argparse.Namespace) -> str:
    """How to get this table again, without this machine's paths."""
    said = ["--quick" if options.quick else "", f"--only {options.only}" if options.only else "", "--no-pin" if options.no_pin else ""]
    return " ".join(["python -m benchmarks.relay", *filter(None, said)])


def play_round(number: int, upstream: Running, results: Results, cores: Cores) -> None:
    """Every gateway once, each round in another order, each as a fresh process and alone on the machine."""
    say(f"round {number + 1}: direct")
    results.direct.append(uvloop.run(direct_round(upstream)))
    present = [gateway for gateway in results.chosen if gateway.key not in results.missing]
    turn = number % max(1, len(present))
    for gateway in present[turn:] + present[:turn]:
        say(f"round {number + 1}: {gateway.name}")
        figures = play(gateway, first=number == 0, upstream=upstream, results=results, cores=cores)
        if figures:
            results.rounds.setdefault(gateway.key, []).append(figures)


def play(gateway: Gateway, first: bool, upstream: Running, results: Results, cores: Cores) -> Figures | None:
    try:
        with running(gateway, upstream=upstream.port, cores=cores) as started:
            return uvloop.run(one_round(started, upstream, results.sizes, first=first))
    except (RuntimeError, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:  # a failing peer must not end the run
        results.missing[gateway.key] = f"failed: {error}".replace(str(ROOT), "<checkout>")
        say(f"  {results.missing[gateway.key]}")
        return None


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
