"""Who else gets data: derived from the catalog and the settings, complete, and with notice of what changes."""

import datetime
from pathlib import Path

import pytest

from gateway import subprocessors as listing
from gateway.cookies import cookies
from gateway.settings import Settings
from gateway.subprocessors import NOTICE_DAYS, address_of, declared, parties, subprocessors
from policy import retention
from providers import catalog

TODAY = datetime.date(2026, 11, 22)
BUILT_IN = catalog.load(None)
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"


def of(settings: Settings, keys: set[str] | None = None) -> dict[str, dict[str, object]]:
    return {party["name"]: party for party in subprocessors(BUILT_IN, settings, keys=keys or set(), today=TODAY)["data"]}


def test_every_provider_that_can_be_called_is_in_the_list_with_what_the_catalog_knows() -> None:
    hosts = {address_of(provider.base_url) for provider in BUILT_IN.providers.values() if provider.base_url}
    serving = {address_of(endpoint.provider.base_url) for endpoint in BUILT_IN.every_endpoint() if endpoint.provider.base_url}
    found = {party.address for party in parties(BUILT_IN, Settings(), keys=set())}
    assert serving <= found <= hosts
    openai = of(Settings(), {"OPENAI_API_KEY"})["OpenAI"]
    assert openai["headquarters"] == "US"
    assert str(openai["privacy_policy_url"]).startswith("https://openai.com/")
    assert (openai["own_keys_only"], of(Settings())["OpenAI"]["own_keys_only"]) == (False, True)
    assert "Tollway Echo" not in found


def test_servers_of_the_settings_are_in_the_list_by_domain_and_without_a_password() -> None:
    settings = Settings(
        database_url="postgresql://user:secret-password@db.abc.eu-west-1.rds.amazonaws.com/books",
        redis_url="rediss://:secret-password@cache.redis.example:6380/0",
        posthog_host="https://eu.i.posthog.com",
        environment={OTLP: "https://otlp.collector.co.uk:4318"},
    )
    named = of(settings)
    assert {name: named[name]["domain"] for name in ("Database", "Redis", "PostHog", "OpenTelemetry collector")} == {
        "Database": "amazonaws.com",
        "Redis": "redis.example",
        "PostHog": "posthog.com",
        "OpenTelemetry collector": "collector.co.uk",
    }
    assert "secret" not in str(named)
    found = {party.kind.kind: party.address for party in parties(BUILT_IN, settings, keys=set()) if party.kind.kind != "provider"}
    assert found == {
        "analytics": "eu.i.posthog.com:443",
        "tracing": "otlp.collector.co.uk:4318",
        "database": "db.abc.eu-west-1.rds.amazonaws.com:5432",
        "limits": "cache.redis.example:6380",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "redis", "cache.internal", "[::1]", "192.168.0.9"])
def test_a_host_of_the_operators_own_network_is_known_and_not_shown(host: str) -> None:
    settings = Settings(redis_url=f"redis://{host}:6379/0")
    (party,) = [party for party in parties(BUILT_IN, settings, keys=set()) if party.kind.kind == "limits"]
    assert party.inside
    assert "Redis" not in of(settings)


def test_an_operators_own_catalog_is_in_the_list(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text(
        '[[provider]]\nslug = "acme"\nname = "Acme Cloud"\ndialect = "openai"\nbase_url = "https://llm.acme.example:8443/v1"\n'
        '[[model]]\nid = "acme/one"\ncontext_length = 1000\n'
        '[[endpoint]]\nmodel = "acme/one"\nprovider = "acme"\nprice = { prompt = "1", completion = "1" }\n'
    )
    (acme,) = [party for party in parties(catalog.load(str(file)), Settings(), keys=set()) if party.name == "Acme Cloud"]
    assert (acme.address, acme.domain, acme.own_keys_only, acme.inside) == ("llm.acme.example:8443", "acme.example", False, False)


def test_the_file_knows_every_kind_with_known_categories_and_announces_its_changes_in_time() -> None:
    file = declared()
    assert {kind.kind for kind in file.kind} == {"provider", *listing.SETTINGS}
    assert {category for kind in file.kind for category in kind.data} <= set(retention.NAMES)
    assert all(kind.name for kind in file.kind if kind.kind != "provider")
    first, *later = sorted(file.change, key=lambda change: change.date)
    assert (len(later) + 1, first.date) == (file.version, min(kind.since for kind in file.kind))
    assert all((change.date - change.announced).days >= NOTICE_DAYS for change in later)
    assert max(change.announced for change in file.change) == file.date


def test_a_change_is_shown_as_upcoming_until_its_day() -> None:
    (first,) = subprocessors(BUILT_IN, Settings(), keys=set(), today=TODAY)["changes"]
    assert (first["date"], first["upcoming"]) == ("2026-11-22", False)
    before = subprocessors(BUILT_IN, Settings(), keys=set(), today=TODAY - datetime.timedelta(days=1))["changes"]
    assert before[0]["upcoming"] is True


def test_no_cookie_needs_consent_and_the_one_of_https_can_come_from_no_other_host() -> None:
    listed = cookies().cookie
    assert all(cookie.essential and cookie.purpose and cookie.lifetime for cookie in listed)
    secure = [cookie.name for cookie in listed if cookie.where == "under https"]
    assert "__Host-tollway_session" in secure
    assert all(name.startswith("__Host-") for name in secure)
