"""Charts as SVG from the server: no script, no inline style, colours by class, so that they follow the theme and can be printed.

Every chart is one image to a screen reader, with a title and a description; the numbers themselves stand in a table beside it.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from markupsafe import Markup, escape

WIDTH: Final = 720
HEIGHT: Final = 240
LEFT: Final = 74
RIGHT: Final = 8
TOP: Final = 10
BOTTOM: Final = 26
SERIES_MAX: Final = 8
"""As many colours as the stylesheet has (s1 to s8); what is less goes together into the last one."""
LABELS_MAX: Final = 8
STEPS: Final = 4
ROW: Final = 30


class Series(msgspec.Struct, frozen=True):
    """One colour: its `name` and a number for every column."""

    name: str
    values: Sequence[int]


class Bar(msgspec.Struct, frozen=True):
    """A row of a timeline in milliseconds; `mark` is the moment of its first byte, `good` False: it failed."""

    name: str
    start: int
    end: int
    mark: int | None
    good: bool


def stacked(columns: Sequence[str], series: Sequence[Series], *, id: str, title: str, label: Callable[[int], str]) -> Markup:
    """Stacked columns, the first series at the bottom. `columns` are the texts below, `label` writes a value of the axis."""
    totals = [sum(values) for values in zip(*(each.values for each in series), strict=True)] or [0] * len(columns)
    highest = max(totals, default=0)
    step = _step(highest)
    top = max(step, -(-highest // step) * step)
    said = f"{len(columns)} columns, the highest is {label(highest)}, all together {label(sum(totals))}. The table has every number."
    parts = [_axis(top, step, label), _below(columns)]
    floor = [0] * len(columns)
    for number, each in enumerate(series[:SERIES_MAX], start=1):
        parts.append(_columns(each.values, floor, top, f"s{number}"))
        floor = [below + value for below, value in zip(floor, each.values, strict=True)]
    parts += [
        _hint(place, len(columns), f"{name}: {label(total)}") for place, (name, total) in enumerate(zip(columns, totals, strict=True))
    ]
    return _svg(id, title, said, HEIGHT, "".join(parts))


def timeline(bars: Sequence[Bar], total: int, *, id: str, title: str, label: Callable[[int], str]) -> Markup:
    """One row per bar on a line of `total` milliseconds, with a tick where its first byte came."""
    end = max([total, 1, *(bar.end for bar in bars)])
    width = WIDTH - LEFT - RIGHT - 60
    parts = []
    for row, bar in enumerate(bars):
        y, x = TOP + row * ROW, LEFT + 60
        start, stop = x + bar.start * width // end, x + bar.end * width // end
        kind = "s1" if bar.good else "bad"
        parts.append(f'<text x="{x - 8}" y="{y + 15}" text-anchor="end">{escape(bar.name[:20])}</text>')
        parts.append(f'<rect class="wash" x="{x}" y="{y}" width="{width}" height="20"/>')
        parts.append(f'<rect class="{kind}" x="{start}" y="{y}" width="{max(2, stop - start)}" height="20"/>')
        if bar.mark is not None:
            mark = x + bar.mark * width // end
            parts.append(f'<path class="axis" stroke-width="2" d="M{mark} {y - 3}v26"/>')
    height = TOP + len(bars) * ROW + BOTTOM
    for place in range(STEPS + 1):
        x = LEFT + 60 + width * place // STEPS
        anchor = "end" if place == STEPS else "middle"
        parts.append(f'<text x="{x}" y="{height - 6}" text-anchor="{anchor}">{escape(label(end * place // STEPS))}</text>')
    said = ". ".join(f"{bar.name}: from {label(bar.start)} to {label(bar.end)}{'' if bar.good else ', failed'}" for bar in bars)
    return _svg(id, title, said, height, "".join(parts))


def _svg(id: str, title: str, said: str, height: int, inside: str) -> Markup:
    """`inside` is markup of this file alone; what came from elsewhere in it is escaped already."""
    head = Markup('<svg class="chart wide" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title {}-desc">').format(
        WIDTH, height, id, id
    )
    named = Markup('<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>').format(id, title, id, said)
    return head + named + Markup(inside) + Markup("</svg>")  # noqa: S704 - see above


def _columns(values: Sequence[int], floor: Sequence[int], top: int, kind: str) -> str:
    """All columns of a series are one path: a chart of three months stays small."""
    path = []
    for place, (value, below) in enumerate(zip(values, floor, strict=True)):
        low, high = _y(below, top), _y(below + value, top)
        if low > high:
            x, width = _x(place, len(values))
            path.append(f"M{x} {low}h{width}V{high}h-{width}z")
    return f'<path class="{kind}" d="{"".join(path)}"/>' if path else ""


def _axis(top: int, step: int, label: Callable[[int], str]) -> str:
    lines = []
    for value in range(0, top + 1, step):
        y = _y(value, top)
        lines.append(f'<path class="{"grid" if value else "axis"}" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        lines.append(f'<text x="{LEFT - 7}" y="{y + 4}" text-anchor="end">{escape(label(value))}</text>')
    return "".join(lines)


def _below(columns: Sequence[str]) -> str:
    every = -(-len(columns) // LABELS_MAX) or 1
    shown = [(place, name) for place, name in enumerate(columns) if place % every == 0]
    texts = []
    for place, name in shown:
        x, width = _x(place, len(columns))
        texts.append(f'<text x="{x + width // 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(name)}</text>')
    return "".join(texts)


def _hint(place: int, count: int, text: str) -> str:
    """What a pointer over a column is told."""
    x, width = _x(place, count)
    height = HEIGHT - TOP - BOTTOM
    return f'<rect x="{x}" y="{TOP}" width="{width}" height="{height}" fill="transparent"><title>{escape(text)}</title></rect>'


def _x(place: int, count: int) -> tuple[int, int]:
    """Where a column begins, and how wide it is."""
    room = WIDTH - LEFT - RIGHT
    start, end = LEFT + room * place // count, LEFT + room * (place + 1) // count
    gap = 1 if end - start < 8 else (end - start) // 5
    return start + gap // 2, max(1, end - start - gap)


def _y(value: int, top: int) -> int:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM) // top


def _step(highest: int) -> int:
    """1, 2 or 5 times a power of ten, so that at most `STEPS` + 1 lines reach the highest value."""
    unit = 1
    while True:
        for factor in (1, 2, 5):
            if factor * unit * STEPS >= highest:
                return factor * unit
        unit *= 10
