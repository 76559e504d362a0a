"""`tollway catalog import`: what a published price list would change in the catalog, and the operator's file with it taken over."""

import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from gateway.commands.files import output
from gateway.deprecation import day
from gateway.settings import Settings
from metering.money import now_ms
from providers import catalog, price_lists
from providers.catalog_text import merged, toml
from providers.price_merge import RESELLERS, Change, Origin, compare
from providers.price_offer import Skipped

KINDS: Final = ("new", "changed", "gone")
LISTS: Final = {"litellm": "LiteLLM price list", "openrouter": "OpenRouter GET /models"}
HEAD: Final = (
    "# One more catalog file for TOLLWAY_CATALOG. Rows with a source were written by `tollway catalog import`, which keeps no comments."
)
EXAMPLES: Final = 3


@click.command("import")
@click.option("--from", "kind", type=click.Choice(tuple(LISTS)), required=True, help="Whose list the file is.")
@click.option("--out", help="Write the operator's rows with all changes to this file, for TOLLWAY_CATALOG; nothing is written without it.")
@click.option("--provider", "providers", multiple=True, help="Only the endpoints of this provider; may be repeated.")
@click.option("--known", is_flag=True, help="Only endpoints that the catalog has: no new ones.")
@click.argument("file", type=click.Path(path_type=Path))
def catalog_import(kind: str, file: Path, out: str | None, providers: tuple[str, ...], known: bool) -> None:
    """Show what a price list (JSON) would change: new and changed endpoints, those that it does not have, and rows that cannot be used."""
    settings = Settings.load()
    loaded = catalog.load(settings.catalog or None)
    _check_providers(providers, loaded)
    _check_out(out, settings)
    today = day(now_ms())
    offers, skipped = price_lists.read(file, kind, today)
    origin = Origin(f"{LISTS[kind]} ({file.name}), imported", today)
    changes, unusable = compare(loaded, offers, origin, only=frozenset(providers))
    if known:
        changes = [change for change in changes if change.kind != "new"]
    told = [each for each in (*skipped, *unusable) if not providers or each.provider in providers]
    for line in _lines(changes, told):
        click.echo(line)
    if out:
        _write(out, changes, settings)
        click.echo(f"wrote {out}; point TOLLWAY_CATALOG at it and run `tollway catalog check`")


def _check_providers(providers: tuple[str, ...], loaded: catalog.Catalog) -> None:
    for slug in providers:
        if slug not in loaded.providers and slug not in RESELLERS:
            raise ValueError(f"--provider: the catalog has no provider {slug[:100]!r}; `tollway catalog show` lists them")


def _check_out(out: str | None, settings: Settings) -> None:
    """Before anything is shown: nothing that is no catalog of the operator's is written over."""
    if not out:
        return
    path = Path(out)
    if not path.parent.is_dir():
        raise ValueError(f"--out: the folder of {out} does not exist; make it first")
    own = Path(settings.catalog) if settings.catalog else None
    if path.exists() and (own is None or not path.samefile(own)):
        raise ValueError(f"--out: {out} exists and is not the file that TOLLWAY_CATALOG names; name a new file, or that one")


def _lines(changes: list[Change], skipped: list[Skipped]) -> list[str]:
    """Changes by kind, then every impossible row with its reason, then how many rows are about something else."""
    lines = [
        "\t".join((kind, change.endpoint, ", ".join(change.words))).rstrip() for kind in KINDS for change in changes if change.kind == kind
    ]
    lines += [f"skipped\t{each.name}\t{each.reason}" for each in skipped if not each.elsewhere]
    elsewhere: dict[str, list[str]] = {}
    for each in skipped:
        if each.elsewhere:
            elsewhere.setdefault(each.reason, []).append(each.name)
    lines += [f"left out\t{len(names)} rows\t{reason} ({_examples(names)})" for reason, names in sorted(elsewhere.items())]
    counts = Counter(change.kind for change in changes)
    impossible = sum(not each.elsewhere for each in skipped)
    return [
        *lines,
        f"{counts['new']} new, {counts['changed']} changed, {counts['gone']} gone, {counts['same']} the same, {impossible} skipped",
    ]


def _examples(names: list[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")


def _write(out: str, changes: list[Change], settings: Settings) -> None:
    """The file appears only if it loads."""
    own: dict[str, list[dict[str, Any]]] = tomllib.loads(Path(settings.catalog).read_text("utf-8-sig")) if settings.catalog else {}
    text = "\n".join([HEAD, "", *toml(merged(own, (row for change in changes for row in change.rows)))])
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "catalog.toml"
        trial.write_text(text, "utf-8")
        catalog.load(str(trial))
    with output(out) as file:
        file.write(text.encode())
