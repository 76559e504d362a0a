"""Clients that leave, stop reading or read slowly: the provider is cancelled at once, what was delivered is paid, nothing stays held."""

import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from tests.fakes.faults import Json
from tests.path.claims import PROMPT_COUNTED
from tests.path.client import Line, calling
from tests.path.models import SECOND, model_id, upstream
from tests.path.place import Place, charge_for
from tests.running import Account

PLANNED = model_id("planned")
WORDS = " ".join(["word"] * 400)
CONTENT = b'"content":"'
CANCEL_SECONDS_MAX = 1.0


@pytest.fixture
def owner(quiet: Place) -> Account:
    return quiet.account()


@pytest.mark.parametrize("abruptly", [False, True], ids=["fin", "rst"])
def test_a_client_leaving_midstream_cancels_the_provider_and_pays_for_what_was_delivered(
    quiet: Place, owner: Account, abruptly: bool
) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=WORDS)
    with calling(quiet.tollway.port, owner.key, PLANNED, stream=True) as line:
        line.read_until(CONTENT, times=5)
        if abruptly:
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = line.leave()
    row = assert_cancelled(quiet, "planned", left)
    delivered = assert_delivered_part_is_paid(quiet, owner, line, row)
    assert delivered < 100


def test_a_client_leaving_before_the_first_byte_cancels_the_provider_and_pays_nothing(quiet: Place, owner: Account) -> None:
    with calling(quiet.tollway.port, owner.key, model_id("stall-before-headers", "two"), stream=True) as line:
        time.sleep(0.15)
        left = line.leave()
    row = assert_cancelled(quiet, upstream("stall-before-headers"), left)
    assert row["completion_tokens"] == 0
    assert_nothing_is_paid(quiet, owner)
    assert not quiet.fake.ledger(SECOND), "a client that has gone needs no other provider"


def test_a_client_leaving_while_a_provider_is_being_connected_needs_no_other_provider(quiet: Place, owner: Account) -> None:
    with calling(quiet.tollway.port, owner.key, model_id("silent", "two")) as line:
        time.sleep(0.15)
        line.leave()
    assert_nothing_is_paid(quiet, owner)
    assert not quiet.fake.ledger()


def test_a_client_leaving_a_request_that_is_not_streamed_cancels_the_provider_and_pays_nothing(quiet: Place, owner: Account) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=WORDS)
    with calling(quiet.tollway.port, owner.key, PLANNED) as line:
        time.sleep(0.3)
        left = line.leave()
    row = assert_cancelled(quiet, "planned", left)
    assert row["completion_tokens"] > 0
    assert_nothing_is_paid(quiet, owner)


def test_a_client_that_closes_only_its_sending_side_counts_as_gone(quiet: Place, owner: Account) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=WORDS)
    with calling(quiet.tollway.port, owner.key, PLANNED, stream=True) as line:
        line.read_until(CONTENT, times=5)
        line.socket.shutdown(socket.SHUT_WR)
        left = time.time()
        row = assert_cancelled(quiet, "planned", left)
        with pytest.raises((EOFError, ConnectionError)):
            line.read_all()
    assert b"[DONE]" not in line.received
    assert_delivered_part_is_paid(quiet, owner, line, row)


def test_a_client_that_stops_reading_is_cut_and_pays_for_what_was_delivered(quiet: Place, owner: Account) -> None:
    quiet.fake.fault("planned", fault="endless", ms=0)
    with calling(quiet.tollway.port, owner.key, PLANNED, stream=True, receive_bytes=4096) as line:
        line.read_until(CONTENT)
        quiet.wait_until_idle(within_s=10)
        [row] = quiet.fake.settled("planned")
        assert row["outcome"] == "cancelled"
        with pytest.raises((EOFError, ConnectionError)):
            line.read_all()
    assert b"[DONE]" not in line.received, "a cut stream must not look like an end"
    assert_delivered_part_is_paid(quiet, owner, line, row)


def test_a_slow_client_gets_every_byte(quiet: Place, owner: Account) -> None:
    quiet.fake.fault("planned", fault="endless", tokens=2500)
    began = time.monotonic()
    with calling(quiet.tollway.port, owner.key, PLANNED, stream=True, receive_bytes=8192) as line:
        line.read_all(size=16384, pause=0.02)
    assert time.monotonic() - began > 1, "slower than the longest time that a client may take nothing"
    assert line.words == 2500
    assert line.received.count(b"data: [DONE]") == 1
    [row] = quiet.fake.settled("planned")
    assert quiet.used(owner) == charge_for(prompt=row["prompt_tokens"], completion=2500)


def test_fifty_clients_leaving_at_any_moment_leave_nothing_held(quiet: Place, owner: Account) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=10, text=" ".join(["word"] * 30))
    chance = random.Random(7)
    moments = [(chance.random() * 0.5, chance.random() < 0.7) for _ in range(50)]

    def leave_after(moment: tuple[float, bool]) -> None:
        with calling(quiet.tollway.port, owner.key, PLANNED, stream=moment[1]):
            time.sleep(moment[0])

    with ThreadPoolExecutor(50) as clients:
        list(clients.map(leave_after, moments))
    quiet.wait_until_idle()
    assert quiet.books(owner).held == 0
    rows = quiet.fake.settled("planned")
    assert {row["outcome"] for row in rows} <= {"cancelled", "served"}
    most = sum((charge_for(prompt=PROMPT_COUNTED, completion=row["completion_tokens"]) for row in rows), Decimal())
    assert 0 < quiet.used(owner) <= most
    quiet.verify()


def assert_cancelled(place: Place, model: str, left: float) -> dict[str, Json]:
    """The provider saw its request cancelled within a second of `left`. Gives its record."""
    [row] = place.fake.settled(model)
    assert row["outcome"] == "cancelled"
    assert row["ended_at"] - left <= CANCEL_SECONDS_MAX
    return row


def assert_delivered_part_is_paid(place: Place, account: Account, line: Line, row: dict[str, Json]) -> int:
    """Tokens charged: at least what the client has read, at most what the provider emitted; the prompt beside them."""
    place.wait_until_idle()
    generation = place.get(account, f"generation?id={line.generation_id}")
    delivered = int(generation["tokens_completion"])
    assert line.words <= delivered <= row["completion_tokens"]
    assert (generation["cancelled"], generation["tokens_prompt"]) == (True, PROMPT_COUNTED)
    assert place.used(account) == generation["total_cost"] == charge_for(prompt=PROMPT_COUNTED, completion=delivered)
    assert place.books(account).held == 0
    return delivered


def assert_nothing_is_paid(place: Place, account: Account) -> None:
    place.wait_until_idle()
    books = place.books(account)
    assert (books.usage, books.held) == (0, 0)
