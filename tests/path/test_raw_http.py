"""Bytes that no HTTP client sends: smuggled, cut, slow, pipelined, oversized; the server answers once, bounded, and stays well."""

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import MODEL, Place, ask, place

MIB = 2**20
BODY = json.dumps(ask()).encode()
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = b"GET /v1/credits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("raw-http"), TOLLWAY_BODY_SECONDS="1") as running:
        yield running


@pytest.fixture(autouse=True)
def well(here: Place) -> Iterator[None]:
    """Afterwards the same process runs, and nothing is held."""
    pid = here.tollway.pid
    yield
    here.fake.reset()
    _soon(lambda: (here.books().open_holds, here.books().held) == (0, 0))
    assert here.tollway.pid == pid
    assert talk(here, LIVE, until=b"live").startswith(b"HTTP/1.1 200 OK\r\n")


def chat(here: Place, body: bytes = BODY, *, version: bytes = b"1.1", more: bytes = b"") -> bytes:
    """A valid request, byte by byte."""
    head = b"POST /v1/chat/completions HTTP/%b\r\nHost: x\r\nAuthorization: Bearer %b\r\n%bContent-Length: %d\r\n\r\n"
    return head % (version, here.account.key.encode(), more, len(body)) + body


def talk(here: Place, data: bytes, *, until: bytes | None = None, seconds: float = 5, half_close: bool = False) -> bytes:
    """Sends, and returns what comes until the server closes, `until` has come, or `seconds` of silence (which fails)."""
    with socket.create_connection(("127.0.0.1", here.tollway.port), timeout=seconds) as connection:
        came = b""
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while until is None or until not in came:
                received = connection.recv(65536)
                if not received:
                    break
                came += received
        except (ConnectionResetError, BrokenPipeError):
            pass
    return came


def _soon(condition: object, seconds: float = 3) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# Where a request ends

TWO_MEANINGS = {
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two equal lengths": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 5\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "a length beyond 64 bit": b"Content-Length: 18446744073709551617\r\n\r\n",
    "no length": b"Content-Length: \r\n\r\n",
    "a blank before the colon": b"Content-Length : 0\r\n\r\n",
    "a folded header": b"X-A: b\r\n Content-Length: 0\r\n\r\n",
    "a bare line feed": b"X-A: b\nContent-Length: 0\r\n\r\n",
    "a bare carriage return": b"X-A: b\rContent-Length: 0\r\n\r\n",
    "NUL in a header": b"X-A: \x00\r\n\r\n",
    "NUL in a header's name": b"X\x00A: b\r\n\r\n",
    "a header without a colon": b"X-A\r\n\r\n",
    "a header without a name": b": x\r\n\r\n",
    "a coding behind chunks": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a misspelt coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk beyond 64 bit": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
    "a chunk longer than it says": b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", TWO_MEANINGS)
def test_a_request_that_two_servers_could_read_differently_is_answered_once_and_closed(here: Place, name: str) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    raw = (head + TWO_MEANINGS[name] + SMUGGLED).replace(b"{key}", here.account.key.encode())
    answer = talk(here, raw)
    assert len(re.findall(rb"HTTP/1.1 \d\d\d ", answer)) == 1, answer
    assert _status(answer) == 400
    assert b"total_credits" not in answer
    assert not here.fake.ledger()


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"hello\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_1_is_refused_as_json_and_closed(here: Place, raw: bytes) -> None:
    head, _, body = talk(here, raw).partition(b"\r\n\r\n")
    assert _status(head) == 400
    assert json.loads(body)["error"]["code"] == 400


# Hosts and paths


@pytest.mark.parametrize(
    "host", [None, b"", b"evil.example", b"127.0.0.1@evil", b"[::1", b"x" * 5000, b"a b", b"x/../y", b"\xff", b"x:99999"]
)
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/credits", b"/api/v1/key"])
def test_no_host_lets_anybody_in(here: Place, host: bytes | None, path: bytes) -> None:
    lines = [
        b"GET " + path + b" HTTP/1.1",
        *([b"Host: " + host] if host is not None else []),
        b"X-Forwarded-For: 127.0.0.1",
        b"Connection: close",
    ]
    assert _status(talk(here, b"\r\n".join([*lines, b"", b""]))) in (400, 401, 405)


PATHS = [
    *(
        b"//v1/chat/completions",
        b"/v1/chat/completions/",
        b"/v1//chat/completions",
        b"/v1/./chat/completions",
        b"/v1/x/../chat/completions",
    ),
    *(b"/v1/%2e%2e/v1/chat/completions", b"/v1/chat/completions%00", b"/v1/chat/completions%0d%0a", b"/v1/chat/completions%2f"),
    *(b"/V1/CHAT/COMPLETIONS", b"/v2/chat/completions", b"/v1/chat/completions;x=1", b"/%ff%fe", b"*"),
    *(b"/v1/models/%00", b"/v1/models/%ff", b"/v1/models/../key"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_only_resembles_a_route_is_404_as_json(here: Place, path: bytes) -> None:
    for method in (b"POST", b"GET"):
        raw = chat(here, more=b"Connection: close\r\n").replace(b"POST /v1/chat/completions ", method + b" " + path + b" ", 1)
        head, _, body = talk(here, raw).partition(b"\r\n\r\n")
        assert _status(head) in (404, 405), head
        assert json.loads(body)["error"]["code"] == _status(head)
    assert not here.fake.ledger()


@pytest.mark.parametrize("path", [b"/v1/chat%2fcompletions", b"/v1/chat/completions?x=1", b"http://evil.example/v1/chat/completions"])
def test_another_spelling_of_the_same_path_is_the_same_route(here: Place, path: bytes) -> None:
    raw = chat(here, more=b"Connection: close\r\n").replace(b"/v1/chat/completions", path, 1)
    assert _status(talk(here, raw)) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH", "TRACE"])
@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_another_method_is_405_as_json(here: Place, method: str, prefix: str) -> None:
    answer = here.client().send(method, f"{prefix}/chat/completions")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["x-request-id"]
    if method != "HEAD":
        assert answer.error["type"] == "invalid_request_error"


# Sizes


def _memory_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))


ENDLESS = {
    "one header": b"GET /health/live HTTP/1.1\r\nX-A: " + b"a" * (50 * MIB),
    "a header's name": b"GET /health/live HTTP/1.1\r\n" + b"a" * (50 * MIB),
    "many headers": b"GET /health/live HTTP/1.1\r\n" + b"X-A: b\r\n" * (5 * MIB),
    "the path": b"GET /" + b"a" * (50 * MIB),
    "trailers": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: " + b"a" * (50 * MIB),
    "a chunk's extension": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=" + b"a" * (50 * MIB),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_head_is_431_and_takes_no_memory(here: Place, name: str) -> None:
    before = _memory_mib(here.tollway.pid)
    answer = talk(here, ENDLESS[name])
    assert _memory_mib(here.tollway.pid) - before < 20
    assert not answer or _status(answer) in (400, 404, 405, 431)


def test_a_head_of_a_few_kilobytes_is_welcome(here: Place) -> None:
    assert _status(talk(here, chat(here, more=b"X-A: " + b"a" * 16_000 + b"\r\nConnection: close\r\n"))) == 200


# Time


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_never_comes_is_408(here: Place, chunked: bool) -> None:
    raw = chat(here)[:-5]
    if chunked:
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        raw = chat(here).partition(length)[0] + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n"
    began = time.monotonic()
    answer = talk(here, raw, until=b"in time")
    assert _status(answer) == 408
    assert 0.9 < time.monotonic() - began < 3


def test_a_body_that_trickles_is_408(here: Place) -> None:
    with socket.create_connection(("127.0.0.1", here.tollway.port), timeout=5) as connection:
        connection.sendall(chat(here)[: -len(BODY)])
        for byte in BODY[:15]:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
        assert _status(connection.recv(65536)) == 408


def test_200_idle_connections_hinder_nobody(here: Place) -> None:
    idle = [socket.create_connection(("127.0.0.1", here.tollway.port)) for _ in range(200)]
    try:
        for connection in idle[::2]:
            connection.sendall(chat(here)[:100])
        client = here.client()
        began = time.monotonic()
        assert [client.chat(ask()).status for _ in range(20)] == [200] * 20
        assert time.monotonic() - began < 5
    finally:
        for connection in idle:
            connection.close()


# Leaving


def test_pipelined_requests_are_answered_in_order(here: Place) -> None:
    second = json.dumps(ask(model="no/such-model")).encode()
    answer = talk(here, chat(here) + chat(here, second) + chat(here, more=b"Connection: close\r\n"))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]


def test_a_half_closed_connection_counts_as_left(here: Place) -> None:
    here.fake.fault("fast-1", fault="slow-first-token", ms=30_000)
    assert talk(here, chat(here), half_close=True) == b""
    assert [record["outcome"] for record in here.fake.settled(count=0)] in ([], ["cancelled"])
    time.sleep(0.3)


@pytest.mark.parametrize(
    "behind", [b"", LIVE, LIVE * 20, b"garbage\r\n\r\n", b"\x00\x00\x00"], ids=["nothing", "a request", "requests", "garbage", "NUL"]
)
@pytest.mark.parametrize("reset", [False, True])
def test_who_leaves_midstream_pays_for_what_came_whatever_stood_behind_the_request(here: Place, behind: bytes, reset: bool) -> None:
    here.fake.fault("fast-1", fault="endless", ms=2)
    before = here.books()
    with socket.create_connection(("127.0.0.1", here.tollway.port), timeout=5) as connection:
        connection.sendall(chat(here, json.dumps(ask(stream=True)).encode()))
        came = b""
        while came.count(b'"word "') < 20:
            came += connection.recv(65536)
        if behind:
            connection.sendall(behind)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        else:
            time.sleep(0.1)
    [record] = here.fake.settled()
    assert record["outcome"] == "cancelled"
    _soon(lambda: here.books().generations == before.generations + 1)
    assert before.posted - here.books().posted >= 20 * 600
    assert here.books().open_holds == 0


# Versions and expectations


def test_http_1_0_is_answered_and_closed(here: Place) -> None:
    head, _, body = talk(here, chat(here, version=b"1.0")).partition(b"\r\n\r\n")
    assert _status(head) == 200
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["model"] == MODEL


def test_a_client_that_expects_100_continue_gets_it(here: Place) -> None:
    raw = chat(here, more=b"Expect: 100-continue\r\nConnection: close\r\n")
    with socket.create_connection(("127.0.0.1", here.tollway.port), timeout=5) as connection:
        connection.sendall(raw[: -len(BODY)])
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert _status(connection.recv(1000)) == 200


@pytest.mark.parametrize("key", ["nobody", "mine"])
def test_who_will_be_refused_is_not_told_to_continue(here: Place, key: str) -> None:
    raw = chat(here, more=b"Expect: 100-continue\r\nConnection: close\r\n")[: -len(BODY)]
    raw = raw.replace(b"Bearer", b"Basic") if key == "nobody" else raw.replace(b"Length: %d" % len(BODY), b"Length: %d" % (21 * MIB))
    assert _status(talk(here, raw)) == (401 if key == "nobody" else 413)
