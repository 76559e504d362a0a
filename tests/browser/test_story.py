"""The whole story in a browser: from signing up to a closed account, with the API called by its own SDK in between."""

import asyncio
import csv
import io
import re
from decimal import Decimal

from openai import AsyncOpenAI
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.house import House
from tests.browser.watch import Watch
from tests.path.person import Browser

EMAIL, PASSWORD = "ann@example.org", "correct horse battery staple"
FIRST, KEPT, AFTER = "What does a toll cost?", "Please remember the word heron.", "Please forget the word osprey."
SEEN_SECONDS = 1.2
"""A change of the choice reaches every process within a second."""


async def test_the_story_of_an_account(visit: Visit, lived_in: House, watch: Watch) -> None:
    page = await visit("nobody")
    await signs_up(page, lived_in)
    account_id = await named(page)
    await expect(page.locator(".balance")).to_contain_text("$0.00")
    added = lived_in.tollway.cli("credit", "add", "--account", account_id, "--usd", "5", "--reason", "a grant to begin with")
    assert added.returncode == 0, added.stderr
    key = await makes_a_key(page)

    first, cost = await asks(lived_in, key, FIRST)
    await sees_the_spend(page, first, cost)
    await chooses(page, "full")
    kept, more = await asks(lived_in, key, KEPT)
    await reads_the_log(page, kept)
    await chooses(page, "none")
    after, last = await asks(lived_in, key, AFTER)
    await sees_that_nothing_was_kept(page, watch, kept, (first, after))
    await deletes_the_log(page, watch, kept)
    await exports_the_month(page, {first: cost, kept: more, after: last})
    await closes_the_account(page, watch, account_id)


async def signs_up(page: Page, house: House) -> None:
    await page.goto("/")
    await page.get_by_role("link", name="Sign up").first.click()
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    link = await asyncio.to_thread(Browser(house.tollway, house.mails, EMAIL).wait_for, "/link/verify")
    await page.goto(link)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Confirm and sign in").click()
    await page.wait_for_url(re.compile("/dashboard"))


async def named(page: Page) -> str:
    """The account's id, as the page to close it says it."""
    await page.goto("/dashboard/privacy")
    found = re.search(r"acc_\w+", await page.get_by_label(re.compile("to close it")).evaluate("input => input.labels[0].innerText"))
    assert found
    return found[0]


async def makes_a_key(page: Page) -> str:
    await page.goto("/dashboard/keys")
    await page.get_by_label("Name").fill("My first app")
    await page.get_by_label("Limit in USD").fill("2.50")
    await page.get_by_role("button", name="Make the key").click()
    key = await page.locator("#key").inner_text()
    assert key.startswith("sk-tw-v1-")
    await page.get_by_role("link", name="To all keys").click()
    row = page.get_by_role("row", name=re.compile("My first app"))
    await expect(row).to_contain_text("of $2.5")
    assert key not in await page.content()
    return key


async def asks(house: House, key: str, text: str) -> tuple[str, Decimal]:
    """By OpenAI's own SDK: the generation's id, and what it cost in USD."""
    async with AsyncOpenAI(base_url=house.tollway.base_url, api_key=key, max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(model="acme/one", messages=[{"role": "user", "content": text}])
    usage = raw.parse().usage
    assert usage is not None
    found = re.search(r'"cost":\s*([0-9.eE+-]+)', raw.text)
    assert found, raw.text
    return raw.headers["x-generation-id"], Decimal(found[1])


async def sees_the_spend(page: Page, generation: str, cost: Decimal) -> None:
    assert cost > 0
    await page.goto("/dashboard")
    await expect(page.locator(".card.figure", has_text="Spent today")).to_contain_text("1 requests")
    await page.get_by_role("region", name="The newest generations").get_by_role("link").first.click()
    await expect(page.locator("main")).to_contain_text(generation)
    await expect(page.locator(".card.figure", has_text="Charged")).to_contain_text(f"${cost:f}")
    await expect(page.get_by_role("region", name="Price").get_by_role("row", name=re.compile("^Charged"))).to_contain_text(f"${cost:f}")


async def chooses(page: Page, level: str) -> None:
    await page.goto("/dashboard/privacy")
    await page.locator(f"input[name=logging][value={level}]").check()
    await page.get_by_role("button", name="Save the choice").click()
    await expect(page.get_by_role("status").first).to_be_visible()
    await expect(page.locator(f"input[name=logging][value={level}]")).to_be_checked()
    await asyncio.sleep(SEEN_SECONDS)


async def reads_the_log(page: Page, generation: str) -> None:
    await page.goto("/dashboard/logs")
    await page.get_by_role("link", name=generation).click()
    await expect(page.locator("section", has_text="Asked").first).to_contain_text(KEPT)
    await expect(page.get_by_role("heading", name="Answered", exact=True)).to_be_visible()


async def sees_that_nothing_was_kept(page: Page, watch: Watch, kept: str, others: tuple[str, ...]) -> None:
    await page.goto("/dashboard/logs")
    await expect(page.get_by_role("link", name=kept)).to_be_visible()
    with watch.allow(404):
        for generation in others:
            assert generation not in await page.locator("main").inner_text()
            answer = await page.context.request.get(f"/dashboard/logs/{generation}")
            assert answer.status == 404


async def deletes_the_log(page: Page, watch: Watch, generation: str) -> None:
    await page.goto(f"/dashboard/logs/{generation}")
    with watch.confirm():
        await page.get_by_role("button", name=re.compile("Delete")).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Logs")
    await expect(page.locator("main")).to_contain_text("Nothing is kept.")


async def exports_the_month(page: Page, costs: dict[str, Decimal]) -> None:
    """The file has the generations, each with what its answer said that it cost."""
    await page.goto("/dashboard/billing")
    async with page.expect_download() as begun:
        await page.get_by_role("listitem").filter(has_text="Every request").get_by_role("link", name="CSV").click()
    file = await (await begun.value).path()
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert {row["id"]: Decimal(row["charge_usd"]) for row in rows} == costs


async def closes_the_account(page: Page, watch: Watch, account_id: str) -> None:
    await page.goto("/dashboard/privacy")
    await page.get_by_label(re.compile("to close it")).fill(account_id)
    with watch.confirm():
        await page.get_by_role("button", name="Close the account").click()
        await expect(page.get_by_role("heading", name="The account is closing")).to_be_visible()
