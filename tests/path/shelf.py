"""A Tollway with a small catalog of every kind: dear and free, with an end and already ended, vectors, and one that needs a key."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.process import Fake
from tests.running import Account, Tollway, tollway

PREFIXES = ("/v1", "/api/v1")
CATALOG = """
[[company]]
slug = "zeta"
name = "Zeta Labs"
[[provider]]
slug = "keeps-none"
name = "Keeps None"
dialect = "openai"
base_url = "{url}"
region = "eu"
data_policy = {{ trains = false, retention_days = 0 }}
privacy_policy_url = "https://none.example/privacy"
status_page_url = "https://none.example/status"
headquarters = "DE"
datacenters = ["DE", "FR"]
source = "https://none.example/policy"
date = 2026-05-04
[[provider]]
slug = "keeps-all"
dialect = "openai"
base_url = "{url}"
region = ["us", "eu"]
data_policy = {{ trains = true, retention_days = 30 }}
[[provider]]
slug = "keyed"
dialect = "openai"
base_url = "{url}"
api_key_env = "KEYED_API_KEY"
[[model]]
id = "zeta/count"
name = "Count"
company = "zeta"
context_length = 4000
created = 2026-01-02
[[model]]
id = "zeta/deep/endpoints"
context_length = 64000
created = 2020-01-02
input_modalities = ["text", "file"]
[[model]]
id = "zeta/vectors"
context_length = 8000
output_modalities = ["embeddings"]
[[model]]
id = "acme/dear"
context_length = 200000
deprecated = 2999-03-01
successor = "zeta/count"
[[model]]
id = "acme/retired"
context_length = 1000
deprecated = 2020-03-01
[[model]]
id = "acme/keyed"
context_length = 1000
[[endpoint]]
model = "zeta/count"
provider = "keeps-all"
upstream_model = "count-all"
price = {{ prompt = "0.2", completion = "0.4" }}
[[endpoint]]
model = "zeta/count"
provider = "keeps-none"
upstream_model = "count-none"
quantization = "fp8"
max_output_tokens = 500
parameters = ["temperature", "top_k"]
capabilities = ["text"]
price = {{ prompt = "0.5", completion = "1", cached_prompt = "0.1" }}
[[endpoint]]
model = "zeta/deep/endpoints"
provider = "keeps-all"
upstream_model = "deep"
data_policy = {{ trains = false, retention_days = 0 }}
source = "https://all.example/zero"
date = 2026-06-07
price = {{ prompt = "0", completion = "0" }}
[[endpoint]]
model = "zeta/vectors"
provider = "keeps-none"
upstream_model = "vectors"
capabilities = ["embeddings"]
price = {{ prompt = "0.1", completion = "0" }}
[[endpoint]]
model = "acme/dear"
provider = "keeps-none"
upstream_model = "dear"
price = {{ prompt = "30", completion = "60", request = "0.01" }}
[[endpoint]]
model = "acme/retired"
provider = "keeps-none"
upstream_model = "retired"
price = {{ prompt = "1", completion = "1" }}
[[endpoint]]
model = "acme/keyed"
provider = "keyed"
upstream_model = "keyed"
price = {{ prompt = "1", completion = "1" }}
"""
MINE = ["zeta/count", "zeta/deep/endpoints", "acme/dear"]
"""The models above that answer with text, can be used now and need no key."""


@dataclass(frozen=True)
class Here:
    tollway: Tollway
    account: Account

    def get(self, path: str, prefix: str = "/v1", key: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.get(f"http://127.0.0.1:{self.tollway.port}{prefix}/{path}", headers=headers, timeout=30)

    def data(self, path: str, key: str = "") -> Any:
        """The same under both prefixes."""
        found = [self.get(path, prefix, key) for prefix in PREFIXES]
        assert [answer.status_code for answer in found] == [200, 200], found[0].text
        assert found[0].json()["data"] == found[1].json()["data"]
        return found[0].json()["data"]

    def ids(self, query: str = "", path: str = "models", key: str = "") -> list[str]:
        """Of this file's models, in the order of the answer."""
        return [model["id"] for model in self.data(f"{path}?{query}", key) if model["id"].startswith(("zeta/", "acme/"))]


def rule(here: Here, owner: Account, rules: dict[str, Any]) -> None:
    """And waits for as long as a caller may be remembered."""
    bearer = {"authorization": f"Bearer {owner.key}"}
    put = httpx.put(f"{here.tollway.base_url}/account/routing", json=rules, headers=bearer, timeout=30)
    assert put.status_code == 200, put.text
    time.sleep(1.05)


@contextlib.contextmanager
def shelf(fake: Fake, folder: Path) -> Iterator[Here]:
    (folder / "catalog.toml").write_text(CATALOG.format(url=fake.base_url))
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/tollway.db", "TOLLWAY_CATALOG": str(folder / "catalog.toml")}
    with tollway(settings, folder) as running:
        yield Here(running, running.account())
