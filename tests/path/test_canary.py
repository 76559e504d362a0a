"""No word of a client comes to rest anywhere while logging is off: the short form of `make prove-canary`, on SQLite with Redis."""

import base64
import hashlib

import pytest

from tests import servers
from tests.prove import canary
from tests.prove.canary_sinks import Needles, marker
from tests.prove.canary_slots import slots

SLOT = "user text"
WORD = marker(1, SLOT).encode()
FORMS = {
    "as it is": WORD,
    "its first half": WORD[:32],
    "a piece of it": WORD[20:52],
    "in JSON": b'{"a":"' + WORD + b'"}',
    "hexadecimal": WORD.hex().encode(),
    "base64": base64.b64encode(WORD),
    "base64 of a text around it": base64.b64encode(b"a " + WORD + b" b"),
    "base64 one byte further": base64.b64encode(b"a" + WORD),
    "UTF-16": WORD.decode().encode("utf-16"),
    "capitals": WORD.upper(),
    "reversed": WORD[::-1],
    "md5": hashlib.md5(WORD, usedforsecurity=False).hexdigest().encode(),
    "sha1": hashlib.sha1(WORD, usedforsecurity=False).hexdigest().encode(),
    "sha256": hashlib.sha256(WORD).hexdigest().encode(),
    "sha256 inside other digits": b"00ff" + hashlib.sha256(WORD).hexdigest().encode() + b"ab",
    "sha256 in capitals": hashlib.sha256(WORD).hexdigest().upper().encode(),
    "sha256 in base64 for addresses": base64.urlsafe_b64encode(hashlib.sha256(WORD).digest()),
    "md5 in base64 for addresses": base64.urlsafe_b64encode(hashlib.md5(WORD, usedforsecurity=False).digest()),
    "sha256 in bytes": hashlib.sha256(WORD).digest(),
    "sha256 in base64": base64.b64encode(hashlib.sha256(WORD).digest()),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_knows_a_marker_in_every_form(form: str) -> None:
    needles = Needles({SLOT: WORD.decode(), "other": marker(1, "other")})
    assert needles.found(b"\0" * 100 + FORMS[form] + b"\0" * 100)
    assert needles.found(marker(2, SLOT).encode()[6:16] + b" and nothing of ours") == set()


def test_every_slot_has_a_marker_of_its_own() -> None:
    names = [slot.name for slot in slots()]
    assert len({marker(1, name) for name in names}) == len(names) >= 60
    assert all(len(marker(1, name)) == 64 for name in names)


def test_nothing_that_a_client_or_a_provider_said_is_found_anywhere() -> None:
    try:
        found = canary.prove("sqlite", short=True)
    except servers.MissingServerError as missing:
        pytest.skip(str(missing))
    assert found.wrong == []
    assert (found.slots, found.plants) == (len(slots()) + 3, 7)
    assert min(found.sizes[sink] for sink in ("SQLite's files", "log of the gateway", "traces and events", "dump of Redis")) > 1000
