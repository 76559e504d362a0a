"""A text as a QR code (ISO/IEC 18004: bytes, error correction M, up to version 20), drawn as SVG: black on white in every theme."""

from collections.abc import Iterator
from functools import cache
from typing import Final

from markupsafe import Markup

VERSION_MAX: Final = 20
QUIET: Final = 4
_PER_BLOCK: Final = (0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26)
_BLOCKS: Final = (0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16)
_LEVEL: Final = 0  # of M in the format bits

Grid = list[list[bool | None]]


def svg(text: str) -> Markup:
    """ValueError if the text is longer than 600 bytes or so."""
    rows = matrix(text)
    size = len(rows) + 2 * QUIET
    path = "".join(f"M{x + QUIET} {y + QUIET}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark)
    head = f'<svg class="qr" viewBox="0 0 {size} {size}" width="220" height="220" role="img" aria-label="QR code for your authenticator">'
    return Markup(f'{head}<rect width="{size}" height="{size}" fill="#fff"/><path d="{path}" fill="#000"/></svg>')  # noqa: S704 - numbers


def matrix(text: str) -> list[list[bool]]:
    """Rows of modules, true = dark."""
    data = text.encode()
    version = next((each for each in range(1, VERSION_MAX + 1) if len(data) <= _room(each)), None)
    if version is None:
        raise ValueError("this text is too long for a QR code")
    grid = _frame(version)
    free = [(x, y) for x, y in _way(len(grid)) if grid[y][x] is None]
    bits = [(byte >> (7 - bit)) & 1 for byte in _with_correction(data, version) for bit in range(8)]
    bits += [0] * (len(free) - len(bits))
    drawn = [_drawn(grid, free, bits, mask) for mask in range(8)]
    return min(drawn, key=_penalty)


def _room(version: int) -> int:
    """Bytes of text: without mode (4 bits) and length (8 or 16)."""
    return _codewords(version) - _PER_BLOCK[version] * _BLOCKS[version] - (2 if version < 10 else 3)


def _codewords(version: int) -> int:
    modules = (16 * version + 128) * version + 64
    if version >= 2:
        marks = version // 7 + 2
        modules -= (25 * marks - 10) * marks - 55
    if version >= 7:
        modules -= 36
    return modules // 8


def _with_correction(data: bytes, version: int) -> list[int]:
    """The codewords of all blocks, interleaved."""
    blocks, per_block, whole = _BLOCKS[version], _PER_BLOCK[version], _codewords(version)
    room = whole - blocks * per_block
    length_bits = 8 if version < 10 else 16
    number = (0b0100 << length_bits | len(data)) << 8 * len(data) | int.from_bytes(data)
    bits = 4 + length_bits + 8 * len(data)
    stuffed = (number << (8 * room - bits)).to_bytes(room)
    used = (bits + 4 + 7) // 8
    padded = stuffed[:used] + bytes((0xEC, 0x11)[n % 2] for n in range(room - used))
    short = room // blocks
    parts, at = [], 0
    for index in range(blocks):
        size = short + (index >= blocks - room % blocks)
        parts.append(padded[at : at + size])
        at += size
    corrections = [_correction(part, per_block) for part in parts]
    mixed = [part[n] for n in range(short + 1) for part in parts if n < len(part)]
    return mixed + [part[n] for n in range(per_block) for part in corrections]


def _correction(data: bytes, count: int) -> list[int]:
    """Reed-Solomon: the rest of the data's polynomial divided by the generator's."""
    generator = _generator(count)
    rest = [0] * count
    for byte in data:
        factor = byte ^ rest.pop(0)
        rest.append(0)
        rest = [each ^ _times(coefficient, factor) for each, coefficient in zip(rest, generator, strict=True)]
    return rest


@cache
def _generator(count: int) -> tuple[int, ...]:
    found = [0] * (count - 1) + [1]
    root = 1
    for _ in range(count):
        for n in range(count):
            found[n] = _times(found[n], root) ^ (found[n + 1] if n + 1 < count else 0)
        root = _times(root, 2)
    return tuple(found)


def _times(one: int, other: int) -> int:
    """In GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    for bit in range(7, -1, -1):
        product = (product << 1) ^ ((product >> 7) * 0x11D)
        product ^= ((other >> bit) & 1) * one
    return product


def _frame(version: int) -> Grid:
    """What is the same in every code of a version; the places of format bits are taken, light."""
    size = 17 + 4 * version
    grid: Grid = [[None] * size for _ in range(size)]
    for n in range(size):
        grid[6][n] = grid[n][6] = n % 2 == 0
    for x, y in ((3, 3), (size - 4, 3), (3, size - 4)):
        _square(grid, x, y, reach=4, dark=(0, 1, 3))
    marks = _marks(version)
    for x in marks:
        for y in marks:
            if (x, y) not in ((6, 6), (6, size - 7), (size - 7, 6)):
                _square(grid, x, y, reach=2, dark=(0, 2))
    for x, y in _format_places(size):
        grid[y][x] = False
    grid[size - 8][8] = True
    for n in range(18 if version >= 7 else 0):
        dark = bool(_remainder(version, 12, 0x1F25) >> n & 1)
        grid[n // 3][size - 11 + n % 3] = grid[size - 11 + n % 3][n // 3] = dark
    return grid


def _square(grid: Grid, x: int, y: int, *, reach: int, dark: tuple[int, ...]) -> None:
    """Rings around a middle; those at the distances of `dark` are."""
    for row in range(max(0, y - reach), min(len(grid), y + reach + 1)):
        for column in range(max(0, x - reach), min(len(grid), x + reach + 1)):
            grid[row][column] = max(abs(row - y), abs(column - x)) in dark


def _marks(version: int) -> list[int]:
    """Where the alignment patterns have their middles."""
    if version == 1:
        return []
    count = version // 7 + 2
    step = (version * 4 + count * 2 + 1) // (count * 2 - 2) * 2
    return [6, *sorted(17 + 4 * version - 7 - n * step for n in range(count - 1))]


def _format_places(size: int) -> list[tuple[int, int]]:
    """Both copies of the 15 bits, the lowest first."""
    first = [(8, n) for n in range(6)] + [(8, 7), (8, 8), (7, 8)] + [(14 - n, 8) for n in range(9, 15)]
    return first + [(size - 1 - n, 8) for n in range(8)] + [(8, size - 15 + n) for n in range(8, 15)]


def _remainder(value: int, bits: int, generator: int) -> int:
    """The value with its BCH code behind it."""
    rest = value
    for _ in range(bits):
        rest = (rest << 1) ^ ((rest >> (bits - 1)) * generator)
    return value << bits | rest


def _way(size: int) -> Iterator[tuple[int, int]]:
    """Two columns at a time from the right, up and down in turn, past the column of the timing pattern."""
    columns = [right - (right <= 6) for right in range(size - 1, 0, -2)]
    for turn, right in enumerate(columns):
        for n in range(size):
            y = n if turn % 2 else size - 1 - n
            yield right, y
            yield right - 1, y


_MASKS: Final = (
    lambda x, y: (x + y) % 2,
    lambda x, y: y % 2,
    lambda x, y: x % 3,
    lambda x, y: (x + y) % 3,
    lambda x, y: (x // 3 + y // 2) % 2,
    lambda x, y: x * y % 2 + x * y % 3,
    lambda x, y: (x * y % 2 + x * y % 3) % 2,
    lambda x, y: ((x + y) % 2 + x * y % 3) % 2,
)


def _drawn(grid: Grid, free: list[tuple[int, int]], bits: list[int], mask: int) -> list[list[bool]]:
    drawn = [[bool(dark) for dark in row] for row in grid]
    for (x, y), bit in zip(free, bits, strict=True):
        drawn[y][x] = bool(bit) ^ (_MASKS[mask](x, y) == 0)
    said = _remainder(_LEVEL << 3 | mask, 10, 0x537) ^ 0x5412
    for n, (x, y) in enumerate(_format_places(len(grid))):
        drawn[y][x] = bool(said >> (n % 15) & 1)
    return drawn


def _penalty(rows: list[list[bool]]) -> int:
    """The standard's four: long runs, blocks, what looks like a finder, and too much of one colour."""
    size, found = len(rows), 0
    for line in [*rows, *(list(column) for column in zip(*rows, strict=True))]:
        text = "".join("1" if dark else "0" for dark in line)
        run = 1
        for before, after in zip(text, text[1:] + "x", strict=True):
            if before == after:
                run += 1
                continue
            found += run - 2 if run >= 5 else 0
            run = 1
        found += 40 * sum(text.startswith(("10111010000", "00001011101"), n) for n in range(size - 10))
    for y in range(size - 1):
        found += 3 * sum(rows[y][x] == rows[y][x + 1] == rows[y + 1][x] == rows[y + 1][x + 1] for x in range(size - 1))
    dark = sum(map(sum, rows))
    return found + 10 * (abs(20 * dark - 10 * size * size) // (size * size))
