"""Fields that must be refused: of the wrong type, out of range, of the wrong shape; and requests that cannot be paid."""

from collections.abc import Iterator

import pytest

from tests.hostile import Client, Place, ask, place


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("bad-fields")) as running:
        yield running


@pytest.fixture(autouse=True)
def untouched(here: Place) -> Iterator[None]:
    """Whatever a test of this file sends leaves the books and the provider as they were."""
    before, sent, pid = here.books(), len(here.fake.ledger()), here.tollway.pid
    yield
    after = here.books()
    assert (after.open_holds, after.held, after.generations) == (0, 0, before.generations)
    assert after.posted >= before.posted  # accounts are created with credit
    assert len(here.fake.ledger()) == sent
    assert here.tollway.pid == pid


@pytest.fixture(scope="module")
def client(here: Place) -> Client:
    return here.client()


def assert_names(client: Client, fields: dict[str, object], param: str) -> None:
    answer = client.chat(ask(**fields))
    assert answer.status == 400, (fields, answer.body[:300])
    assert answer.error["param"] == param
    assert param in answer.error["message"]


# Messages


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_required_field_that_is_missing_is_named(client: Client, field: str) -> None:
    body = ask()
    del body[field]
    answer = client.chat(body)
    assert (answer.status, answer.error["param"]) == (400, field)


@pytest.mark.parametrize("value", [None, 1, True, "", [], {}, ["acme/fast-1"], "x" * 257])
def test_a_model_that_is_no_name_is_400(client: Client, value: object) -> None:
    assert_names(client, {"model": value}, "model")


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        (None, "messages"),
        ("Hello", "messages"),
        ({"role": "user", "content": "Hello"}, "messages"),
        (0, "messages"),
        ([{"role": "user", "content": "x"}] * 10_001, "messages"),
        (["Hello"], "messages[0]"),
        ([None], "messages[0]"),
        ([[]], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"content": "Hello"}], "messages[0].role"),
        ([{"role": "user", "content": "x"}, {"content": "x"}], "messages[1].role"),
        ([{"role": None, "content": "x"}], "messages[0].role"),
        ([{"role": 1, "content": "x"}], "messages[0].role"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        ([{"role": "USER", "content": "x"}], "messages[0].role"),
        ([{"role": "", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": True}], "messages[0].content"),
        ([{"role": "user", "content": {"type": "text", "text": "x"}}], "messages[0].content"),
        ([{"role": "user", "content": ["Hello"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [None]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"text": "Hello"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": 1}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": None}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}], "messages[0].content[0].image_url"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": ["x"]}]}], "messages[0].content[0].image_url"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": "x"}]}], "messages[0].content[0].input_audio"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": []}]}], "messages[0].content[0].input_audio"),
        ([{"role": "user", "content": [{"type": "file", "file": 1}]}], "messages[0].content[0].file"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": "x"}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [1]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "tool_calls": [None]}], "messages[0].tool_calls[0]"),
    ],
)
def test_messages_of_the_wrong_shape_are_400(client: Client, messages: object, param: str) -> None:
    answer = client.chat(ask(messages=messages))
    assert answer.status == 400, answer.body[:300]
    assert answer.error["param"] == param
    assert param in answer.error["message"]


# Numbers

COUNTS = ("max_tokens", "max_completion_tokens")
NO_COUNT = (-1, -(2**63), -(2**70), 10_000_001, 2**31, 2**63, 2**64, 10**30, 1.5, -0.1, 1e300, True, False, "5", "", [], [5], {})


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", NO_COUNT, ids=repr)
def test_a_token_limit_that_is_no_count_is_400(client: Client, field: str, value: object) -> None:
    assert_names(client, {field: value}, field)


@pytest.mark.parametrize("value", [0, -1, 129, 10**9, 2**64, 10**30, 1.5, True, "2", [], {}], ids=repr)
def test_n_outside_1_to_128_is_400(client: Client, value: object) -> None:
    assert_names(client, {"n": value}, "n")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", [-0.001, 2.001, -1, 3, 1e308, 10**30, True, "1", [], {}]),
        ("top_p", [-0.001, 1.001, 2, True, "0.5", [], {}]),
        ("frequency_penalty", [-2.1, 2.1, True, "0", [], {}]),
        ("presence_penalty", [-2.1, 2.1, False, "0", [], {}]),
        ("top_logprobs", [-1, 21, 2**64, 1.5, True, "5", [], {}]),
        ("logprobs", [1, 0, "true", [], {}]),
        ("seed", [1.5, True, "1", [], {}]),
        ("stream", ["true", "false", 1, 0, "", [], {}]),
        ("stream_options", [[], "x", 1, True]),
        ("stop", [1, True, {}, [1], ["x", None], [[]]]),
        ("tools", ["x", {}, 1, True, [1], [None], ["x"], [[]]]),
        ("tool_choice", [1, True, []]),
        ("parallel_tool_calls", [1, "true", [], {}]),
        ("response_format", ["json_object", 1, True, []]),
        ("modalities", ["text", 1, {}, [1], [None]]),
        ("service_tier", ["flex", "priority", "", 1, True, [], {}]),
        ("user", [1, True, [], {}]),
        ("models", ["acme/fast-1", 1, {}, [1], [None], ["x"] * 17]),
        ("provider", [[], "acme", 1, True]),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_named(client: Client, field: str, values: list[object]) -> None:
    for value in values:
        answer = client.chat(ask(**{field: value}))
        assert answer.status == 400, (value, answer.body[:300])
        assert answer.error["param"].partition("[")[0] == field, value
        assert answer.error["message"].startswith(field), value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": None}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": "x"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": []}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": 1}}]}, "tools[0].function.name"),
        ({"tools": [{"type": 1}]}, "tools[0].type"),
        ({"tools": [{}]}, "tools[0]"),
        ({"models": ["acme/fast-1", 5]}, "models[1]"),
    ],
)
def test_a_field_inside_a_field_is_named(client: Client, fields: dict[str, object], param: str) -> None:
    assert_names(client, fields, param)


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key", "headers", "extra_headers"])
@pytest.mark.parametrize("value", ["http://127.0.0.1:1/", None, {}])
def test_a_field_that_would_redirect_the_request_is_400(client: Client, field: str, value: object) -> None:
    assert_names(client, {field: value}, field)


@pytest.mark.parametrize(
    ("provider", "named"),
    [
        ({"no_such_field": 1}, "no_such_field"),
        ({"order": "acme-cloud"}, "order"),
        ({"order": [1]}, "order"),
        ({"only": {}}, "only"),
        ({"ignore": [None]}, "ignore"),
        ({"allow_fallbacks": "no"}, "allow_fallbacks"),
        ({"data_collection": "maybe"}, "data_collection"),
        ({"zdr": 1}, "zdr"),
        ({"sort": "latency-or-so"}, "sort"),
        ({"sort": {"by": "colour"}}, "sort"),
        ({"quantizations": "fp8"}, "quantizations"),
        ({"max_price": 1}, "max_price"),
        ({"max_price": {"prompt": "cheap"}}, "max_price"),
        ({"max_price": {"prompt": "nan"}}, "max_price"),
        ({"max_price": {"prompt": "inf"}}, "max_price"),
        ({"max_price": {"tokens": 1}}, "max_price"),
        ({"max_price": {"prompt": -1}}, "max_price"),
        ({"max_price": {"prompt": []}}, "max_price"),
    ],
)
def test_a_preference_that_is_not_understood_is_400_and_named(client: Client, provider: dict[str, object], named: str) -> None:
    answer = client.chat(ask(provider=provider))
    assert answer.status == 400, answer.body
    assert named in answer.error["message"]
    assert str(answer.error["param"]).startswith("provider")


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({"provider": {"only": ["nobody"]}}, "provider.only"),
        ({"provider": {"ignore": ["acme-cloud"]}}, "provider.ignore"),
        ({"provider": {"data_collection": "deny"}}, "Data Policy"),
        ({"provider": {"zdr": True}}, "Data Policy"),
        ({"provider": {"max_price": {"prompt": 0.01}}}, "max_price"),
        ({"provider": {"max_price": {"completion": 0}}}, "max_price"),
        ({"provider": {"quantizations": ["fp8"]}}, "quantizations"),
        ({"modalities": ["text", "audio"]}, "Price"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]}, "Price"),
    ],
)
def test_rules_that_leave_no_endpoint_are_404_with_the_funnel(client: Client, fields: dict[str, object], step: str) -> None:
    answer = client.chat(ask(**fields))
    assert answer.status == 404, answer.body
    assert step in answer.error["metadata"]["failed_routing_step"]
    assert answer.error["metadata"]["routing_funnel"][-1]["endpoint_count"] == 0


# Money


@pytest.fixture(scope="module")
def poor(here: Place) -> dict[str, Client]:
    """Clients of accounts with this much credit."""
    return {credit: here.client(here.tollway.account(credit).key) for credit in ("0", "0.000000001")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("max_tokens", [None, 1, 10_000_000])
@pytest.mark.parametrize("credit", ["0", "0.000000001"])
def test_a_balance_too_small_is_402_and_says_what_is_affordable(
    poor: dict[str, Client], credit: str, max_tokens: int | None, stream: bool
) -> None:
    answer = poor[credit].chat(ask(max_tokens=max_tokens, stream=stream))
    assert (answer.status, answer.error["type"]) == (402, "insufficient_quota")
    metadata = answer.error["metadata"]
    assert metadata["affordable_output_tokens"] == 0
    assert metadata["available_nano"] == (1 if credit != "0" else 0) < metadata["required_nano"]
    assert "affords 0 completion tokens" in answer.error["message"]
    assert "x-generation-id" in answer.headers


def test_the_402_of_a_small_key_limit_names_the_key(here: Place) -> None:
    key = here.tollway.cli_json("key", "create", "--account", here.account.account_id, "--limit", "0.000000001")["key"]
    answer = here.client(key).chat(ask(max_tokens=5))
    assert answer.status == 402
    assert answer.error["metadata"]["limit_source"] == "tollway_key_limit"
    assert "key's limit" in answer.error["message"]
