"""What must not work at the door: cookies that are fixed or replayed, forms that are forged, guesses, and ways to another site."""

import json
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.path import sign_in_fixtures
from tests.path.person import PASSWORD, SESSION, Browser, token
from tests.path.sign_in_fixtures import MASTER_KEYS, NEW, New, new_sign_in, replayed, sql
from tests.running import Tollway

provider, tollway, new, ann = sign_in_fixtures.provider, sign_in_fixtures.tollway, sign_in_fixtures.new, sign_in_fixtures.ann


def test_every_answer_is_the_same_whether_or_not_the_person_exists(new: New, ann: Browser) -> None:
    def answers(email: str) -> list[tuple[int, str]]:
        browser = new()
        posts = [
            ("/signup", {"email": email, "password": NEW}),
            ("/reset", {"email": email}),
            ("/login", {"email": email, "password": NEW + "!"}),
        ]
        seen = [browser.post(path, form) for path, form in posts]
        challenges = [(each.status, each.location or each.text.replace(email, "EMAIL")) for each in seen]
        return [(status, text.partition('name="challenge"')[0]) for status, text in challenges]

    assert answers(ann.email) == answers("nobody-at-all@example.com")
    assert ann.sign_in().status == 303


def test_a_session_that_somebody_planted_is_not_the_one_that_is_used(new: New, ann: Browser) -> None:
    victim, planted = new(), ann.cookies[SESSION]
    victim.email = ann.email
    for value in (planted, "x" * 43):
        victim.cookies = {SESSION: value}
        entered = victim.sign_in()
        assert entered.cookies[SESSION] not in (planted, value)
        thief = new()
        thief.cookies = {SESSION: value}
        assert not thief.is_in


def test_a_cookie_is_worth_nothing_after_signing_out(ann: Browser) -> None:
    before = ann.cookies[SESSION]
    assert replayed(ann, before)
    assert ann.post("/logout").cookies[SESSION] == ""
    assert not replayed(ann, before)


def test_a_cookie_is_worth_nothing_after_the_password_changed_also_on_the_device_that_changed_it(new: New, ann: Browser) -> None:
    other = new()
    other.email = ann.email
    other.sign_in()
    mine, theirs = ann.cookies[SESSION], other.cookies[SESSION]
    assert ann.post("/dashboard/settings/password", {"current": NEW, "password": NEW}).status == 400
    assert ann.post("/dashboard/settings/password", {"current": PASSWORD, "password": NEW}).status == 303
    assert ann.is_in
    assert not replayed(ann, mine)
    assert not replayed(ann, theirs)
    assert (other.sign_in().status, other.sign_in(NEW).status) == (401, 303)


def test_a_cookie_is_worth_nothing_after_a_change_of_rights_a_block_or_a_reset(ann: Browser) -> None:
    def operator() -> None:
        assert ann.tollway.cli("person", "operator", "--email", ann.email).returncode == 0

    def block() -> None:
        assert ann.tollway.cli("person", "block", "--email", ann.email).returncode == 0
        assert ann.sign_in().status == 401
        assert ann.tollway.cli("person", "unblock", "--email", ann.email).returncode == 0

    def reset() -> None:
        ann.cookies = {}
        ann.post("/reset", {"email": ann.email})
        link = ann.wait_for("/link/reset")
        assert ann.get(link).status == 200
        assert ann.post("/link/reset", {"token": token(link), "password": PASSWORD}).location == "/login?done=password.changed"
        assert ann.post("/link/reset", {"token": token(link), "password": NEW}).status == 401

    for change in (operator, block, reset):
        before = ann.cookies[SESSION]
        assert replayed(ann, before)
        change()
        assert not replayed(ann, before)
        assert ann.sign_in().status == 303


def test_sessions_are_listed_and_ended_one_by_one_and_all_at_once(new: New, ann: Browser) -> None:
    other = new()
    other.email = ann.email
    other.sign_in()
    listed = ann.get("/dashboard/settings").text
    digest = listed.partition("/dashboard/settings/sessions/")[2].partition("/end")[0]
    assert not replayed(ann, digest)  # what is kept, and shown, is not what lets in
    stranger = new()
    stranger.sign_up()
    assert stranger.post(f"/dashboard/settings/sessions/{digest}/end").status == 404
    assert other.is_in
    assert ann.post(f"/dashboard/settings/sessions/{digest}/end").status == 303
    assert (ann.is_in, other.is_in) == (True, False)
    other.sign_in()
    assert ann.post("/dashboard/settings/sessions/end").location == "/login?done=signed.out"
    assert (ann.is_in, other.is_in, stranger.is_in) == (False, False, True)


POSTS = (
    *("/logout", "/confirm", "/link/invite", "/dashboard/settings/profile", "/dashboard/settings/mails", "/dashboard/settings/password"),
    *("/dashboard/settings/email", "/dashboard/settings/totp/begin", "/dashboard/settings/totp/confirm", "/dashboard/settings/totp/remove"),
    *("/dashboard/settings/passkeys", "/dashboard/settings/passkeys/remove", "/dashboard/settings/single-sign-on"),
    *("/dashboard/settings/single-sign-on/remove", "/dashboard/settings/sessions/end"),
)


ANYBODYS = ("/signup", "/login", "/login/code", "/login/passkey", "/login/link", "/link/verify", "/reset", "/link/reset", "/link/email")


def test_a_form_of_another_site_another_session_or_nowhere_is_refused_everywhere(new: New, ann: Browser) -> None:
    stranger = new()
    stranger.sign_up()
    before = sql(ann, "SELECT * FROM person WHERE email = ?", ann.email), sql(ann, "SELECT COUNT(*) FROM session")
    theirs, mine = stranger.csrf(), ann.csrf()
    evil = {"Origin": "https://evil.example"}
    for path in POSTS:
        forged = [
            ann.post(path, csrf=False),
            ann.post(path, {"csrf": theirs}),
            ann.post(path, {"csrf": mine[:-1]}),
            ann.post(path, {"csrf": mine}, **evil),
            ann.post(path, {"csrf": mine}, Origin="null"),
            ann.post(path, {"csrf": mine}, **{"Sec-Fetch-Site": "cross-site"}),
            ann.post(path, {"csrf": mine}, **{"Sec-Fetch-Site": "same-site"}),
            ann.send("POST", path, f"csrf={mine}".encode()),
        ]
        assert {seen.status for seen in forged} == {403}, path
    for path in ANYBODYS:
        assert {ann.post(path, **evil).status, ann.send("POST", path).status} == {403}, path
    assert (sql(ann, "SELECT * FROM person WHERE email = ?", ann.email), sql(ann, "SELECT COUNT(*) FROM session")) == before
    assert ann.is_in


def test_who_is_not_signed_in_changes_nothing_and_is_led_to_where_they_can(new: New) -> None:
    browser = new()
    for path in POSTS:
        assert browser.post(path).location.startswith("/login?next="), path
    assert browser.get("/dashboard/settings").location == "/login?next=/dashboard/settings"


ABROAD = (
    *("https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "/%0d%0aSet-Cookie:x=y"),
    *("/\t/evil.example", "http:evil.example", "/a\r\nSet-Cookie: x=y", " //evil.example", "///evil.example", "/\x00/evil.example"),
)


@pytest.mark.parametrize("where", ABROAD)
def test_nobody_is_led_to_another_site(ann: Browser, where: str) -> None:
    seen = [
        ann.get(f"/login?next={quote(where)}"),
        ann.get(f"/signup?next={quote(where)}"),
        ann.post("/confirm", {"password": PASSWORD, "next": where}),
        ann.sign_in(next=where),
    ]
    for each in seen:
        found = urlsplit(each.location)
        assert (each.status, found.scheme, found.netloc) == (303, "", ""), each.location
        assert each.location[:2] not in ("//", "/\\")
        assert "x" not in each.cookies


def test_thirty_wrong_passwords_are_five_and_then_delays_also_for_the_right_one_and_not_elsewhere(new: New, ann: Browser) -> None:
    thief = new()
    thief.email = ann.email
    seen = [thief.sign_in(f"{NEW} {number}") for number in range(30)]
    assert [each.status for each in seen] == [401] * 5 + [429] * 25
    assert 1 <= int(seen[5].headers["retry-after"]) <= 30
    assert "Too many attempts" in seen[5].problem
    assert thief.sign_in().status == 429
    assert ann.is_in
    bob = new()
    bob.sign_up()
    assert bob.sign_in().status == 303


def test_an_odd_form_is_refused_with_a_page_and_no_session(ann: Browser) -> None:
    odd: list[tuple[int, bytes, str]] = [
        (413, b"email=" + b"x" * (1 << 20), "application/x-www-form-urlencoded"),
        (400, b"&".join(b"f%d=1" % n for n in range(600)), "application/x-www-form-urlencoded"),
        (400, b"email=%ff%fe&password=x", "application/x-www-form-urlencoded"),
        (400, b"email=a%40b.c", "application/x-www-form-urlencoded"),
        (400, b"email=a&email=b&password=x", "application/x-www-form-urlencoded"),
        (415, b'{"email": "a@b.c", "password": "x"}', "application/json"),
        (401, b"email=%00&password=%00", "application/x-www-form-urlencoded"),
        (401, b"email=" + b"a" * 500_000 + b"&password=" + b"p" * 500_000, "application/x-www-form-urlencoded"),
    ]
    for status, body, kind in odd:
        seen = ann.send("POST", "/login", body, {"Origin": ann.origin, "Content-Type": kind})
        assert (seen.status, seen.headers["content-type"]) == (status, "text/html; charset=utf-8"), body[:50]
        assert SESSION not in seen.cookies


@pytest.mark.parametrize("field", sorted(MASTER_KEYS))
def test_a_field_that_a_form_does_not_have_sets_nothing(new: New, ann: Browser, field: str) -> None:
    before = sql(ann, "SELECT * FROM person WHERE email = ?", ann.email)
    profile = ann.post(
        "/dashboard/settings/profile", {"name": "Ann", "time_zone": "UTC", "theme": "dark", field: MASTER_KEYS[field] or "1"}
    )
    signed = new().post("/signup", {"email": "mass@example.com", "password": PASSWORD, field: "1"})
    assert (profile.status, signed.status) == (400, 400)
    assert sql(ann, "SELECT * FROM person WHERE email = ?", ann.email) == before
    assert sql(ann, "SELECT * FROM person WHERE email = 'mass@example.com'") == []


def test_the_cookie_is_for_this_host_alone_and_no_script_reads_it(new: New, ann: Browser) -> None:
    for seen, names in ((new_sign_in(ann), (SESSION,)), (new().get("/login/sso"), ("tollway_sso",))):
        said = seen.headers["set-cookie"].lower()
        assert said.split("=")[0] in names
        assert {"httponly", "samesite=lax", "path=/"} <= {part.strip() for part in said.split(";")}
        assert "domain" not in said


def test_options_of_a_passkey_say_nothing_about_anybody(new: New) -> None:
    options = json.loads(new().get("/login").data("options"))
    assert options.get("allowCredentials", []) == []
    assert options["userVerification"] == "required"


def test_under_https_the_cookie_is_secure_and_bound_to_the_host_and_forms_come_from_there(tmp_path: Path) -> None:
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{tmp_path / 'tollway.db'}", "TOLLWAY_MAIL_FOLDER": str(tmp_path / "mail")}
    running = Tollway({**settings, "TOLLWAY_PUBLIC_URL": "https://tollway.example"}, tmp_path / "log")
    running.start()
    try:
        browser = Browser(running, tmp_path / "mail", "secure@example.com")
        entered = browser.sign_up()
        said = entered.headers["set-cookie"]
        assert said.startswith("__Host-tollway_session=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in said.split(";")}
        assert "domain" not in said.lower()
        assert browser.sign_in().status == 303
        assert browser.send("POST", "/login", b"", {"Origin": f"http://localhost:{running.port}"}).status == 403
        browser.cookies = {SESSION: entered.cookies["__Host-tollway_session"]}
        assert browser.get("/dashboard/settings").status == 303  # the plain name counts for nothing here
    finally:
        running.kill()
