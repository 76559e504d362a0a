"""The proof file: one account's entries with their hash chain, their place under a signed checkpoint, and a signature over the file.

JSON Lines in UTF-8, each line exactly as `msgspec` encodes it: a `header`, one `entry` per line, an `end`. It is written and checked
line by line in constant memory, and checked with nothing but the file: no database, no settings, no network.

Amounts are decimal text in USD, times Unix milliseconds. The `end` signs message("tollway-proof-1", SHA-256 of all lines before it,
entries, seq, hash, sum), so no character can be changed unseen. What is proven by whose word: entries up to the checkpoint's `seq` stand
under a root that every account of that day shares, so they cannot be rewritten for one reader; those after it, until the next day's
checkpoint, only under the chain and the signature of this file.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import IO, Final

import msgspec
from msgspec import Struct

from metering import chain, merkle, notary
from metering.chain import Hash, message
from metering.money import NANO_PER_USD, format_usd
from metering.notary import Placed
from metering.seal import Head, Link
from metering.signing import PublicKey, Signature, Signer, is_signed

LINE_BYTES_MAX: Final = 2**20
VERSION: Final = 1
_USD: Final = re.compile(r"(-?)(0|[1-9][0-9]{0,9})(?:\.([0-9]{0,8}[1-9]))?", re.ASCII)
_YEAR_9999: Final = 253_402_300_800_000
"""In Unix milliseconds."""


class After(Struct, frozen=True, forbid_unknown_fields=True):
    """The entry that the file goes on from; seq 0 and the genesis hash from the beginning."""

    seq: int
    hash: Hash


class Header(Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="header"):
    """`unsealed`: entries that had no place in the chain yet, as counted from the newest. `checkpoint`: the newest that covers the file."""

    version: int
    account_id: str
    made_at: int
    public_key: PublicKey
    after: After
    unsealed: int
    checkpoint: Placed | None


class Item(Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="entry"):
    seq: int
    transaction_id: str
    kind: str
    amount: str
    reason: str | None
    at: int
    hash: Hash


class End(Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="end"):
    """The newest entry, how many there are in the file and their sum: the balance, if the file begins with seq 1."""

    entries: int
    seq: int
    hash: Hash
    sum: str
    signature: Signature


class Checked(Struct, frozen=True):
    """What was found good. `sum_usd` is the balance where `first_seq` is 1; seq up to `checkpoint_seq` are under the checkpoint's root.

    `public_keys` are those that signed; nobody but the reader can say whose they are.
    """

    account_id: str
    made_at: int
    entries: int
    first_seq: int
    head_seq: int
    head_hash: str
    sum_usd: str
    unsealed: int
    checkpoint_day: str | None
    checkpoint_seq: int | None
    only_chained: int
    public_keys: list[str]


class Writer:
    """The lines of one proof, in order: `header`, any number of `entries`, `end`."""

    def __init__(self, signer: Signer, *, account_id: str, after: Head) -> None:
        self._signer = signer
        self._account_id = account_id
        self._after = self._head = After(after.seq, after.hash)
        self._entries = self._sum = 0
        self._digest = hashlib.sha256()

    def header(self, *, made_at: int, unsealed: int, checkpoint: Placed | None) -> bytes:
        return self._line(Header(VERSION, self._account_id, made_at, self._signer.public_key, self._after, unsealed, checkpoint))

    def entries(self, links: Iterable[Link]) -> bytes:
        return b"".join(map(self._entry, links))

    def end(self) -> bytes:
        usd = format_usd(self._sum)
        signed = _to_sign(self._digest.hexdigest(), self._entries, self._head.seq, self._head.hash, usd)
        return self._line(End(self._entries, self._head.seq, self._head.hash, usd, self._signer.sign(signed)))

    def _entry(self, link: Link) -> bytes:
        self._head = After(link.seq, link.hash)
        self._entries, self._sum = self._entries + 1, self._sum + link.amount
        fields = msgspec.structs.asdict(link)
        return self._line(Item(**{**fields, "amount": format_usd(link.amount)}))

    def _line(self, line: "Line") -> bytes:
        data = _encoded(line)
        self._digest.update(data)
        return data


def check(file: IO[bytes], *, public_keys: Iterable[str] = ()) -> Checked:
    """Recomputes everything that a proof claims; ValueError names the first line that is wrong, and how.

    `public_keys`: the only ones (hexadecimal) that may have signed; none: any, and whoever reads the result compares them.
    """
    return _Reader(file, frozenset(map(str.lower, public_keys))).read()


class _Reader:
    def __init__(self, file: IO[bytes], trusted: frozenset[str]) -> None:
        self._file = file
        self._trusted = trusted
        self._number = 0
        self._digest = hashlib.sha256()
        self._first: After
        self._seq = self._entries = self._sum = 0
        self._hash = ""

    def read(self) -> Checked:
        header = self._next()
        if not isinstance(header, Header):
            raise self._wrong("this is not the header of a proof")
        self._header(header)
        line = self._next()
        while isinstance(line, Item):
            self._entry(header, line)
            line = self._next()
        if not isinstance(line, End):
            raise self._wrong("a second header")
        self._end(header, line)
        return self._checked(header)

    def _next(self) -> "Line":
        """The next line as it was written; all lines but the end go into the digest."""
        self._number += 1
        data = self._file.readline(LINE_BYTES_MAX + 1)
        if not data.endswith(b"\n"):
            self._require(len(data) <= LINE_BYTES_MAX, f"it is longer than {LINE_BYTES_MAX} bytes")
            raise self._wrong("the file was cut off: a proof's last line is its end")
        try:
            line: Line = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._wrong("this is not a line of a proof") from None
        self._require(_encoded(line) == data, "it is not written as a proof is: it was changed")
        if not isinstance(line, End):
            self._digest.update(data)
        return line

    def _header(self, header: Header) -> None:
        self._require(header.version == VERSION, f"version {header.version} is not known to this program")
        self._require(header.after.seq >= 0 and header.unsealed >= 0 and 0 <= header.made_at < _YEAR_9999, "a number is out of range")
        self._require_trusted(header.public_key)
        self._seq, self._hash, self._first = header.after.seq, header.after.hash, header.after
        if header.after.seq == 0:
            self._require(header.after.hash == chain.genesis(header.account_id), "the hash to begin with is not this account's")
        if header.checkpoint is not None:
            self._checkpoint(header, header.checkpoint)

    def _checkpoint(self, header: Header, placed: Placed) -> None:
        name = f"the checkpoint of {placed.day}"
        self._require_trusted(placed.public_key)
        self._require(notary.is_genuine(placed), f"{name}: its signature is wrong")
        path = [bytes.fromhex(neighbour) for neighbour in placed.path]
        leaf = notary.leaf(header.account_id, placed.seq, placed.hash)
        root = merkle.root_of(leaf, index=placed.index, size=placed.accounts, path=path)
        self._require(root is not None and root.hex() == placed.root, f"{name}: its path does not lead from this account to its root")
        self._require(placed.seq >= header.after.seq, f"{name}: it is older than what this file goes on from")
        if placed.seq == header.after.seq:
            self._require(placed.hash == header.after.hash, f"{name} knows another entry {placed.seq}")

    def _entry(self, header: Header, item: Item) -> None:
        due = self._seq + 1
        self._require(item.seq == due, f"entry {item.seq} where {due} is due: lines are missing or out of order")
        amount = _nano(item.amount)
        if amount is None:
            raise self._wrong(f"the amount {item.amount[:40]!r} is not written as a proof writes amounts")
        hashed = chain.link(
            self._hash, account_id=header.account_id, seq=item.seq, transaction_id=item.transaction_id,
            kind=item.kind, amount=amount, reason=item.reason, at=item.at,
        )  # fmt: skip
        self._require(hashed == item.hash, f"entry {item.seq} does not fit its hash: it was changed")
        placed = header.checkpoint
        if placed is not None and placed.seq == item.seq:
            self._require(placed.hash == item.hash, f"the checkpoint of {placed.day} knows another entry {item.seq}")
        self._seq, self._hash = item.seq, item.hash
        self._entries, self._sum = self._entries + 1, self._sum + amount

    def _end(self, header: Header, end: End) -> None:
        self._require((end.seq, end.hash) == (self._seq, self._hash), f"the end names entry {end.seq}, the last line is entry {self._seq}")
        self._require(end.entries == self._entries, f"the end counts {end.entries} entries, there are {self._entries}")
        usd = format_usd(self._sum)
        self._require(end.sum == usd, f"the end's sum is {end.sum[:40]!r}, the entries sum to {usd}")
        placed = header.checkpoint
        if placed is not None:
            self._require(placed.seq <= end.seq, f"the file ends before entry {placed.seq}, which the checkpoint of {placed.day} names")
        signed = _to_sign(self._digest.hexdigest(), end.entries, end.seq, end.hash, end.sum)
        genuine = is_signed(signed, signature=end.signature, public_key=header.public_key)
        self._require(genuine, "the file's signature is wrong: a line was changed")
        self._number += 1
        self._require(not self._file.read(1), "nothing may stand after the end")

    def _checked(self, header: Header) -> Checked:
        placed = header.checkpoint
        return Checked(
            account_id=header.account_id, made_at=header.made_at, entries=self._entries, first_seq=self._first.seq + 1,
            head_seq=self._seq, head_hash=self._hash, sum_usd=format_usd(self._sum), unsealed=header.unsealed,
            checkpoint_day=placed.day if placed else None, checkpoint_seq=placed.seq if placed else None,
            only_chained=self._seq - max(placed.seq if placed else 0, self._first.seq),
            public_keys=sorted({header.public_key, *([placed.public_key] if placed else [])}),
        )  # fmt: skip

    def _require_trusted(self, public_key: str) -> None:
        self._require(not self._trusted or public_key in self._trusted, f"it is signed by another public key: {public_key[:64]}")

    def _require(self, right: bool, what: str) -> None:
        if not right:
            raise self._wrong(what)

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"line {self._number}: {what}")


Line = Header | Item | End
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def _encoded(line: Line) -> bytes:
    return _encode(line) + b"\n"


def _to_sign(digest: str, entries: int, seq: int, hashed: str, usd: str) -> bytes:
    return message("tollway-proof-1", digest, str(entries), str(seq), hashed, usd)


def _nano(usd: str) -> int | None:
    """Nano-USD of an amount written as `format_usd` writes it; None if it is written in any other way."""
    found = _USD.fullmatch(usd)
    if found is None or usd == "-0":
        return None
    sign, whole, fraction = found.groups()
    amount = int(whole) * NANO_PER_USD + int((fraction or "").ljust(9, "0"))
    return -amount if sign else amount
