"""Anthropic's SDK and a bare HTTP client, pointed at the Tollway of a `Place`."""

import contextlib
import http.client
import json
from typing import Any

import anthropic

from tests.fakes.faults import Json
from tests.path.place import Place
from tests.running import Account

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def _tool(name: str, field: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}
    return {"name": name, "description": f"Tells the {name}.", "input_schema": schema}


TOOLS: list[Any] = [_tool("weather", "city"), _tool("clock", "zone")]


def root(place: Place) -> str:
    """What Anthropic's clients are pointed at: without the /v1."""
    return place.tollway.base_url.removesuffix("/v1")


def client_of(place: Place, account: Account) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=root(place), api_key=account.key, max_retries=0)


def say(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def asking(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1000, "messages": say("Hello there, canary-7f3a."), **fields}


def raw_post(place: Place, path: str, headers: dict[str, str], body: object) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and every byte."""
    connection = http.client.HTTPConnection("127.0.0.1", place.tollway.port, timeout=30)
    with contextlib.closing(connection):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, raw, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def upstream_body(place: Place) -> Json:
    """What the provider was sent last."""
    return place.fake.settled()[-1]["request_body"]


def book(place: Place, account: Account) -> list[Json]:
    """The account's generations, as its activity counts them."""
    rows: list[Json] = place.get(account, "activity")
    return rows
