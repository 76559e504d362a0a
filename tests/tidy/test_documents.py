"""What exists is documented: settings and commands in the README, routes in the OpenAPI document, columns with how long they are kept."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import click
import httpx
import pytest
from sqlmodel import SQLModel

from tests.tidy.tree import PACKAGES, ROOT, listed

# Pages and their files are not an API; these are.
API = re.compile(r"^/(v1|api/v1|health|metrics|openapi\.json)(/|$)")


def test_every_setting_explains_itself() -> None:
    silent = [name for name, _default, text in _settings() if not text.strip()]
    assert not listed(silent)


def test_every_setting_is_in_the_readme() -> None:
    readme = _readme()
    assert not listed(name for name, _default, _text in _settings() if not re.search(rf"\b{name}\b", readme))


def test_every_setting_in_the_readme_exists() -> None:
    known = {name for name, _default, _text in _settings()}
    assert not listed(sorted(set(re.findall(r"\bTOLLWAY_(?!TEST_)[A-Z_]*[A-Z]\b", _readme())) - known))


def test_every_command_is_in_the_readme() -> None:
    readme = _readme()
    assert not listed(path for path, _ in _commands() if not re.search(rf"\b{path}\b", readme))


def test_every_command_and_option_has_help() -> None:
    silent = [path for path, command in _commands() if not (command.help or command.short_help)]
    silent += [
        f"{path} {option.opts[0]}"
        for path, command in _commands()
        for option in command.params
        if isinstance(option, click.Option) and not option.help and not option.hidden
    ]
    assert not listed(silent)


async def test_every_api_route_is_in_the_openapi_document() -> None:
    from gateway.app import HOT, create_app

    app = create_app()
    documented = await _documented_paths(app)
    routes = {_as_documented(path) for path in (*HOT, *(route.path for route in app.litestar.routes))} - {"/openapi.json"}
    assert not listed(sorted(path for path in routes if API.match(path) and path not in documented))


def test_every_column_says_how_long_it_is_kept() -> None:
    """`info={"retention": "..."}` of the column, or of its table for all of them."""
    for package in PACKAGES:
        if (ROOT / package / "tables.py").exists():
            importlib.import_module(f"{package}.tables")
    columns = [column for table in SQLModel.metadata.tables.values() for column in table.columns]
    assert columns
    assert not listed(str(column) for column in columns if not (column.info.get("retention") or column.table.info.get("retention")))


async def _documented_paths(app: Any) -> set[str]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/openapi.json")
    if response.status_code != 200:
        pytest.fail(f"/openapi.json answers {response.status_code}: {response.text[:500]}")
    return {_as_documented(path) for path in response.json()["paths"]}


def _as_documented(path: str) -> str:
    """`/v1/models/{model:path}` is written `/v1/models/{}` on both sides: the parameter's name is not the point."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/") or "/"


def _settings() -> list[tuple[str, Any, str]]:
    from gateway.settings import describe

    settings: list[tuple[str, Any, str]] = describe()
    assert settings
    return settings


def _commands() -> list[tuple[str, click.Command]]:
    from gateway.cli import main

    return list(_below(main, path=()))


def _below(group: click.Group, *, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, each with what one types after `tollway`."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _below(command, path=(*path, name))
        elif not command.hidden:
            yield " ".join((*path, name)), command


def _readme() -> str:
    return (ROOT / "README.md").read_text()
