"""`tollway route replay`: recorded generations under other rules, and what cost, latency and provider shares would have been."""

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

import click
import msgspec

from gateway.commands.running import Json, migrated, run, show
from gateway.commands.spans import Span
from gateway.settings import Settings
from gateway.timespan import iso, span
from metering import recorded, statement
from metering.database import Database
from metering.money import format_usd
from policy import replay as replays
from policy import rules as account_rules
from policy.account_rules import BYTES_MAX
from policy.comparison import Comparison, Observed, Totals
from policy.errors import InvalidRules
from policy.rules import Rules
from policy.stats import DEFAULT, Stats
from providers import catalog
from providers.catalog import Catalog

_NONE: Final = Totals()


@click.command("replay")
@Span
@click.option("--rules", "file", required=True, help="A JSON file with rules as PUT /v1/account/routing takes them; {} = none.")
@click.option("--account", "account_id", help="The account whose generations are replayed; without it, those of all accounts.")
@Json
def route_replay(first: str, last: str, file: str, account_id: str | None, as_json: bool) -> None:
    """Run recorded generations through other rules: what they would have cost, where they would have gone. Nothing is sent or stored."""
    start, end = span(first, last, names=("--from", "--to"))
    found = run(replay, account_id=account_id, start=start, end=end, rules=_rules(file))
    if as_json:
        show(found, as_json)
    else:
        click.echo("\n".join(_lines(found)))


async def replay(settings: Settings, *, account_id: str | None, start: int, end: int, rules: Rules) -> dict[str, Any]:
    """The report. The generations are read twice, page by page: for the latencies of the endpoints, and to be replayed."""
    loaded = catalog.load(settings.catalog or None)
    keys = provider_keys(settings, loaded).keys()
    async with migrated(settings) as database:
        if account_id is not None:
            await database.read(statement.check_account, account_id)
        observed = await _observed(database, account_id, start, end)
        stats: Mapping[str, Stats] = observed.stats() if replays.looks_at_latency(rules) else {}
        comparison = Comparison(observed.medians())
        async with aclosing(recorded.pages(database, account_id, start=start, end=end)) as pages:
            async for page in pages:
                for each in page:
                    if each.answered:
                        outcome = replays.replay(each, loaded, keys=keys, rules=rules, stats=lambda id: stats.get(id, DEFAULT))
                        comparison.add(each, outcome)
                    else:
                        comparison.unanswered += 1
    return {"from": iso(start), "to": iso(end), "account": account_id, **report(comparison), "caveats": replays.CAVEATS}


def report(comparison: Comparison) -> dict[str, Any]:
    """Numbers of generations, decimal USD, milliseconds (None = not known)."""
    before, after, refused = comparison.before, comparison.after, comparison.refused
    return {
        "generations": {
            "recorded": _generations(before),
            "replayed": _generations(after),
            "refused": _generations(refused),
            "same_endpoint": _generations(after) - comparison.moved,
            "other_endpoint": comparison.moved,
            "left_out_unanswered": comparison.unanswered,
        },
        "refused_by": {step: totals.generations for step, totals in sorted(refused.items())},
        "cost_usd": {
            "recorded": _usd(before),
            "recorded_of_refused": _usd(refused),
            "recorded_of_replayed": format_usd(_charge(before) - _charge(refused)),
            "replayed": _usd(after),
            "recorded_shortfall": format_usd(comparison.shortfall),
        },
        "providers": {
            provider: {
                "recorded": before.get(provider, _NONE).generations,
                "recorded_usd": format_usd(before.get(provider, _NONE).charge),
                "replayed": after.get(provider, _NONE).generations,
                "replayed_usd": format_usd(after.get(provider, _NONE).charge),
            }
            for provider in sorted(before.keys() | after.keys())
        },
        "first_byte_ms_median": {
            "recorded": comparison.recorded_ms.percentile(50),
            "estimated": comparison.estimated_ms.percentile(50),
            "estimated_of": comparison.estimated_ms.count,
        },
    }


def provider_keys(settings: Settings, loaded: Catalog) -> dict[str, str]:
    """The providers' keys that are set in this environment, by variable."""
    return settings.provider_keys({each.provider.api_key_env for each in loaded.every_endpoint() if each.provider.api_key_env})


async def _observed(database: Database, account_id: str | None, start: int, end: int) -> Observed:
    observed = Observed()
    async with aclosing(recorded.pages(database, account_id, start=start, end=end)) as pages:
        async for page in pages:
            for each in page:
                observed.add(each)
    return observed


def _rules(file: str) -> Rules:
    with open(file, "rb") as opened:
        raw = opened.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        raise ValueError(f"--rules: {file} is larger than {BYTES_MAX} bytes")
    try:
        return account_rules.parse(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"--rules: {file} is not valid JSON: {error}") from None
    except InvalidRules as error:
        raise ValueError(f"--rules: {file}: {error.message}") from None


def _lines(found: dict[str, Any]) -> Iterator[str]:
    generations, cost, latency = found["generations"], found["cost_usd"], found["first_byte_ms_median"]
    yield f"{found['from']} to {found['to']}, {found['account'] or 'all accounts'}: {generations['recorded']} answered generations"
    if generations["left_out_unanswered"]:
        yield f"{generations['left_out_unanswered']} more had no answer to charge for and are left out"
    yield ""
    yield f"would be served      {generations['replayed']}, of which {generations['other_endpoint']} by another endpoint than then"
    yield f"would be refused     {generations['refused']}"
    yield from (f"                     {count} by {step}" for step, count in found["refused_by"].items())
    yield f"cost then            {cost['recorded_of_replayed']} USD, and {cost['recorded_of_refused']} USD for what would be refused"
    yield f"cost replayed        {cost['replayed']} USD"
    yield f"first byte then      {_ms(latency['recorded'])} (median)"
    yield f"first byte replayed  {_ms(latency['estimated'])} (median, known for {latency['estimated_of']})"
    yield ""
    yield "provider\tthen\tthen_usd\treplayed\treplayed_usd"
    for provider, each in found["providers"].items():
        yield f"{provider}\t{each['recorded']}\t{each['recorded_usd']}\t{each['replayed']}\t{each['replayed_usd']}"
    yield ""
    yield from found["caveats"]


def _ms(ms: int | None) -> str:
    return "not known" if ms is None else f"{ms} ms"


def _generations(totals: Mapping[str, Totals]) -> int:
    return sum(each.generations for each in totals.values())


def _charge(totals: Mapping[str, Totals]) -> int:
    return sum(each.charge for each in totals.values())


def _usd(totals: Mapping[str, Totals]) -> str:
    return format_usd(_charge(totals))
