"""A client without an SDK for any route: it posts one body and keeps every byte of the answer."""

import contextlib
import http.client
import json

from tests.fakes.faults import Json
from tests.path.client import Answer
from tests.path.place import Place
from tests.running import Account


def post(place: Place, account: Account, route: str, body: Json, headers: dict[str, str] | None = None) -> Answer:
    """`route` is what stands behind /v1/; bytes are sent as they are."""
    sent = {"Authorization": f"Bearer {account.key}", "Content-Type": "application/json", **(headers or {})}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", place.tollway.port, timeout=30)) as connection:
        connection.request("POST", f"/v1/{route}", raw, sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())
