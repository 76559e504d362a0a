"""Charts: nothing of a name becomes markup, nothing is styled inline, and every pixel belongs to a number."""

import re
from xml.etree import ElementTree

from gateway.dashboard.charts import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Bar, Series, stacked, timeline

EVIL = "<script>alert(1)</script>\"'&"
SVG = "{http://www.w3.org/2000/svg}"


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(markup).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def heights(path: str) -> list[int]:
    """Of the columns of one series."""
    return [int(low) - int(high) for low, high in re.findall(r"M\d+ (\d+)h\d+V(\d+)", path)]


def test_the_height_of_a_column_is_its_share_of_the_axis_and_columns_stand_on_each_other() -> None:
    room = HEIGHT - TOP - BOTTOM
    chart = stacked(["a", "b"], [Series("x", [100, 0]), Series("y", [300, 200])], id="c", title="t", label=str)
    first, second = (path.get("d") or "" for path in parsed(chart).findall(f"{SVG}path") if path.get("class") in ("s1", "s2"))
    assert heights(first) == [room // 4]
    assert heights(second) == [room * 3 // 4, room // 2]
    assert re.findall(r"M\d+ (\d+)", second) == [str(HEIGHT - BOTTOM - room // 4), str(HEIGHT - BOTTOM)]


def test_a_chart_says_what_it_shows_to_who_cannot_see_it() -> None:
    image = parsed(stacked(["mon", "tue"], [Series("x", [1, 2])], id="spent", title="Spent by model", label=lambda value: f"${value}"))
    assert image.get("role") == "img"
    assert image.get("aria-labelledby") == "spent-title spent-desc"
    assert image.findtext(f"{SVG}title") == "Spent by model"
    assert "2 columns, the highest is $2, all together $3" in (image.findtext(f"{SVG}desc") or "")
    assert [hint.findtext(f"{SVG}title") for hint in image.findall(f"{SVG}rect")] == ["mon: $1", "tue: $2"]


def test_no_name_becomes_markup_and_nothing_is_styled_inline() -> None:
    bars = [Bar(EVIL, 0, 5, 2, False)]
    drawn = (
        stacked([EVIL], [Series(EVIL, [1])], id="c", title=EVIL, label=lambda _: EVIL),
        timeline(bars, 9, id="t", title=EVIL, label=str),
    )
    for chart in drawn:
        assert "<script" not in chart
        assert "style" not in chart
        assert EVIL in (parsed(chart).findtext(f"{SVG}title") or "")


def test_nothing_at_all_and_a_great_deal_are_charts_too() -> None:
    for values in ([], [0, 0, 0], [10**18] * 400, [1] * 2000):
        image = parsed(stacked([str(place) for place in range(len(values))], [Series("x", values)], id="c", title="t", label=str))
        for path in image.findall(f"{SVG}path"):
            found = [int(number) for number in re.findall(r"M(\d+)", path.get("d") or "")]
            assert all(LEFT <= x <= WIDTH for x in found)
    assert parsed(timeline([], 0, id="t", title="t", label=str)).get("role") == "img"


def test_more_series_than_colours_are_never_drawn_in_a_colour_that_is_not_there() -> None:
    chart = stacked(["a"], [Series(str(number), [1]) for number in range(12)], id="c", title="t", label=str)
    assert set(re.findall(r'class="(s\d+)"', chart)) == {f"s{number}" for number in range(1, 9)}


def test_a_timeline_has_a_bar_for_every_attempt_and_says_which_failed() -> None:
    bars = [Bar("one", 0, 40, None, False), Bar("two", 40, 100, 60, True)]
    image = parsed(timeline(bars, 100, id="t", title="Attempts", label=lambda ms: f"{ms} ms"))
    assert image.findtext(f"{SVG}desc") == "one: from 0 ms to 40 ms, failed. two: from 40 ms to 100 ms"
    assert [bar.get("class") for bar in image.findall(f"{SVG}rect")] == ["wash", "bad", "wash", "s1"]
