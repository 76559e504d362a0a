"""`tollway person`: the operator blocks, unblocks, makes operators and prints links, each deed in the audit log by id alone."""

import pytest

from tests import books
from tests.warm import run

EMAIL = "Ann@Example.com"


async def test_the_operators_deeds_about_people_work_and_stand_in_the_audit_log_without_an_address(migrated_database_url: str) -> None:
    environment = {"TOLLWAY_DATABASE_URL": migrated_database_url, "TOLLWAY_PUBLIC_URL": "https://tollway.example/"}
    made = run(("person", "sign-in-link", "--email", EMAIL), environment)
    assert (made.returncode, made.stdout.startswith("https://tollway.example/login/link?token=")) == (0, True), made.stderr
    for command in (("operator",), ("operator", "--remove"), ("block",), ("unblock",)):
        done = run(("person", *command, "--email", EMAIL), environment)
        assert done.returncode == 0, done.stderr
    listed = run(("person", "list"), environment).stdout.splitlines()
    assert (len(listed), "ann@example.com" in listed[1]) == (2, True)
    deeds = await books.sql(migrated_database_url, "SELECT action, subject, change FROM audit ORDER BY seq")
    assert [str(action) for action, *_ in deeds] == [
        *("account.create", "person.link", "person.operator", "person.operator", "person.block", "person.unblock")
    ]
    assert "ann@" not in str(deeds).lower()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("block", "--email", "nobody@example.com"), "no person of this address"),
        (("operator", "--email", "nobody@example.com"), "no person of this address"),
        (("sign-in-link", "--email", "nobody"), "--email: must be an e-mail address"),
    ],
)
def test_what_cannot_be_done_is_one_line(migrated_database_url: str, arguments: tuple[str, ...], problem: str) -> None:
    done = run(("person", *arguments), {"TOLLWAY_DATABASE_URL": migrated_database_url})
    assert (done.returncode, problem in done.stderr, done.stderr.count("\n")) == (1, True, 1), done.stderr


def test_a_link_for_a_blocked_person_is_not_made(migrated_database_url: str) -> None:
    environment = {"TOLLWAY_DATABASE_URL": migrated_database_url}
    run(("person", "sign-in-link", "--email", EMAIL), environment)
    run(("person", "block", "--email", EMAIL), environment)
    done = run(("person", "sign-in-link", "--email", EMAIL), environment)
    assert (done.returncode, "is blocked" in done.stderr) == (1, True)
