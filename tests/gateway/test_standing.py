"""An account's state changed over HTTP: the audit log says by whom, and a mail that cannot be sent changes no answer."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from gateway.people import People
from gateway.settings import Settings
from metering.database import open_database
from policy import audit
from policy.account_states import ACTIVE
from tests.browser.house import House, house
from tests.fakes.process import fake_provider
from tests.running import SECRET

in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Its mails have nowhere to go: the folder for them is a file."""
    folder = tmp_path_factory.mktemp("standing")
    (folder / "full").touch()
    with fake_provider() as fake:
        async with house(fake, folder, TOLLWAY_MAIL_FOLDER=str(folder / "full")) as built:
            yield built


async def deeds(home: House, account_id: str) -> list[tuple[str, str]]:
    """Who did what to the state of the account, oldest first."""
    rows = await home.database.read(audit.page, after=0, account_id=account_id)
    states = ("account.suspend", "account.resume", "account.close", "account.cancel")
    return [(row.actor, row.action) for row in rows if row.action in states]


@in_one_loop
async def test_what_an_operator_does_to_an_account_is_logged_as_this_persons_deed(home: House) -> None:
    account_id = home.abroad.account.account_id
    where = f"/operator/accounts/{account_id}"
    assert home.post("operator", f"{where}/suspend", {"reason": "an unpaid invoice"}).status == 303
    assert home.post("operator", f"{where}/resume", {}).status == 303
    person = home.people["operator"]
    assert await deeds(home, account_id) == [(person, "account.suspend"), (person, "account.resume")]


@in_one_loop
async def test_a_mail_that_cannot_be_written_does_not_change_the_answer_of_a_page(home: House) -> None:
    account_id = home.home.account.account_id
    assert home.post("owner", "/dashboard/privacy/close", {"account_id": account_id}).headers["location"].endswith("?done=account.closing")
    assert home.post("owner", "/dashboard/privacy/close/cancel", {}).headers["location"].endswith("?done=account.cancelled")
    person = home.people["owner"]
    assert await deeds(home, account_id) == [(person, "account.close"), (person, "account.cancel")]


@in_one_loop
async def test_a_closing_is_answered_as_done_when_the_database_fails_before_its_owners_are_told(home: House) -> None:
    account = home.abroad.account
    before = home.api(account, "GET", "account/close")
    with without_names(home):
        closed = home.api(account, "POST", "account/close", {"key": account.key, "confirm": account.account_id})
        cancelled = home.api(account, "POST", "account/close/cancel", {"key": account.key})
    assert (closed["state"], closed["balance_usd"]) == ("closing", before["balance_usd"])
    assert cancelled == before
    assert home.tollway.log.read_text().count(f"the owners of {account.account_id} were not told") == 2


@pytest.mark.parametrize("url", ["sqlite:////nowhere/tollway.db", "postgresql://tollway@127.0.0.1:1/tollway"])
async def test_owners_who_cannot_be_read_are_logged_and_nothing_is_raised(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with contextlib.aclosing(open_database(url)) as database:
        people = People.open(Settings(secret_key=SECRET), database)
        await people.tell_owners(database, "acc_1", ACTIVE)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "the owners of acc_1 were not told that it is active: DatabaseUnavailable"


@contextlib.contextmanager
def without_names(home: House) -> Iterator[None]:
    """While the table of accounts' names is away: letters to owners need it, closing an account does not."""
    with contextlib.closing(sqlite3.connect(home.file, isolation_level=None, timeout=10)) as connection:
        connection.execute("ALTER TABLE account_profile RENAME TO away")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE away RENAME TO account_profile")
