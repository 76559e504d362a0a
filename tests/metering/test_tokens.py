"""Token counts: exact with the known tokenizers, a bounded estimate elsewhere, offline, and safe on any string."""

import gzip
import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken.load
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from metering import tokens
from metering.tokens import ESTIMATE, SLICE, tokenizer

ENGLISH = (
    "The gateway checks the key, plans a route under the rules of the account, holds the worst-case cost and sends the request to a "
    "provider. It relays the answer while it counts, charges exactly what was used, and keeps the prompt only if the owner chose so. "
)
PYTHON = """
def cost(usage: Usage, price: Price) -> Cost:
    lines = [_line(unit, units, price) for unit in UNITS if (units := getattr(usage, unit))]
    if price.request:
        lines.append(Line("request", 1, price.request, price.request))
    return Cost(sum(line.total_pico for line in lines), tuple(lines))
"""
JSON = '{"id": "gen-1", "model": "acme/fast-1", "usage": {"prompt_tokens": 1204, "completion_tokens": 88, "cost": 0.00026265}, "ok": true}'
RUSSIAN = "Шлюз проверяет ключ, выбирает маршрут по правилам счёта, резервирует наибольшую стоимость и отправляет запрос поставщику. "
CHINESE = "网关检查密钥,根据账户的规则规划路线,保留最坏情况下的费用,并将请求发送给第三方提供商。它在计数的同时转发答案。"
SAMPLES = [ENGLISH, PYTHON, JSON, RUSSIAN, CHINESE]
EXACT = ["o200k_base", "cl100k_base", "o200k_harmony"]


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_loaded", {})


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a tokenizer opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(tiktoken.load, "read_file", refuse)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("cl100k_base", "hello world", 2),
        ("cl100k_base", "tiktoken is great!", 6),
        ("o200k_base", "hello world", 2),
        ("o200k_harmony", "hello world", 2),
        ("o200k_base", "", 0),
        ("o200k_base", "\0", 1),
    ],
)
def test_known_texts_have_their_known_counts(name: str, text: str, expected: int) -> None:
    assert tokenizer(name).exact
    assert tokenizer(name).count(text) == expected


@pytest.mark.usefixtures("nothing_loaded", "no_network")
@pytest.mark.parametrize("name", EXACT)
def test_an_encoding_loads_without_network_or_cache_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert tokens.warm(name)
    assert tokenizer(name).count("tiktoken is great!") == 6


@pytest.mark.parametrize("name", EXACT)
def test_our_encoding_is_the_one_of_the_installed_tiktoken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(address: str, expected_hash: str) -> dict[bytes, int]:
        asked.append((address, expected_hash))
        return {b"a": 0}

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", load)
    theirs, ours = openai_public.ENCODING_CONSTRUCTORS[name](), tokens._SOURCES[name]
    assert theirs["pat_str"] == ours.pattern
    assert asked == [(f"https://openaipublic.blob.core.windows.net/encodings/{ours.ranks}.tiktoken", ours.sha256)]


@pytest.mark.parametrize("ranks", ["o200k_base", "cl100k_base"])
def test_the_packaged_rank_files_are_openai_s(ranks: str) -> None:
    file = tokens.rank_file(ranks)
    assert file
    assert hashlib.sha256(gzip.decompress(file.read_bytes())).hexdigest() == tokens._SOURCES[ranks].sha256


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize(
    "content", [None, b"", b"not gzip", gzip.compress(b"YQ== 0\n", mtime=0), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xff\xff"]
)
def test_a_missing_or_changed_rank_file_means_an_estimate_and_a_warning(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "o200k_base.tiktoken.gz"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(tokens, "rank_file", lambda _: file)
    assert tokenizer("o200k_base") is ESTIMATE
    assert not tokens.warm("o200k_base")
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("nothing_loaded")
def test_threads_that_ask_at_once_load_an_encoding_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> tokens.Tokenizer:
        loads.append(threading.get_ident())
        return ESTIMATE

    loads: list[int] = []
    monkeypatch.setattr(tokens, "_load", load)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tokenizer, EXACT * 20))
    assert len(loads) == 2


@pytest.mark.parametrize("name", ["estimate", "llama3", "", "gpt2"])
def test_an_unknown_encoding_is_estimated(name: str) -> None:
    assert tokenizer(name) is ESTIMATE
    assert not tokenizer(name).exact


@pytest.mark.parametrize("text", SAMPLES)
def test_the_estimate_is_near_the_real_count(text: str) -> None:
    assert 85 <= 100 * ESTIMATE.count(text) // tokenizer("o200k_base").count(text) <= 130


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        (" ", 0),
        ("  ", 1),
        ("letters", 1),
        ("letterss", 2),
        ("a" * 14, 3),
        ("12345", 2),
        ("a, b", 3),
        ("漢字仮名", 3),
        ("привет", 3),
    ],
)
def test_the_word_rule(text: str, expected: int) -> None:
    assert ESTIMATE.count(text) == expected


@pytest.mark.parametrize("name", [*EXACT, "estimate"])
@pytest.mark.parametrize("text", [*SAMPLES, "é 漢 😀 👩\u200d👩\u200d👧\u200d👦", "\0" * 9, "<|endoftext|>", "🏳️\u200d🌈" * 50, "𓀀𓀁"])
def test_pieces_are_the_text_and_their_tokens_are_the_count(name: str, text: str) -> None:
    pieces = list(tokenizer(name).pieces(text))
    assert "".join(piece.text for piece in pieces) == text
    assert sum(piece.tokens for piece in pieces) == tokenizer(name).count(text)


@given(text=st.text(st.characters(exclude_categories=())), name=st.sampled_from([*EXACT, "estimate"]))
def test_any_string_counts_lone_surrogates_included(text: str, name: str) -> None:
    pieces = list(tokenizer(name).pieces(text))
    assert "".join(piece.text for piece in pieces) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert sum(piece.tokens for piece in pieces) == tokenizer(name).count(text)


def test_special_tokens_in_a_user_s_text_are_plain_text() -> None:
    assert tokenizer("o200k_harmony").count("<|start|><|end|>") > 2


@pytest.mark.parametrize("text", [ENGLISH, PYTHON])
def test_slicing_a_long_text_changes_no_count(text: str) -> None:
    long = text * (1 + 5 * SLICE // len(text))
    encoding = tokenizer("o200k_base")
    assert isinstance(encoding, tokens._Exact)
    assert encoding.count(long) == len(encoding._encoding.encode_ordinary(long))


@pytest.mark.parametrize("character", [" ", "\n", "a", "^", "漢", "\0", "\ud800"])
def test_a_long_run_of_one_character_is_counted(character: str) -> None:
    """Two million blanks in one piece make tiktoken panic."""
    for name in ("o200k_base", "estimate"):
        assert 0 < tokenizer(name).count(character * 2_000_000) <= 2_000_000
