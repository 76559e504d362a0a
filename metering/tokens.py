"""Counts tokens: exactly where the model's own tokenizer is known, by a documented estimate elsewhere, never over the network.

The rank files of OpenAI's tokenizers come out of the installed package `bpe-openai` and are checked against the sums that tiktoken
itself expects. The encodings are built from them directly, because `tiktoken.get_encoding` reads a cache folder from the environment
and downloads, without a time limit, what it does not find there.
"""

import base64
import codecs
import gzip
import hashlib
import importlib.util
import logging
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec
import tiktoken

log = logging.getLogger(__name__)

SLICE: Final = 65_536
"""Longer texts are counted in slices of 1 to 2 times so many characters: tiktoken panics on a million blanks in one piece, its
regular expressions run over the whole text, and a slice leaves other threads their turn."""

_LOSSLESS_CUT = re.compile(r"(?<=[A-Za-z]) ")
"""A blank after a letter begins a new token in every encoding here, so a cut before it changes no count."""


class Piece(NamedTuple):
    """A part of a text that ends with a token and never inside a character, and how many tokens it is."""

    text: str
    tokens: int


class Tokenizer(Protocol):
    """`count` is exact or, where `exact` is False, an estimate. Both verbs take any string; `pieces` joined are the text again.

    Lone surrogates, which have no UTF-8, count and come back as U+FFFD. Counting 1 MB takes about 0.1 s: use a thread above 8 KB.
    """

    exact: bool

    def count(self, text: str) -> int: ...

    def pieces(self, text: str) -> Iterator[Piece]: ...


class _Source(msgspec.Struct, frozen=True):
    """A rank file by the name of its encoding, and the expression that cuts text before tokens are looked up in it."""

    ranks: str
    sha256: str
    pattern: str


# Sums and expressions as in tiktoken_ext/openai_public.py; a test compares them with the installed release.
_CL100K = _Source(
    ranks="cl100k_base",
    sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    pattern=r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
)
_O200K = _Source(
    ranks="o200k_base",
    sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    pattern="|".join(
        [
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""\p{N}{1,3}""",
            r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
            r"""\s*[\r\n]+""",
            r"""\s+(?!\S)""",
            r"""\s+""",
        ]
    ),
)

# Harmony differs from o200k_base in special tokens alone, and user text is never read as special tokens.
_SOURCES: Final = {"cl100k_base": _CL100K, "o200k_base": _O200K, "o200k_harmony": _O200K}

ENCODINGS: Final = frozenset(_SOURCES)

_loaded: dict[str, Tokenizer] = {}
_loading = threading.Lock()


def tokenizer(name: str) -> Tokenizer:
    """The tokenizer `name`, loaded once per process (about half a second); the estimate for a name that is not in `ENCODINGS`."""
    source = _SOURCES.get(name)
    if source is None:
        return ESTIMATE
    if source.ranks not in _loaded:
        with _loading:
            if source.ranks not in _loaded:
                _loaded[source.ranks] = _load(source)
    return _loaded[source.ranks]


def warm(name: str) -> bool:
    """Load `name` now, so that no request waits for it. Whether it counts exactly."""
    return tokenizer(name).exact


def rank_file(ranks: str) -> Path | None:
    """Where the installed package keeps a rank file; the package, with its 70 MB of machine code, is not imported for it."""
    spec = importlib.util.find_spec("bpe_openai")
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0], "data", f"{ranks}.tiktoken.gz") if folders else None


def _load(source: _Source) -> Tokenizer:
    try:
        ranks = _read_ranks(rank_file(source.ranks), source.sha256)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        log.warning("no exact token counts for %s, estimating: %s", source.ranks, error)
        return ESTIMATE
    return _Exact(tiktoken.Encoding(source.ranks, pat_str=source.pattern, mergeable_ranks=ranks, special_tokens={}))


def _read_ranks(file: Path | None, sha256: str) -> dict[bytes, int]:
    """Lines of base64 token, blank, rank. ValueError if the file is not the one tiktoken expects."""
    if file is None:
        raise ValueError("the package bpe-openai is not installed")
    raw = gzip.decompress(file.read_bytes())
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ValueError(f"{file.name} has the wrong sha256")
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in raw.splitlines())}


class _Exact:
    """A byte pair encoding by tiktoken, which lets other threads run while it counts."""

    exact = True

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        return sum(len(self._encoding.encode_ordinary(part)) for part in _slices(text))

    def pieces(self, text: str) -> Iterator[Piece]:
        for part in _slices(text):
            yield from self._pieces(part)

    def _pieces(self, text: str) -> Iterator[Piece]:
        """A token may end inside a character: it then waits for the tokens that complete it."""
        decoder, waiting = codecs.getincrementaldecoder("utf-8")(), 0
        for token in self._encoding.encode_ordinary(text):
            waiting += 1
            if ready := decoder.decode(self._encoding.decode_single_token_bytes(token)):
                yield Piece(ready, waiting)
                waiting = 0


class _Estimate:
    """Word rule, in thousandths of a token: a word of Latin letters 1, and 1 more for every 6 letters after the 7th; up to three
    digits 1; any other sign 1; a Chinese, Japanese or Korean character 0.75; a letter of another script 0.35; blanks 1, a single
    one 0. Against o200k_base: English 1.1, Python 1.2, JSON 1.2, Russian 1.1, Chinese 0.9 times as many; base64 only 0.5."""

    exact = False

    def count(self, text: str) -> int:
        return _tokens(sum(sum(map(_weight, _WORDS.findall(part))) for part in _slices(text)))

    def pieces(self, text: str) -> Iterator[Piece]:
        seen = 0
        for part in _slices(text):
            for word in _WORDS.findall(part):
                before, seen = seen, seen + _weight(word)
                yield Piece(word, _tokens(seen) - _tokens(before))


ESTIMATE: Final[Tokenizer] = _Estimate()

_WORDS = re.compile(r"[A-Za-z]+|\d{1,3}|\s+|[^\w\s]|\w")
_IDEOGRAPH = re.compile("[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]")


def _weight(word: str) -> int:
    """Thousandths of a token for one match of `_WORDS`."""
    first = word[0]
    if first.isascii() and first.isalpha():
        return 1000 * (1 + max(0, len(word) - 2) // 6)
    if first.isspace():
        return 0 if word == " " else 1000
    if _IDEOGRAPH.match(first):
        return 750
    return 350 if first.isalpha() else 1000


def _tokens(thousandths: int) -> int:
    return -(-thousandths // 1000)


def _slices(text: str) -> Iterator[str]:
    """`text` as UTF-8 can hold it, in slices; where there is no lossless cut in reach, one token more may be counted per slice."""
    if not text.isascii() and _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    start = 0
    while len(text) - start > 2 * SLICE:
        cut = _LOSSLESS_CUT.search(text, start + SLICE, start + 2 * SLICE)
        end = cut.start() if cut else start + 2 * SLICE
        yield text[start:end]
        start = end
    yield text[start:]


_SURROGATE = re.compile("[\ud800-\udfff]")
