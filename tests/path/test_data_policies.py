"""Random rules of accounts, keys and requests against endpoints that fail: the provider's own book shows nobody whom a rule forbids.

Everything is asked for over HTTP. What each request allows is worked out from what was sent (`tests/strictest.py`), with nothing of ours.
"""

import http.client
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.fakes.faults import Json
from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.running import Account, Tollway, tollway
from tests.strictest import RULES, Served, Written, sets, violated

SEED = 6
MODELS = ("acme/one", "acme/two", "zeta/three")
REGIONS = ("eu", "us", "ch")
PROVIDERS: dict[str, Served] = {
    "best": Served(False, 0, frozenset({"eu"})),
    "kept": Served(False, 30, frozenset({"eu"})),
    "wide": Served(False, 0, frozenset({"eu", "us"})),
    "lost": Served(False, 0, frozenset()),
    "open": Served(True, 0, frozenset({"us"})),
    "dark": Served(None, None, frozenset({"us"})),
    "mine": Served(False, 0, frozenset({"us"})),
}
"""`mine` can only be used with a customer's own key."""
SPECIAL = {"two-kept": Served(None, None, frozenset({"eu"})), "three-dark": Served(False, 0, frozenset({"ch"}))}
"""Endpoints whose policy is not their provider's, by their names at the provider."""
SERVED = {f"{model.partition('/')[2]}-{slug}": served for model in MODELS for slug, served in PROVIDERS.items()} | SPECIAL
FAULTS: list[dict[str, Json]] = [
    {"fault": "status", "status": 500}, {"fault": "status", "status": 503}, {"fault": "close-before-headers"}, {"fault": "rate-limit"},
    {"fault": "error-200"}, {"fault": "fail-then-ok", "times": 4}, {"fault": "close-midstream", "k": 4},
]  # fmt: skip
BROKEN = ("one-wide", "two-best", "three-dark")
FAILURES = 5
FORGET_SECONDS = 1.05
"""How long a caller may be remembered."""
EJECTED_SECONDS = 10.5
"""After so long an endpoint that was taken out for the first time is tried again."""
EJECTED = -2


class Party(NamedTuple):
    """A key with all that holds for it now."""

    token: str
    hash: str
    owner: str
    account: Written
    policy: Written
    own_key: bool


class Sent(NamedTuple):
    """One request with the rules of its moment, and its answer."""

    party: Party
    models: list[str]
    asked: Written
    answer: Answer

    def fitting(self) -> set[str]:
        """The names at the provider of the endpoints that may be asked."""
        names = {model.partition("/")[2] for model in self.models}
        return {
            name
            for name, served in SERVED.items()
            if name.partition("-")[0] in names
            and (not name.endswith("-mine") or self.party.own_key)
            and not violated(served, self.party.account, self.party.policy, self.asked)
        }


class Place(NamedTuple):
    tollway: Tollway
    fake: Fake
    accounts: list[Account]

    def call(self, method: str, path: str, body: Json, key: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.tollway.port, timeout=30)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        read = response.read()
        connection.close()
        assert response.status < 300, read
        return json.loads(read)

    def ejected(self) -> set[str]:
        """Of the endpoints in `BROKEN`."""
        pages = [self.call("GET", f"models/{model}/endpoints", None, self.accounts[0].key) for model in MODELS]
        rows = [each for page in pages for each in page["data"]["endpoints"] if each["status"] == EJECTED]
        return {f"{each['model_id'].partition('/')[2]}-{each['tag']}" for each in rows} & set(BROKEN)


@pytest.fixture(scope="module")
def place(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With health on: what fails is ejected, and later probed."""
    folder = tmp_path_factory.mktemp("data-policies")
    (folder / "catalog.toml").write_text("\n".join(_catalog(fake.base_url)))
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/tollway.db", "TOLLWAY_CATALOG": str(folder / "catalog.toml")}
    with tollway(settings, folder) as running:
        yield Place(running, fake, [running.account() for _ in range(4)])


def _catalog(base_url: str) -> Iterator[str]:
    for model in MODELS:
        yield f'[[model]]\nid = "{model}"\ncontext_length = 100000'
    for slug, served in PROVIDERS.items():
        key = 'api_key_env = "NOBODY_HAS_THIS_KEY"' if slug == "mine" else ""
        yield f'[[provider]]\nslug = "{slug}"\ndialect = "openai"\nbase_url = "{base_url}"\n{key}\n{_facts(served)}'
    for number, (model, slug) in enumerate(itertools.product(MODELS, PROVIDERS)):
        name, price = f"{model.partition('/')[2]}-{slug}", f'prompt = "1.{number:02}", completion = "2", cached_prompt = "0.1"'
        own = _facts(SPECIAL[name]) if name in SPECIAL else ""
        yield f'[[endpoint]]\nmodel = "{model}"\nprovider = "{slug}"\nupstream_model = "{name}"\nprice = {{ {price} }}\n{own}'


def _facts(served: Served) -> str:
    known = {"trains": served.trains, "retention_days": served.days}
    policy = ", ".join(f"{name} = {json.dumps(value)}" for name, value in known.items() if value is not None)
    region = f"region = {json.dumps(sorted(served.regions))}\n" if served.regions else ""
    return f"data_policy = {{ {policy} }}\n{region}"


def about_data(pick: Random, least: int, most: int) -> dict[str, Any]:
    options: dict[str, list[Any]] = {
        "data_collection": ["allow", "deny", "deny"],
        "zdr": [True, True, False],
        "region": [["eu"], "us", ["eu", "us"], ["eu", "us", "ch"], ["ch"]],
    }
    return {name: pick.choice(options[name]) for name in pick.sample(RULES, pick.randint(least, most))}


def test_no_attempt_is_ever_made_where_the_strictest_rule_forbids_it(place: Place) -> None:
    pick = Random(SEED)
    place.fake.reset()
    parties = _made(place, pick)
    failing = {name: pick.choice(FAULTS) for name in sorted(SERVED) if pick.random() < 0.5} | dict.fromkeys(BROKEN, FAULTS[0])
    for name, fault in failing.items():
        place.fake.fault(name, **fault)
    sent = _broken(place, next(party for party in parties if not party.account and not party.policy))
    ejected_by = time.monotonic()
    sent |= _send(place, parties, Random(SEED + 1), range(350))
    assert place.ejected() == set(BROKEN)

    parties = _changed(place, parties, pick)
    sent |= _send(place, parties, Random(SEED + 2), range(350, 650))
    for name in failing:
        place.fake.fault(name)  # a plain answer again
    time.sleep(max(0.0, EJECTED_SECONDS - (time.monotonic() - ejected_by)))
    sent |= _send(place, parties, Random(SEED + 3), range(650, 900))
    assert place.ejected() < set(BROKEN), "some were probed, and answered"

    tried: dict[int, list[str]] = {number: [] for number in sent}
    for row in place.fake.ledger():
        tried[int(row["request_body"]["messages"][0]["content"].split()[-1])].append(row["model"])
    for number, names in tried.items():
        assert set(names) <= sent[number].fitting(), (number, names, sent[number])
    _look_at_answers(sent, tried)
    _was_worth_it(sent, tried)


def _made(place: Place, pick: Random) -> list[Party]:
    """Three keys of each account; the first has no policy, so that the account's rules are seen alone."""
    parties = []
    for number, account in enumerate(place.accounts):
        rules = about_data(pick, 1, 2) if number else {}
        place.call("PUT", "account/routing", rules, account.key)
        if number % 2:
            place.call("POST", "account/provider-keys", {"provider": "mine", "key": f"sk-own-key-number-{number}"}, account.key)
        for policy in (None, about_data(pick, 1, 2), about_data(pick, 1, 3)):
            made = place.call("POST", "keys", {"name": "k", "data_policy": policy}, account.key)
            parties.append(Party(made["key"], made["data"]["hash"], account.key, rules, policy, bool(number % 2)))
    time.sleep(FORGET_SECONDS)
    return parties


def _broken(place: Place, free: Party) -> dict[int, Sent]:
    """Asks some endpoints alone until they are taken out for having failed so often."""
    sent = {}
    for number, (name, _) in enumerate(itertools.product(BROKEN, range(FAILURES)), start=1000):
        model, slug = next(model for model in MODELS if name.partition("-")[0] in model), name.partition("-")[2]
        provider = {"order": [slug], "allow_fallbacks": False}
        messages = [{"role": "user", "content": f"request {number}"}]
        sent[number] = Sent(free, [model], {}, ask(place.tollway.port, free.token, model, messages=messages, provider=provider))
    return sent


def _changed(place: Place, parties: list[Party], pick: Random) -> list[Party]:
    """Other rules for the accounts, other policies for most keys; sticky routes of before are still remembered."""
    rules = {account.key: about_data(pick, 0, 2) for account in place.accounts}
    for owner, written in rules.items():
        place.call("PUT", "account/routing", written, owner)
    changed = []
    for party in parties:
        policy = pick.choice([None, about_data(pick, 1, 2), about_data(pick, 1, 2)])
        place.call("PATCH", f"keys/{party.hash}", {"data_policy": policy}, party.owner)
        changed.append(party._replace(account=rules[party.owner], policy=policy))
    time.sleep(FORGET_SECONDS)
    return changed


def _send(place: Place, parties: list[Party], pick: Random, numbers: range) -> dict[int, Sent]:
    work = [(number, pick.choice(parties), *_request(pick)) for number in numbers]

    def one(number: int, party: Party, models: list[str], asked: dict[str, Any], body: dict[str, Any]) -> tuple[int, Sent]:
        messages = [{"role": "user", "content": f"request {number}"}]
        answer = ask(place.tollway.port, party.token, models[0], messages=messages, models=models[1:], max_tokens=9, **body)
        return number, Sent(party, models, asked, answer)

    with ThreadPoolExecutor(6) as pool:
        return dict(pool.map(lambda each: one(*each), work))


def _request(pick: Random) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """Its models, what it says of data, and its whole body; some belong to conversations that go on."""
    asked = about_data(pick, 1, 2) if pick.random() < 0.5 else {}
    taste: list[dict[str, Any]] = [{}, {}, {"order": ["dark", "open"]}, {"sort": "price"}, {"allow_fallbacks": False}]
    body: dict[str, Any] = {"provider": {**asked, **pick.choice(taste)}, "stream": pick.random() < 0.5}
    if pick.random() < 0.4:
        body["session_id"] = f"conversation-{pick.randint(1, 3)}"
    return pick.sample(MODELS, pick.choice([1, 1, 2])), asked, body


def _look_at_answers(sent: dict[int, Sent], tried: dict[int, list[str]]) -> None:
    """Where nothing fits, a 404 says which rule it was and whose; else somebody was asked."""
    for number, each in sent.items():
        if each.fitting():
            assert tried[number], (number, each)
            assert each.answer.status != 404
            continue
        assert (each.answer.status, each.answer.error["metadata"]["error_type"]) == (404, "not_found"), (number, each)
        whose = {"provider.": each.asked, "in the account's rules": each.party.account, "in the key's data policy": each.party.policy}
        words = {word for word, source in whose.items() if any(sets(source, rule) for rule in RULES)}
        assert any(word in each.answer.error["message"] for word in words), each.answer.error["message"]
        assert each.answer.error["metadata"]["failed_routing_step"] in ("Filter by Data Policy", "Filter by Region")


def _was_worth_it(sent: dict[int, Sent], tried: dict[int, list[str]]) -> None:
    """The rules forbade something, endpoints failed over, and both kinds of end were seen often enough to mean something."""
    statuses = Counter(each.answer.status for each in sent.values())
    assert statuses[200] > 300, statuses
    assert statuses[404] > 50, statuses
    assert sum(len(names) > 1 for names in tried.values()) > 30
    assert len({name for names in tried.values() for name in names}) > 15
    by_key_alone = [each for each in sent.values() if each.fitting() != each._replace(party=each.party._replace(policy=None)).fitting()]
    assert len(by_key_alone) > 100
