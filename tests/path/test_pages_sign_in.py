"""Signing up, in and out over HTTP as a browser does it: by password and code, passkey, single sign-on and link; and the settings."""

import time
from urllib.parse import quote

import httpx
from pyotp import TOTP

from gateway.letters import unsubscribing
from tests.fakes.oidc import Oidc
from tests.passkey import Device
from tests.path import sign_in_fixtures
from tests.path.person import PASSWORD, SESSION, Browser, token
from tests.path.sign_in_fixtures import NEW, New, new_sign_in, replayed, sql
from tests.running import SECRET

provider, tollway, new, ann = sign_in_fixtures.provider, sign_in_fixtures.tollway, sign_in_fixtures.new, sign_in_fixtures.ann


def test_who_signs_up_confirms_by_mail_owns_an_account_and_can_leave_and_come_back(new: New) -> None:
    browser = new()
    assert browser.get("/signup").status == 200
    told = browser.follow(browser.post("/signup", {"email": browser.email.upper(), "password": PASSWORD}))
    assert (told.status, "Look into your mail" in told.text) == (200, True)
    first = browser.wait_for("/link/verify")
    refused = browser.sign_in()
    assert (refused.status, "Confirm your address first" in refused.problem) == (401, True)
    link = browser.wait_for("/link/verify", beside=first)
    for _ in range(3):
        assert browser.get(link).status == 200
    assert browser.post("/link/verify", {"token": token(link), "password": NEW}).status == 401
    entered = browser.post("/link/verify", {"token": token(link), "password": PASSWORD, "next": "/dashboard/settings"})
    assert entered.location == "/dashboard/settings?done=address.confirmed"
    page = browser.follow(entered)
    assert (page.status, "Your address is confirmed" in page.notice) == (200, True)
    assert sql(browser, "SELECT role FROM member WHERE email = ?", browser.email) == [("owner",)]
    assert browser.post("/link/verify", {"token": token(link), "password": PASSWORD}).status == 401
    assert browser.post("/logout").location == "/login?done=signed.out"
    assert not browser.is_in
    assert browser.sign_in(next="/dashboard/settings").location == "/dashboard/settings"
    assert browser.is_in


def test_a_profile_is_kept_and_shown(ann: Browser) -> None:
    name = "<script>alert(1)</script> & Ann"
    page = ann.follow(ann.post("/dashboard/settings/profile", {"name": name, "time_zone": "Europe/Berlin", "theme": "dark"}))
    assert 'data-theme="dark"' in page.text
    assert "<script>alert" not in page.text
    assert '<option value="Europe/Berlin" selected>' in page.text
    refused = ann.post("/dashboard/settings/profile", {"name": "x", "time_zone": "Mars", "theme": "dark"})
    assert (refused.status, refused.problem.startswith("time_zone:")) == (400, True)


def test_one_time_passwords_are_set_up_asked_for_and_taken_off(new: New, ann: Browser) -> None:
    page = ann.follow(ann.post("/dashboard/settings/totp/begin"))
    secret = page.text.partition('aria-label="Secret">')[2].partition("<")[0]
    assert (len(secret), '<svg class="qr"' in page.text) == (32, True)
    assert ann.post("/dashboard/settings/totp/confirm", {"code": "000000"}).status == 400
    before = ann.cookies[SESSION]
    assert ann.post("/dashboard/settings/totp/confirm", {"code": TOTP(secret).now()}).location.endswith("?done=totp.on")
    assert not replayed(ann, before)
    assert secret not in ann.get("/dashboard/settings").text
    other = new()
    other.email = ann.email
    asked = other.sign_in(next="/dashboard/settings")
    assert (asked.status, SESSION in other.cookies) == (200, False)
    form = {"half": asked.hidden("half"), "next": asked.hidden("next")}
    assert other.post("/login/code", {**form, "code": "123456"}).status == 401
    entered = other.post("/login/code", {**form, "code": TOTP(secret).at(time.time() + 30)})
    assert entered.location == "/dashboard/settings"
    assert other.post("/login/code", {**form, "code": TOTP(secret).at(time.time() + 30)}, csrf=False).status == 401
    assert other.post("/dashboard/settings/totp/remove").location.endswith("?done=totp.off")
    assert new_sign_in(other).status == 303


def test_what_matters_asks_who_it_is_once_that_was_proven_ten_minutes_ago(ann: Browser) -> None:
    for path, form in (
        ("email", {"email": "new@example.com"}),
        ("totp/begin", {}),
        ("single-sign-on", {}),
        ("passkeys/remove", {"id": "x"}),
    ):
        sql(
            ann,
            "UPDATE session SET confirmed_at = confirmed_at - 700000 WHERE person_id = (SELECT id FROM person WHERE email = ?)",
            ann.email,
        )
        asked = ann.post(f"/dashboard/settings/{path}", form)
        assert asked.location == "/confirm?next=/dashboard/settings", path
        before = ann.cookies[SESSION]
        assert ann.follow(asked).status == 200
        assert ann.post("/confirm", {"password": NEW, "next": "/dashboard/settings"}).status == 400
        assert ann.post("/confirm", {"password": PASSWORD, "next": "/dashboard/settings"}).location == "/dashboard/settings"
        assert not replayed(ann, before)
        assert ann.post(f"/dashboard/settings/{path}", form).location != asked.location


def test_an_address_changes_by_the_link_to_the_new_one(ann: Browser) -> None:
    new_address = f"moved-{ann.email}"
    assert ann.post("/dashboard/settings/email", {"email": new_address}).status == 303
    link = ann.wait_for("/link/email", new_address)
    assert ann.get(link).status == 200
    assert ann.post("/link/email", {"token": token(link)}, csrf=False).location == "/dashboard/settings?done=email.changed"
    assert new_address in ann.get("/dashboard/settings").text
    assert ann.post("/link/email", {"token": token(link)}, csrf=False).status == 401


def test_a_passkey_is_added_and_signs_in_and_confirms(new: New, ann: Browser) -> None:
    device = Device(ann.origin, "localhost")
    page = ann.get("/dashboard/settings")
    answer = device.register(page.data("options"))
    form = {"answer": answer, "challenge": page.hidden("challenge"), "name": "Laptop"}
    assert ann.post("/dashboard/settings/passkeys", form).location.endswith("?done=passkey.added")
    assert ann.post("/dashboard/settings/passkeys", form).status == 400
    other = new()
    page = other.get("/login")
    form = {"answer": device.sign_in(page.data("options")), "challenge": page.hidden("challenge"), "next": "/dashboard/settings"}
    assert other.post("/login/passkey", form).location == "/dashboard/settings"
    assert "Laptop" in other.get("/dashboard/settings").text
    assert new().post("/login/passkey", form).status == 401
    page = other.get("/confirm?next=/dashboard")
    form = {"answer": device.sign_in(page.data("options")), "challenge": page.hidden("challenge"), "next": "/dashboard"}
    assert other.post("/confirm", form).location == "/dashboard"
    stranger = new()
    stranger.sign_up()
    page = stranger.get("/confirm")
    form = {"answer": device.sign_in(page.data("options")), "challenge": page.hidden("challenge")}
    assert stranger.post("/confirm", form).status == 401


def at_provider(browser: Browser, address: str) -> str:
    """What the provider sends the browser back to."""
    answer = httpx.get(address, trust_env=False)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"].removeprefix(browser.origin)


def test_single_sign_on_makes_a_person_and_lets_them_in_again(new: New, provider: Oidc) -> None:
    browser = new()
    provider.claims = {"sub": browser.email, "email": browser.email, "email_verified": True}
    assert "Sign in with Fake" in browser.get("/login").text
    for _ in range(2):
        away = browser.get("/login/sso?next=/dashboard/settings")
        back = at_provider(browser, away.location)
        assert new().get(back).status == 401  # another browser
        entered = browser.get(back)
        assert (entered.status, entered.location) == (303, "/dashboard/settings")
        assert browser.get(back).status == 401  # once more
        assert "You have none" in browser.get("/dashboard/settings").text
        browser.cookies = {}
    assert sql(browser, "SELECT COUNT(*) FROM member WHERE email = ?", browser.email) == [(1,)]


def test_single_sign_on_opens_no_account_that_was_not_connected_by_its_owner(new: New, ann: Browser, provider: Oidc) -> None:
    provider.claims = {"sub": f"at-provider-{ann.email}", "email": ann.email, "email_verified": True}
    thief = new()
    refused = thief.get(at_provider(thief, thief.get("/login/sso").location))
    assert (refused.status, "Sign in to it first" in refused.text, SESSION in thief.cookies) == (401, True, False)
    offered = ann.post("/dashboard/settings/single-sign-on")
    address = offered.text.partition('class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
    back = at_provider(ann, address)
    thief.cookies["tollway_sso"] = ann.cookies["tollway_sso"]
    assert thief.get(back).status == 401  # the journey is of somebody who is signed in
    offered = ann.post("/dashboard/settings/single-sign-on")
    address = offered.text.partition('class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert ann.get(at_provider(ann, address)).location == "/dashboard/settings?done=identity.connected"
    friend = new()
    assert friend.get(at_provider(friend, friend.get("/login/sso").location)).status == 303
    assert ann.post("/dashboard/settings/single-sign-on/remove", {"id": provider.url}).status == 303
    assert friend.is_in


def test_a_link_of_the_operator_signs_in_once_and_looking_at_it_uses_nothing_up(new: New) -> None:
    browser = new()
    made = browser.tollway.cli_json("person", "sign-in-link", "--email", browser.email)
    path = made["link"].removeprefix(browser.origin)
    for _ in range(3):
        assert browser.get(path).status == 200
    assert browser.post("/login/link", {"token": token(path)}).location == "/dashboard"
    assert browser.is_in
    assert new().post("/login/link", {"token": token(path)}).status == 401


def test_who_wants_news_can_end_that_in_one_click_without_signing_in(new: New, ann: Browser) -> None:
    assert ann.post("/dashboard/settings/mails", {"news": "true"}).status == 303
    assert 'name="news" value="true" checked' in ann.get("/dashboard/settings").text
    ((person_id,),) = sql(ann, "SELECT id FROM person WHERE email = ?", ann.email)
    path = f"/unsubscribe?token={quote(unsubscribing(str(person_id), secret=SECRET))}"
    program = new()
    assert program.get(path).status == 200
    assert 'name="news" value="true" checked' in ann.get("/dashboard/settings").text
    assert program.send("POST", path, b"List-Unsubscribe=One-Click").status == 200
    assert 'name="news" value="true">' in ann.get("/dashboard/settings").text
    assert program.send("POST", path[:-6], b"List-Unsubscribe=One-Click").status == 400
    assert [given for (given,) in sql(ann, "SELECT given FROM mail_consent WHERE person_id = ? ORDER BY at", person_id)] == [1, 0]
