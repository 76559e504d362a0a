"""Pictures of the main pages, at desktop and phone width, in light and dark: `make screenshots` writes them to docs/screenshots.

Run: python -m tests.browser.screenshots [--only overview,usage] [--out FOLDER]
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Final

from playwright.async_api import Browser

from tests.browser.chromium import chromium
from tests.browser.house import House
from tests.browser.showroom import showroom
from tests.browser.watch import Watch
from tests.browser.windows import DESKTOP, PHONE, window

OUT: Final = Path(__file__).parents[2] / "docs" / "screenshots"
BYTES_MAX: Final = 400_000
HEIGHT_MAX: Final = {"desktop": 1400, "phone": 1600}
WIDTHS: Final = {"desktop": DESKTOP, "phone": PHONE}
READY_SECONDS_MAX: Final = 60
PAGES: Final = {
    "overview": "/dashboard", "usage": "/dashboard/usage", "generations": "/dashboard/generations",
    "generation": "/dashboard/generations/{generation}", "keys": "/dashboard/keys", "key": "/dashboard/keys/{key_id}",
    "logs": "/dashboard/logs", "log": "/dashboard/logs/{log}", "billing": "/dashboard/billing", "privacy": "/dashboard/privacy",
    "routing": "/dashboard/routing?model={model}", "playground": "/dashboard/playground", "members": "/dashboard/members",
    "settings": "/dashboard/settings", "models": "/models", "model": "/models/{model}", "landing": "/", "docs": "/docs",
    "status": "/status",
    "operator": "/operator", "operator-health": "/operator/health", "login": "/login",
}  # fmt: skip
NOBODY: Final = frozenset(("landing", "login"))


async def shoot(out: Path, names: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tollway-showroom-") as folder:
        async with showroom(Path(folder)) as house, chromium() as browser:
            _wait_until_added_up(house)
            for width in WIDTHS:
                for theme in ("light", "dark"):
                    await _round(browser, house, out, names, width, theme)


async def _round(browser: Browser, house: House, out: Path, names: list[str], width: str, theme: str) -> None:
    """Every page once in a window of this width and theme; the browser's complaints end the run."""
    watch = Watch()
    async with contextlib.AsyncExitStack() as stack:
        options = {"viewport": WIDTHS[width], "color_scheme": theme, "device_scale_factor": 1 if width == "desktop" else 1.5}
        inside = await window(stack, browser, watch, house.origin, house.tokens["ann"], **options)
        outside = await window(stack, browser, watch, house.origin, **options)
        for name in names:
            page = outside if name in NOBODY else inside
            answer = await page.goto(PAGES[name].format(**house.home.ids))
            assert answer is not None
            assert answer.status == 200, (name, answer.status)
            high = await page.evaluate("document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": WIDTHS[width]["width"], "height": min(max(high, WIDTHS[width]["height"]), HEIGHT_MAX[width])}
            file = out / f"{name}-{width}-{theme}.png"
            await page.screenshot(path=file, full_page=True, clip=clip)
            assert file.stat().st_size < BYTES_MAX, f"{file} has {file.stat().st_size} bytes"
            print(file, flush=True)
    watch.assert_clean()


def _wait_until_added_up(house: House) -> None:
    """The seals and the sums of thirty days are made when the server has started."""
    until = time.monotonic() + READY_SECONDS_MAX
    while b"still being added up" in house.look("ann", "/dashboard").body or not house.rows_of("usage_hour", "hour"):
        assert time.monotonic() < until, "the history was not added up"
        time.sleep(0.5)
    house.home.ids["log"] = house.rows_of("content", "generation_id")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PAGES), help="names of pages, with commas")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := [name for name in names if name not in PAGES]:
        parser.error(f"--only: there is no page {unknown[0]!r}; use {', '.join(PAGES)}")
    asyncio.run(shoot(args.out, names))


if __name__ == "__main__":
    main()
