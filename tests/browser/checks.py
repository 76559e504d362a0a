"""What every page must hold to: one title and heading, forms that post to us, links that lead somewhere, a keyboard that reaches it."""

from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page

from tests.browser import pages
from tests.browser.axe import assert_accessible
from tests.browser.house import Home
from tests.browser.pages import Route
from tests.browser.windows import DESKTOP, PHONE

TABS_MAX = 20
"""So many times at most the Tab key is pressed on one page: through the header, the navigation and the first controls of the content."""
READ = """() => {
  const shown = (element) => element.checkVisibility({ checkVisibilityCSS: true });
  return {
    lang: document.documentElement.lang, title: document.title, headings: [...document.querySelectorAll("h1")].map((h) => h.innerText),
    mains: document.querySelectorAll("main").length,
    links: [...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href")),
    forms: [...document.forms].map((form) => ({
      method: form.method, action: form.getAttribute("action") || location.pathname, enctype: form.enctype,
      token: !!form.elements.namedItem("csrf"),
      button: !!form.querySelector("button:not([type=button]):not([type=reset]), input[type=submit]"),
      shown: shown(form),
    })),
    styled: [...document.querySelectorAll("[style], style, script:not([src])")].map((e) => e.outerHTML.slice(0, 100)),
    handlers: [...document.querySelectorAll("*")].flatMap((e) => e.getAttributeNames().filter((name) => name.startsWith("on"))),
    positive: [...document.querySelectorAll("[tabindex]")].filter((e) => e.tabIndex > 0).length,
  };
}"""
FOCUS = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const ring = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  const label = element.outerHTML.slice(0, 120);
  return { label, ring, inside: box.bottom > 0 && box.top < innerHeight && box.width > 0, skip: element.classList.contains("skip") };
}"""
WIDER = """() => {
  const room = document.documentElement.clientWidth, wide = [...document.querySelectorAll("main *, header *, footer *")];
  if (document.documentElement.scrollWidth <= room) return null;
  return wide.filter((e) => e.getBoundingClientRect().right > room + 1).slice(0, 5).map((e) => e.outerHTML.slice(0, 120));
}"""


async def assert_can_be_used(page: Page, route: Route, home: Home, *, signed_in: bool) -> None:
    """All of it, on a page that is opened here."""
    await _open(page, route, home)
    await assert_whole(page)
    await assert_keyboard_reaches_it(page)
    await assert_looks(page)
    await assert_leads_somewhere(page, signed_in=signed_in)


async def assert_needs_no_javascript(page: Page, route: Route, home: Home) -> None:
    """`page` is of a window without it."""
    await _open(page, route, home)
    assert await page.locator("h1").is_visible()
    assert await page.locator("[data-js]:visible").count() == 0


async def _open(page: Page, route: Route, home: Home) -> None:
    answer = await page.goto(pages.address(route, home))
    assert answer is not None
    assert answer.status == 200


async def assert_whole(page: Page) -> None:
    """The document alone."""
    seen = await page.evaluate(READ)
    assert seen["lang"] == "en"
    assert seen["title"].strip()
    assert len(seen["headings"]) == 1, seen["headings"]
    assert seen["headings"][0].strip()
    assert seen["mains"] == 1
    assert not seen["styled"], "inline styles and scripts, which our own policy refuses"
    assert not seen["handlers"]
    assert not seen["positive"], "the order of the Tab key is that of the document"


async def assert_leads_somewhere(page: Page, *, signed_in: bool) -> None:
    """Every form is taken by a route of ours, every link leads to one."""
    seen = await page.evaluate(READ)
    for form in seen["forms"]:
        _assert_posts(form, signed_in)
    dead = {link for link in seen["links"] if _is_dead(link)}
    assert not dead, "links to nowhere"


def _assert_posts(form: dict[str, Any], signed_in: bool) -> None:
    assert form["button"], f"no button without JavaScript: {form}"
    assert form["enctype"] == "application/x-www-form-urlencoded", form
    assert pages.known(urlsplit(form["action"]).path, form["method"].upper()), f"a form to nowhere: {form}"
    assert form["method"] == "get" or form["token"] or not signed_in, f"a form without the session's token: {form}"


def _is_dead(link: str) -> bool:
    found = urlsplit(link)
    if found.scheme or found.netloc:
        return found.scheme not in ("https", "http", "mailto")
    return bool(found.path) and not pages.known(found.path)


async def assert_keyboard_reaches_it(page: Page) -> None:
    """Tab goes from control to control, each is seen to have the focus, and the first one skips to the content."""
    await page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    places = []
    for _ in range(TABS_MAX):
        await page.keyboard.press("Tab")
        place = await page.evaluate(FOCUS)
        if place is None or (places and place["label"] == places[0]["label"]):
            break
        places.append(place)
    assert places, "nothing can be reached"
    assert places[0]["skip"], f"the first stop is not the way past the navigation: {places[0]['label']}"
    assert not [place["label"] for place in places if not place["ring"]], "the focus cannot be seen"
    assert not [place["label"] for place in places if not place["inside"]], "the focus is outside of what is seen"


async def assert_looks(page: Page) -> None:
    """axe in full once, its rules about looks for each width and theme, and nothing wider than a phone."""
    await page.set_viewport_size(DESKTOP)
    await page.emulate_media(color_scheme="light")
    await assert_accessible(page)
    await page.emulate_media(color_scheme="dark")
    await assert_accessible(page, looks_only=True)
    await page.set_viewport_size(PHONE)
    await assert_accessible(page, looks_only=True)
    await page.emulate_media(color_scheme="light")
    await assert_accessible(page, looks_only=True)
    wider = await page.evaluate(WIDER)
    assert wider is None, f"{page.url} is wider than a phone: {wider}"
