"""Single sign-on against a provider that lies: only a token that is right in everything lets somebody in, and only where they set out."""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.oidc import AWAY, FAILED, Issuer, SingleSignOn, check_address, open_client
from policy.errors import SignInRefused
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FAULTS, Oidc, oidc_provider

BACK = "http://127.0.0.1:1/login/sso/callback"
WHO = {"sub": "user-1", "email": "ann@example.com", "email_verified": True}


@pytest.fixture(scope="module")
def running() -> Iterator[Oidc]:
    with oidc_provider() as running:
        yield running


@pytest.fixture
def provider(running: Oidc) -> Oidc:
    running.claims, running.fault, running.says_it_is, running.asked = dict(WHO), "", "", {}
    return running


@pytest.fixture
async def sso(provider: Oidc) -> AsyncIterator[SingleSignOn]:
    async with open_client() as client:
        yield made(provider, client)


def made(provider: Oidc, client: httpx.AsyncClient) -> SingleSignOn:
    issuer = Issuer(url=provider.url, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, name="Fake")
    return SingleSignOn(
        issuer=issuer, callback=BACK, client=client, clock=lambda: int(time.time() * 1000), random_bytes=secrets.token_bytes,
        secrets=("s" * 40,),
    )  # fmt: skip


async def approved(address: str) -> dict[str, str]:
    """What the browser brings back."""
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(address)
    assert answer.status_code == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def test_who_comes_back_is_who_the_provider_says_and_goes_on_where_they_wanted(sso: SingleSignOn, provider: Oidc) -> None:
    journey = await sso.depart(next="/dashboard/keys", connecting=None)
    arrived = await sso.arrive(cookie=journey.cookie, **await approved(journey.address))
    assert (arrived.who.issuer, arrived.who.subject, arrived.who.email) == (provider.url, "user-1", "ann@example.com")
    assert (arrived.who.email_verified, arrived.connecting, arrived.next) == (True, None, "/dashboard/keys")
    assert CLIENT_SECRET not in repr(sso)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_provider_that_lies_or_fails_lets_nobody_in(sso: SingleSignOn, provider: Oidc, fault: str) -> None:
    journey = await sso.depart(next="", connecting=None)
    back = await approved(journey.address)
    provider.fault = fault
    with pytest.raises(SignInRefused) as refused:
        await sso.arrive(cookie=journey.cookie, **back)
    assert str(refused.value) == (AWAY if fault in ("not json", "huge", "redirect", "500") else FAILED)


@pytest.mark.parametrize("verified", ["true", 1, None, "yes", False])
async def test_an_address_is_verified_only_if_the_provider_says_literally_so(sso: SingleSignOn, provider: Oidc, verified: object) -> None:
    provider.claims["email_verified"] = verified
    journey = await sso.depart(next="", connecting=None)
    assert not (await sso.arrive(cookie=journey.cookie, **await approved(journey.address))).who.email_verified


async def test_an_answer_is_good_once_for_the_browser_that_asked(sso: SingleSignOn) -> None:
    mine, other = await sso.depart(next="", connecting=None), await sso.depart(next="", connecting=None)
    back = await approved(mine.address)
    for cookie in (other.cookie, "", mine.cookie[:-1]):
        with pytest.raises(SignInRefused, match=FAILED):
            await sso.arrive(cookie=cookie, **back)
    with pytest.raises(SignInRefused, match=FAILED):
        await sso.arrive(cookie=mine.cookie, code=back["code"], state=back["state"] + "x")
    await sso.arrive(cookie=mine.cookie, **back)
    with pytest.raises(SignInRefused, match=FAILED):
        await sso.arrive(cookie=mine.cookie, **back)


async def test_a_journey_ends_after_ten_minutes(sso: SingleSignOn) -> None:
    journey = await sso.depart(next="", connecting=None)
    back, now = await approved(journey.address), int(time.time() * 1000)
    sso.clock = lambda: now + 601_000
    with pytest.raises(SignInRefused, match=FAILED):
        await sso.arrive(cookie=journey.cookie, **back)


async def test_the_providers_configuration_is_read_once_and_its_new_keys_when_they_are_needed(sso: SingleSignOn, provider: Oidc) -> None:
    for _ in range(3):
        journey = await sso.depart(next="", connecting=None)
        await sso.arrive(cookie=journey.cookie, **await approved(journey.address))
    assert (provider.asked["/.well-known/openid-configuration"], provider.asked["/keys"]) == (1, 1)
    provider.rotate()
    journey = await sso.depart(next="", connecting=None)
    await sso.arrive(cookie=journey.cookie, **await approved(journey.address))
    assert provider.asked["/keys"] == 2


async def test_a_provider_that_says_it_is_another_is_not_asked(sso: SingleSignOn, provider: Oidc) -> None:
    provider.says_it_is = "https://evil.example"
    with pytest.raises(SignInRefused, match="does not answer as it should"):
        await sso.depart(next="", connecting=None)


async def test_a_provider_that_is_not_there_is_said_to_be_away(provider: Oidc) -> None:
    async with open_client() as client:
        sso = made(provider, client)
        sso.issuer = Issuer(url="http://127.0.0.1:9", client_id="a", client_secret="b", name="c")
        with pytest.raises(SignInRefused, match="does not answer as it should"):
            await sso.depart(next="", connecting=None)


@pytest.mark.parametrize(
    "url", ["http://id.example.com", "ftp://localhost", "https://", "http://localhost.evil.example", "https://a:b@id.example"]
)
def test_only_https_or_this_machine_is_spoken_to(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        check_address(url)
    check_address("http://127.0.0.1:8080/realm")
    check_address("https://id.example.com")
