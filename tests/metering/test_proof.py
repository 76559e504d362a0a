"""A proof file is checked with nothing but itself, and no change to it goes unseen: not to a field, a line, their order or a byte."""

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from metering import chain, merkle, proof
from metering.merkle import Tree
from metering.notary import Placed, leaf, plant
from metering.proof import Checked, Writer
from metering.seal import Head, Link
from metering.signing import Signer, is_signed

SIGNER, STRANGER = Signer(b"s" * 32), Signer(b"t" * 32)
ACCOUNT = "acc_1"
Entry = tuple[str, str, int, str | None, int]
ENTRIES: list[Entry] = [
    ("dep_1", "deposit", 5_000_000_000, "welcome; naïve, with 'quotes', a line\nbreak and \u2028", 1_760_000_000_000),
    ("gen_1", "charge", -262_650, None, 1_760_000_000_500),
    ("gen_2", "charge", -1, "", 1_759_999_999_000),
    ("ref_1", "refund", -1_000_000_000, "asked for", 1_760_000_001_000),
    ("gen_3", "charge", -12_345_678, None, 1_760_000_002_000),
]
CHECKPOINT_AT = 3
OTHERS = ["acc_0", "acc_2", "acc_10", "acc_\u00e9"]


def chained(entries: list[Entry] = ENTRIES) -> list[Link]:
    links, before = [], chain.genesis(ACCOUNT)
    for seq, (id, kind, amount, reason, at) in enumerate(entries, start=1):
        before = chain.link(before, account_id=ACCOUNT, seq=seq, transaction_id=id, kind=kind, amount=amount, reason=reason, at=at)
        links.append(Link(seq, id, kind, amount, reason, at, before))
    return links


def placed(links: list[Link], signer: Signer = SIGNER, at: int = CHECKPOINT_AT) -> Placed:
    """Under a checkpoint over four other accounts, as of entry `at`."""
    head = links[at - 1]
    heads = [(id, leaf(id, 7, chain.genesis(id))) for id in OTHERS] + [(ACCOUNT, leaf(ACCOUNT, head.seq, head.hash))]
    ids, tree = plant(heads)
    day, created_at, root = "2025-10-09", 1_760_000_001_500, tree.root.hex()
    signed = chain.message("tollway-checkpoint-1", day, str(created_at), str(len(ids)), root)
    path = [neighbour.hex() for neighbour in tree.path(ids.index(ACCOUNT))]
    signature = signer.sign(signed)
    return Placed(day, created_at, len(ids), root, signer.public_key, signature, head.seq, head.hash, ids.index(ACCOUNT), path)


def written(*, after: int = 0, signer: Signer = SIGNER, checkpoint: Placed | None = None, with_checkpoint: bool = True) -> bytes:
    links = chained()
    head = Head(after, links[after - 1].hash if after else chain.genesis(ACCOUNT))
    writer = Writer(signer, account_id=ACCOUNT, after=head)
    place = (checkpoint or placed(links)) if with_checkpoint else None
    return writer.header(made_at=1_760_000_003_000, unsealed=0, checkpoint=place) + writer.entries(links[after:]) + writer.end()


def check(data: bytes, *public_keys: str) -> Checked:
    return proof.check(io.BytesIO(data), public_keys=public_keys)


def refusal(data: bytes, *public_keys: str) -> str:
    """What `check` says against it, in one line."""
    with pytest.raises(ValueError, match=r"\Aline \d+: .+\Z") as refused:
        check(data, *public_keys)
    return str(refused.value)


def test_a_proof_is_checked_with_figures() -> None:
    found = check(written())
    assert (found.account_id, found.entries, found.first_seq, found.head_seq) == (ACCOUNT, 5, 1, 5)
    assert found.sum_usd == "3.987391671"
    assert (found.checkpoint_day, found.checkpoint_seq, found.only_chained) == ("2025-10-09", 3, 2)
    assert found.public_keys == [SIGNER.public_key]
    assert check(written(), SIGNER.public_key.upper()) == found


def test_a_proof_without_a_checkpoint_and_one_without_entries_are_good() -> None:
    assert check(written(with_checkpoint=False)).only_chained == 5
    empty = Writer(SIGNER, account_id=ACCOUNT, after=Head(0, chain.genesis(ACCOUNT)))
    found = check(empty.header(made_at=0, unsealed=3, checkpoint=None) + empty.entries([]) + empty.end())
    assert (found.entries, found.head_seq, found.sum_usd, found.unsealed) == (0, 0, "0", 3)


def test_a_proof_goes_on_from_an_earlier_one() -> None:
    found = check(written(after=3))
    assert (found.first_seq, found.entries, found.sum_usd, found.only_chained) == (4, 2, "-1.012345678", 2)
    assert check(written(after=2)).only_chained == 2
    other = placed(chained())
    forged = Placed(**{**{name: getattr(other, name) for name in other.__struct_fields__}, "hash": "0" * 64})
    assert "path" in refusal(written(after=3, checkpoint=forged))


def test_the_chain_is_what_its_description_says() -> None:
    """Computed again without any function of ours, as an outsider would."""
    counted = "".join(f"{len(field.encode())}:{field}," for field in ("tollway-chain-1", ACCOUNT)).encode()
    before = hashlib.sha256(counted).digest()
    for line in written().splitlines()[1:-1]:
        entry = json.loads(line)
        nano = str(round(float(entry["amount"]) * 10**9))
        fields = [
            "tollway-entry-1",
            ACCOUNT,
            str(entry["seq"]),
            entry["transaction_id"],
            entry["kind"],
            nano,
            entry["reason"],
            str(entry["at"]),
        ]
        counted = b"".join(b"-" if field is None else b"%d:%s," % (len(field.encode()), field.encode()) for field in fields)
        before = hashlib.sha256(before + counted).digest()
        assert entry["hash"] == before.hex()


FIELDS = [
    *(("header", name) for name in ("line", "version", "account_id", "made_at", "public_key", "unsealed", "after", "checkpoint")),
    *(("header", "after", name) for name in ("seq", "hash")),
    *(("header", "checkpoint", name) for name in Placed.__struct_fields__),
    *(("entry", name) for name in ("line", "seq", "transaction_id", "kind", "amount", "reason", "at", "hash")),
    *(("end", name) for name in ("line", "entries", "seq", "hash", "sum", "signature")),
]


def test_the_list_of_fields_is_complete() -> None:
    names: set[tuple[str, ...]] = set()
    for line in map(json.loads, written().splitlines()):
        names |= {(line["line"], name) for name in line}
        names |= {(line["line"], name, inner) for name, value in line.items() if isinstance(value, dict) for inner in value}
    assert names == set(FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=".".join)
def test_a_change_to_any_field_of_any_line_is_seen_in_every_form(field: tuple[str, ...]) -> None:
    lines = written().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if json.loads(line)["line"] != field[0]:
            continue
        for changed in altered(json.loads(line), field[1:]):
            data = b"".join([*lines[:number], changed, *lines[number + 1 :]])
            assert int(refusal(data).split(":")[0].removeprefix("line ")) > number


def altered(line: dict[str, Any], path: tuple[str, ...]) -> Iterator[bytes]:
    """The line with another value in one place: near the true one, of another type, empty, absent."""
    *outer, name = path
    holder = line
    for step in outer:
        holder = holder[step]
    value = holder[name]
    for other in others(value):
        holder[name] = other
        yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
    del holder[name]
    yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def others(value: Any) -> list[Any]:
    common = [None, "", "x", 0, -1, 1.5, True, [], {}, "\ud800", 2**63, 2**70]
    if isinstance(value, int):
        near = [value + 1, value - 1, -value or 1, str(value), value + 2**64]
    elif isinstance(value, str):
        flipped = [value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :] for at in range(0, len(value), 7)]
        near = [value + " ", " " + value, value.upper() + "Z", value + "\n", value[:-1], value + "0", *flipped]
        near += [value.upper()] if value.upper() != value else []
    elif isinstance(value, list):
        near = [value[::-1], value[:-1], [*value, value[0]], [value[0].upper(), *value[1:]], [f"{value[0]} ", *value[1:]]]
    else:
        near = []
    return [other for other in common + near if not (other == value and type(other) is type(value))]


@pytest.mark.parametrize(
    ("true", "other"),
    [("-0.00026265", form) for form in ("-0.000262650", "-.00026265", "-2.6265e-4", "-00.00026265", "−0.00026265", "-0.00026265 ")]
    + [("5", form) for form in ("5.0", "+5", "05", "5.", "5e0", "٥", "5_0")],
)
def test_an_amount_that_means_the_same_in_another_form_is_refused(true: str, other: str) -> None:
    data = written().replace(f'"amount":"{true}"'.encode(), f'"amount":"{other}"'.encode())
    assert "not written as a proof writes amounts" in refusal(data)


def test_lines_that_are_taken_out_doubled_or_swapped_are_seen_at_the_first_of_them() -> None:
    lines = written().splitlines(keepends=True)
    for at in range(len(lines)):
        without = refusal(b"".join(lines[:at] + lines[at + 1 :]))
        assert without.startswith(f"line {min(at + 1, len(lines))}: ")
        doubled = refusal(b"".join(lines[: at + 1] + lines[at:]))
        assert doubled.startswith(f"line {at + 2}: ")
        for other in range(at):
            swapped = list(lines)
            swapped[at], swapped[other] = lines[other], lines[at]
            assert refusal(b"".join(swapped)).startswith(f"line {other + 1}: ")


def test_an_entry_taken_out_with_the_numbers_closed_up_behind_it_is_seen() -> None:
    lines = [json.loads(line) for line in written().splitlines()]
    for at in range(1, 6):
        kept = [dict(line) for line in lines[:at] + lines[at + 1 :]]
        for seq, line in enumerate(kept[1:-1], start=1):
            line["seq"] = seq
        data = b"".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for line in kept)
        assert refusal(data).startswith(f"line {at + 1}: ")


def test_a_file_that_was_cut_off_anywhere_is_refused() -> None:
    data = written()
    for length in [*range(0, len(data), 13), len(data) - 1]:
        refusal(data[:length])
    assert "cut off" in refusal(b"".join(data.splitlines(keepends=True)[:-1]))


def test_no_byte_can_be_changed() -> None:
    data = written()
    for at in range(len(data)):
        refusal(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\n", b"\x00" * 100 + b"\n", b"{}\n", b"[]\n", b"null\n", b'"x"\n', b"PK\x03\x04\n", b"[" * 100_000 + b"\n", b"x" * (2**20 + 5),
     b'{"line":"header"}\n', b'{"line":"entry"}\n', b"\xff\xfe\n", b'{"line":"end","entries":0}\n', b"\r\n"],
    ids=range(15),
)  # fmt: skip
def test_rubbish_is_refused_in_one_line(rubbish: bytes) -> None:
    refusal(rubbish)
    refusal(written() + rubbish) if rubbish else None
    assert refusal(rubbish + written()).startswith("line 1: ") if rubbish else True


def test_the_same_values_in_other_bytes_are_refused() -> None:
    """A reader and a checker must not be able to see different values in one line."""
    lines = written().splitlines(keepends=True)
    twice = lines[1].replace(b'"amount":"5"', b'"amount":"6","amount":"5"')
    spaced = json.dumps(json.loads(lines[1]), ensure_ascii=False).encode() + b"\n"
    windows = lines[1][:-1] + b"\r\n"
    escaped = lines[1].replace(b"deposit", b"\\u0064eposit")
    extra = lines[1].replace(b'"amount"', b'"note":"x","amount"')
    for changed in (twice, spaced, windows, escaped, extra):
        assert changed != lines[1]
        assert refusal(b"".join([lines[0], changed, *lines[2:]])).startswith("line 2: ")


def test_who_signed_is_told_and_can_be_insisted_on() -> None:
    forged = written(signer=STRANGER, checkpoint=placed(chained(), STRANGER))
    assert check(forged).public_keys == [STRANGER.public_key]
    assert "another public key" in refusal(forged, SIGNER.public_key)
    rotated = written(signer=STRANGER)
    assert check(rotated, SIGNER.public_key, STRANGER.public_key).public_keys == sorted([SIGNER.public_key, STRANGER.public_key])
    assert "another public key" in refusal(rotated, STRANGER.public_key)


def test_a_chain_rewritten_by_the_signer_itself_does_not_fit_an_older_checkpoint() -> None:
    """The operator changes an entry, computes all hashes again and signs the new file; the checkpoint was published before."""
    true = placed(chained())
    links = chained([ENTRIES[0], ("gen_1", "charge", -262_651, None, 1_760_000_000_500), *ENTRIES[2:]])
    writer = Writer(SIGNER, account_id=ACCOUNT, after=Head(0, chain.genesis(ACCOUNT)))
    data = writer.header(made_at=1, unsealed=0, checkpoint=true) + writer.entries(links) + writer.end()
    assert refusal(data) == "line 4: the checkpoint of 2025-10-09 knows another entry 3"


def test_a_file_that_ends_before_its_checkpoint_is_refused() -> None:
    """A tail that was left out cannot hide behind a signature of the one who left it out."""
    links = chained()
    writer = Writer(SIGNER, account_id=ACCOUNT, after=Head(0, chain.genesis(ACCOUNT)))
    data = writer.header(made_at=1, unsealed=0, checkpoint=placed(links)) + writer.entries(links[:2]) + writer.end()
    assert "ends before entry 3" in refusal(data)


def test_the_memory_of_a_check_does_not_grow_with_the_file() -> None:
    class Endless(io.RawIOBase):
        """Gives one line at a time, and knows the longest piece that was asked for."""

        longest = 0

        def __init__(self, lines: Iterator[bytes]) -> None:
            self._lines = lines

        def readline(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= proof.LINE_BYTES_MAX + 1
            return next(self._lines, b"")

        def read(self, size: int | None = -1) -> bytes:
            assert size == 1
            return b""

    def lines(number: int) -> Iterator[bytes]:
        writer = Writer(SIGNER, account_id=ACCOUNT, after=Head(0, chain.genesis(ACCOUNT)))
        yield writer.header(made_at=1, unsealed=0, checkpoint=None)
        before = chain.genesis(ACCOUNT)
        for seq in range(1, number + 1):
            before = chain.link(
                before, account_id=ACCOUNT, seq=seq, transaction_id=f"t{seq}", kind="charge", amount=-seq, reason=None, at=seq
            )
            yield writer.entries([Link(seq, f"t{seq}", "charge", -seq, None, seq, before)])
        yield writer.end()

    assert proof.check(Endless(lines(2000)), public_keys=()).sum_usd == "-0.002001"  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [*range(1, 20), 64, 65])
def test_every_leaf_of_a_tree_has_a_path_that_fits_nowhere_else(size: int) -> None:
    leaves = [merkle.leaf(b"%d" % number) for number in range(size)]
    tree = Tree(leaves)
    assert tree.root == _root_by_the_book(leaves)
    for index in range(size):
        path = tree.path(index)
        assert merkle.root_of(leaves[index], index=index, size=size, path=path) == tree.root
        for wrong in range(size + 1):
            assert wrong == index or merkle.root_of(leaves[index], index=wrong, size=size, path=path) != tree.root
        assert merkle.root_of(leaves[index], index=index, size=size, path=[*path, path[-1] if path else tree.root]) is None
        assert size == 1 or merkle.root_of(leaves[index], index=index, size=size, path=path[:-1]) != tree.root


def _root_by_the_book(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + _root_by_the_book(leaves[:k]) + _root_by_the_book(leaves[k:])).digest()


def test_the_tree_without_leaves_is_the_hash_of_nothing() -> None:
    assert Tree([]).root == hashlib.sha256(b"").digest()
    with pytest.raises(IndexError):
        Tree([]).path(0)


def test_a_signature_is_wrong_for_other_data_another_key_and_rubbish() -> None:
    signature = SIGNER.sign(b"x")
    assert is_signed(b"x", signature=signature, public_key=SIGNER.public_key)
    assert not is_signed(b"y", signature=signature, public_key=SIGNER.public_key)
    assert not is_signed(b"x", signature=signature, public_key=STRANGER.public_key)
    assert not is_signed(b"x", signature="00", public_key=SIGNER.public_key)
    assert not is_signed(b"x", signature=signature, public_key="rubbish")
