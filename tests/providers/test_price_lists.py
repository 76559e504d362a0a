"""Published price lists: which of their rows an endpoint can be made of, at which exact price, and why the others cannot."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.money import parse_rate
from providers import price_lists
from providers.price_offer import Offer, Skipped, per_million

TODAY = datetime.date(2026, 11, 22)
CHAT = {
    "litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07,
    "max_input_tokens": 128000,
}  # fmt: skip
MODEL: dict[str, Any] = {"id": "acme/fast-1", "context_length": 1000, "pricing": {"prompt": "0.00000015", "completion": "0.0000006"}}


def litellm(folder: Path, rows: Any, kind: str = "litellm") -> tuple[list[Offer], list[Skipped]]:
    file = folder / "list.json"
    file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return price_lists.read(file, kind, TODAY)


def offer(folder: Path, name: str = "gpt-x", **fields: Any) -> Offer:
    offers, skipped = litellm(folder, {name: {**CHAT, **fields}})
    assert skipped == []
    return offers[0]


def refusal(folder: Path, **fields: Any) -> str:
    offers, skipped = litellm(folder, {"gpt-x": {**CHAT, **fields}})
    assert offers == []
    assert not skipped[0].elsewhere
    return skipped[0].reason


def router(folder: Path, **fields: Any) -> Offer | Skipped:
    offers, skipped = litellm(folder, {"data": [{**MODEL, **fields}]}, "openrouter")
    return (offers + skipped)[0]  # type: ignore[operator]


def test_a_row_becomes_an_offer_with_exact_rates(tmp_path: Path) -> None:
    found = offer(
        tmp_path, max_output_tokens=16384, cache_read_input_token_cost=7.5e-08, cache_creation_input_token_cost=1.875e-07,
        input_cost_per_audio_token=4e-05, output_cost_per_audio_token=8e-05, output_cost_per_reasoning_token=9e-07,
        supports_vision=True, supports_function_calling=True, deprecation_date="2027-01-14",
    )  # fmt: skip
    assert (found.provider, found.upstream_model, found.model) == ("openai", "gpt-x", "openai/gpt-x")
    assert found.rates == {
        "prompt": "0.15", "completion": "0.6", "cached_prompt": "0.075", "cache_write": "0.1875", "reasoning": "0.9", "audio": "40",
        "audio_completion": "80",
    }  # fmt: skip
    assert (found.context_length, found.max_output_tokens) == (128000, 16384)
    assert (found.capabilities, found.input_modalities) == (("text", "images", "tools"), ("text", "image"))
    assert found.deprecated == datetime.date(2027, 1, 14)


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        *(
            ("1.5e-07", "0.15"),
            ("1E-7", "0.1"),
            ("0.00000015", "0.15"),
            ("2e-06", "2"),
            ("1e-03", "1000"),
            ("3.6000000000000003e-06", "3.6"),
        ),
        *(("1.41953e-07", "0.141953"), ("1.0000001e-12", "0.000002"), ("1e-30", "0.000001"), ("2.9999999999999997e-07", "0.3")),
    ],
)
def test_a_number_is_read_as_it_is_written_and_what_is_finer_is_rounded_up(tmp_path: Path, written: str, rate: str) -> None:
    text = json.dumps({"gpt-x": CHAT}).replace("1.5e-07", written)
    ((found,), _) = litellm(tmp_path, text)
    assert found.rates["prompt"] == rate
    parse_rate(rate)


@given(st.decimals(min_value=0, max_value=Decimal("0.001"), places=18, allow_nan=False))
def test_no_rate_is_below_the_lists_and_none_is_a_millionth_above(amount: Decimal) -> None:
    noise = amount * Decimal("1e-11")
    exact, rate = amount * 10**6, Decimal(per_million(amount))
    assert exact - noise * 10**6 <= rate <= exact + noise * 10**6 + Decimal("0.000001")
    parse_rate(per_million(amount))


def test_a_provider_has_our_name_and_a_model_its_makers(tmp_path: Path) -> None:
    for name, theirs, provider, upstream, model in [
        ("gemini/gemini-3", "gemini", "google-ai-studio", "gemini-3", "google/gemini-3"),
        ("together_ai/zai-org/GLM-5", "together_ai", "together", "zai-org/GLM-5", "z-ai/glm-5"),
        ("fireworks_ai/accounts/fireworks/models/x1", "fireworks_ai", "fireworks", "accounts/fireworks/models/x1", "fireworks/x1"),
        ("us.amazon.nova-1:0", "bedrock_converse", "amazon-bedrock", "us.amazon.nova-1:0", "amazon-bedrock/us.amazon.nova-1:0"),
        ("groq/openai/gpt-oss", "groq", "groq", "openai/gpt-oss", "openai/gpt-oss"),
        ("dashscope/qwen-x", "dashscope", "alibaba", "qwen-x", "qwen/qwen-x"),
    ]:
        found = offer(tmp_path, name, litellm_provider=theirs)
        assert (found.provider, found.upstream_model, found.model) == (provider, upstream, model)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"input_cost_per_token": None}, "it has no price (input_cost_per_token)"),
        ({"output_cost_per_token": None}, "it has no price (output_cost_per_token)"),
        ({"input_cost_per_token": -1e-07}, "input_cost_per_token is negative"),
        ({"cache_read_input_token_cost": -1}, "cache_read_input_token_cost is negative"),
        ({"output_cost_per_token": 0.00101}, "output_cost_per_token is above 1000 USD per million tokens"),
        ({"input_cost_per_token": "cheap"}, "input_cost_per_token is not a number"),
        ({"input_cost_per_token": True}, "input_cost_per_token is not a number"),
        ({"input_cost_per_token": [1]}, "input_cost_per_token is not a number"),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0.0}, "it is free in the list; write its row by hand if that is meant"),
        ({"mode": None}, "it has no mode"),
        ({"litellm_provider": None}, "it names no provider"),
        ({"litellm_provider": "a b"}, "it names no provider"),
        ({"max_input_tokens": 0}, "max_input_tokens is 0; no model has so many"),
        ({"max_input_tokens": -5}, "max_input_tokens is -5; no model has so many"),
        ({"max_input_tokens": 10**400}, "max_input_tokens is 10000000000000000000; no model has so many"),
        ({"max_input_tokens": "many"}, "max_input_tokens is not a number of tokens"),
        ({"max_input_tokens": 1.5}, "max_input_tokens is not a number of tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens is 0; no model has so many"),
        ({"deprecation_date": "2026-11-21"}, "it ended on 2026-11-21"),
        ({"input_cost_per_token_above_0k_tokens": 1e-06}, "its price rises with the first token"),
    ],
)
def test_an_impossible_row_is_skipped_with_its_reason(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    assert refusal(tmp_path, **fields) == reason


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e99999999999999999999", "1e999"])
def test_what_json_calls_a_number_and_is_none_is_skipped(tmp_path: Path, number: str) -> None:
    _, (skipped,) = litellm(tmp_path, json.dumps({"gpt-x": CHAT}).replace("1.5e-07", number))
    assert skipped.reason.startswith(("input_cost_per_token is not a number", "input_cost_per_token is above"))


def test_a_row_about_something_else_is_no_fault_of_the_list(tmp_path: Path) -> None:
    rows = {
        "sample_spec": {"mode": "one of: chat"},
        "dall-e": {**CHAT, "mode": "image_generation"},
        "ft:gpt-x": CHAT,
        "bedrock/us-west-2/acme": {**CHAT, "litellm_provider": "bedrock"},
        "gpt-x": CHAT,
        "openai/gpt-x": CHAT,
    }
    offers, skipped = litellm(tmp_path, rows)
    assert [each.name for each in offers] == ["gpt-x"]
    assert [(each.name, each.elsewhere) for each in skipped] == [(name, True) for name in rows if name not in ("sample_spec", "gpt-x")]


def test_a_context_ends_where_the_price_rises_and_of_a_price_in_steps_the_dearest_counts(tmp_path: Path) -> None:
    rises = {
        "input_cost_per_token_above_200k_tokens": 3e-07,
        "output_cost_per_token_above_128k_tokens_priority": 1,
        "max_input_tokens": 10**6,
    }
    assert offer(tmp_path, **rises).context_length == 200_000
    assert offer(tmp_path, **{**rises, "max_input_tokens": 100_000}).context_length == 100_000
    steps = [
        {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        {"input_cost_per_token": 3e-06, "output_cost_per_token": 1e-06},
    ]
    assert offer(tmp_path, tiered_pricing=steps).rates == {"prompt": "3", "completion": "2"}
    assert offer(tmp_path, tiered_pricing="none").rates["prompt"] == "0.15"


def test_rates_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    found = offer(tmp_path, cache_creation_input_token_cost=0, cache_read_input_token_cost=0.0, output_cost_per_reasoning_token=6e-07)
    assert found.rates == {"prompt": "0.15", "completion": "0.6"}


def test_embeddings_have_no_answer_to_price(tmp_path: Path) -> None:
    found = offer(tmp_path, mode="embedding", output_cost_per_token=None, max_output_tokens=3072)
    assert (found.rates, found.max_output_tokens) == ({"prompt": "0.15", "completion": "0"}, None)
    assert (found.capabilities, found.output_modalities) == (("embeddings",), ("embeddings",))


def test_openrouters_models_become_offers_of_openrouter(tmp_path: Path) -> None:
    found = router(
        tmp_path, name="Acme: Fast 1", top_provider={"max_completion_tokens": 500}, expiration_date="2027-03-01",
        architecture={"input_modalities": ["text", "image"], "output_modalities": ["text"]}, supported_parameters=["tools"],
        pricing={"prompt": "0.00000015", "completion": "0.0000006", "request": "0.005", "input_cache_read": "0.00000001",
                 "internal_reasoning": "0", "image": "0", "web_search": "0.01"},
    )  # fmt: skip
    assert isinstance(found, Offer)
    assert (found.provider, found.upstream_model, found.model, found.title) == ("openrouter", "acme/fast-1", "acme/fast-1", "Acme: Fast 1")
    assert found.rates == {"prompt": "0.15", "completion": "0.6", "cached_prompt": "0.01", "request": "0.005"}
    assert found.capabilities == ("text", "images", "tools")
    assert (found.context_length, found.max_output_tokens, found.deprecated) == (1000, 500, datetime.date(2027, 3, 1))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pricing": {"prompt": "-1", "completion": "-1"}}, "prompt is negative"),
        ({"pricing": {"prompt": "0", "completion": "0"}}, "it is free in the list"),
        ({"pricing": {"prompt": "0.000001"}}, "it has no price (completion)"),
        ({"pricing": None}, "it has no price (prompt)"),
        ({"pricing": {"prompt": "0.002", "completion": "0"}}, "prompt is above 1000"),
        ({"pricing": {**MODEL["pricing"], "request": "101"}}, "request is above 100 USD each"),
        ({"pricing": {**MODEL["pricing"], "overrides": [{"utc_start": "00:00"}]}}, "its price changes with the hour"),
        ({"context_length": 0}, "context_length is 0"),
        ({"id": "fast-1"}, "its id is not company/model"),
        ({"id": 7}, "its id is not company/model"),
        ({"expiration_date": "2026-01-01"}, "it ended on 2026-01-01"),
        ({"architecture": {"output_modalities": ["image", "text"]}}, "it answers with 'image', 'text', not with text or embeddings alone"),
    ],
)
def test_what_openrouter_lists_and_cannot_be_an_endpoint_is_skipped(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    found = router(tmp_path, **fields)
    assert isinstance(found, Skipped)
    assert found.reason.startswith(reason)


def test_a_price_for_each_image_takes_images_away_and_one_for_long_prompts_the_rest_of_the_context(tmp_path: Path) -> None:
    shape = {"input_modalities": ["text", "image"]}
    found = router(tmp_path, architecture=shape, pricing={**MODEL["pricing"], "image": "0.003"})
    assert isinstance(found, Offer)
    assert found.capabilities == ("text",)
    found = router(tmp_path, pricing={**MODEL["pricing"], "overrides": [{"min_prompt_tokens": 400, "prompt": "1"}]})
    assert isinstance(found, Offer)
    assert found.context_length == 400


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("[", "litellm", "list.json: is not a JSON document"),
        ("[" * 100_000, "litellm", "list.json: is not a JSON document"),
        ("\xff", "openrouter", "list.json: is not a JSON document"),
        ("[]", "litellm", "write an object with one row per model"),
        ('{"data": {}}', "openrouter", 'write {"data": [...]}'),
        ("[]", "openrouter", 'write {"data": [...]}'),
    ],
)
def test_a_file_that_is_no_price_list_is_refused(tmp_path: Path, text: str, kind: str, message: str) -> None:
    file = tmp_path / "list.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r".") as error:
        price_lists.read(file, kind, TODAY)
    assert message in str(error.value)


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        price_lists.read(tmp_path / "none.json", "litellm", TODAY)
    monkeypatch.setattr(price_lists, "BYTES_MAX", 10)
    with pytest.raises(ValueError, match=r"list\.json: is larger than"):
        litellm(tmp_path, {"gpt-x": CHAT})


words = st.sampled_from(["openai", "chat", "embedding", "1e-6", "acme/x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    *CHAT, "cache_read_input_token_cost", "max_output_tokens", "tiered_pricing", "deprecation_date", "supports_vision",
    "id", "context_length", "pricing", "architecture", "top_provider", "expiration_date", "supported_parameters", "name",
)  # fmt: skip
rows = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values))
prices = st.dictionaries(st.sampled_from(["prompt", "completion", "image", "request", "overrides", "audio"]), values, max_size=4)
priced = st.fixed_dictionaries({"id": words, "context_length": st.integers(1, 9), "pricing": prices})


@given(st.dictionaries(st.text(max_size=8), rows | values, max_size=3), st.lists(rows | priced | values, max_size=4))
def test_whatever_a_file_holds_every_row_is_an_offer_or_skipped(
    tmp_path_factory: pytest.TempPathFactory, named: dict[str, Any], listed: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("list")
    offers, skipped = litellm(folder, named)
    assert len(offers) + len(skipped) == len(named.keys() - {"sample_spec"})
    offers, skipped = litellm(folder, {"data": listed}, "openrouter")
    assert len(offers) + len(skipped) == len(listed)
    assert all(parse_rate(rate) >= 0 for each in offers for unit, rate in each.rates.items() if unit != "request")
