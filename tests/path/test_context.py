"""A prompt that an endpoint's context does not hold is not sent there: its price may be one up to that length only."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.path.routes import KEY, Crossing
from tests.running import tollway

CATALOG = """
[[model]]
id = "acme/one"
context_length = 4000
[[model]]
id = "acme/guessed"
context_length = 4000
tokenizer = "estimate"
[[provider]]
slug = "acme"
dialect = "openai"
base_url = "{url}"
api_key_env = "FAKE_API_KEY"
[[provider]]
slug = "long"
dialect = "openai"
base_url = "{url}"
api_key_env = "FAKE_API_KEY"
[[endpoint]]
model = "acme/one"
provider = "acme"
context_length = 1000
upstream_model = "short"
price = {{ prompt = "1", completion = "1" }}
[[endpoint]]
model = "acme/one"
provider = "long"
upstream_model = "long"
price = {{ prompt = "2", completion = "2" }}
[[endpoint]]
model = "acme/guessed"
provider = "acme"
price = {{ prompt = "1", completion = "1" }}
"""


@pytest.fixture(scope="module")
def place(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    folder: Path = tmp_path_factory.mktemp("context")
    (folder / "catalog.toml").write_text(CATALOG.format(url=fake.base_url))
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/tollway.db", "TOLLWAY_CATALOG": str(folder / "catalog.toml"), KEY: "k"}
    with tollway(settings, folder) as running:
        yield Crossing(running, fake, running.account("5"))


def said(place: Crossing, words: int, model: str = "acme/one") -> Answer:
    place.fake.forget()
    messages = [{"role": "user", "content": " ".join(["word"] * words)}]
    return ask(place.tollway.port, place.account.key, model, messages=messages, max_tokens=10, provider={"order": ["acme"]})


@pytest.mark.parametrize(("words", "called"), [(900, "short"), (1100, "long"), (3900, "long")])
def test_a_prompt_goes_where_it_fits(place: Crossing, words: int, called: str) -> None:
    assert said(place, words).status == 200
    assert place.called() == [called]


def test_a_prompt_that_fits_nowhere_is_refused_in_words_that_clients_know_and_costs_nothing(place: Crossing) -> None:
    used = place.send("GET", "credits").json["data"]["total_usage"]
    refused = said(place, 4100)
    assert refused.status == 400
    assert refused.error["metadata"]["provider_code"] == "context_length_exceeded"
    assert "maximum context length is 4000" in refused.error["message"]
    assert place.called() == []
    assert place.send("GET", "credits").json["data"]["total_usage"] == used


def test_where_the_count_is_a_guess_the_provider_judges_what_is_close(place: Crossing) -> None:
    assert said(place, 4300, "acme/guessed").status == 200
    assert said(place, 9000, "acme/guessed").status == 400
