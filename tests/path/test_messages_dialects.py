"""POST messages over providers of other tongues: the same conversation with thoughts, tools and caches, and everything comes back whole."""

import contextlib
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.fakes.anthropic import WRITTEN
from tests.fakes.process import Fake
from tests.path.messages_clients import PNG, TOOLS, asking, client_of, say, upstream_body
from tests.path.models import TEXT, upstream
from tests.path.place import UPSTREAM_KEY, Place, billed, charge_for
from tests.running import Account, tollway

CLAUDE, GEMINI, GPT, ECHO = "claude/thinks", "gemini/thinks", "gpt/thinks", "tollway/echo"
PRICE = {"prompt": "0.1535", "completion": "0.6075", "cached_prompt": "0.0765", "reasoning": "0.9005", "cache_write": "0.1919"}
PROVIDERS = {"claude": ("anthropic", ""), "gemini": ("gemini", "/v1beta"), "gpt": ("openai", "/v1")}
UPSTREAMS = {
    CLAUDE: upstream("reasoning"),
    "claude/plain": upstream("plain"),
    "claude/unpriced": upstream("plain"),
    GEMINI: "gemini-3-flash",
    GPT: upstream("reasoning"),
    "claude/cut": upstream("close-midstream"),
}
CACHE = {"cache_control": {"type": "ephemeral"}}


@pytest.fixture(scope="module")
def running(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tongues")
    (folder / "catalog.toml").write_text(catalog(fake))
    url = f"sqlite:///{folder / 'tollway.db'}"
    settings = {"TOLLWAY_CATALOG": str(folder / "catalog.toml"), "TOLLWAY_DATABASE_URL": url, "FAKE_API_KEY": UPSTREAM_KEY}
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(tollway({**settings, "TOLLWAY_HEALTH": "off"}, folder))
        yield stack.enter_context(contextlib.closing(Place(tollway=started, fake=fake, database_url=url)))


def catalog(fake: Fake) -> str:
    rows = []
    for slug, (dialect, path) in PROVIDERS.items():
        rows.append(f'[[provider]]\nslug = "{slug}"\nname = "{slug}"\ndialect = "{dialect}"\nbase_url = "{fake.address}{path}"\n')
        rows.append('api_key_env = "FAKE_API_KEY"\n')
    for id, name in UPSTREAMS.items():
        rates = {unit: usd for unit, usd in PRICE.items() if "unpriced" not in id or unit != "cache_write"}
        price = ", ".join(f'{unit} = "{usd}"' for unit, usd in rates.items())
        rows.append(f'[[model]]\nid = "{id}"\ncontext_length = 100000\n[[endpoint]]\nmodel = "{id}"\nprovider = "{id.partition("/")[0]}"\n')
        rows.append(f'upstream_model = "{name}"\nmax_output_tokens = 20000\nprice = {{ {price} }}\n')
    return "".join(rows)


@pytest.fixture
def at(running: Place) -> Iterator[Place]:
    running.fake.reset()
    yield running
    running.wait_until_idle()
    assert running.fake.health()["ok"], running.fake.health()


@pytest.fixture
def owner(at: Place) -> Account:
    return at.account()


@pytest.fixture
def client(at: Place, owner: Account) -> Iterator[anthropic.Anthropic]:
    with client_of(at, owner) as client:
        yield client


THINK = {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.mark.parametrize("model", [CLAUDE, GEMINI, GPT])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_conversation_with_thoughts_and_tools_goes_on_over_every_tongue(client: anthropic.Anthropic, model: str, stream: bool) -> None:
    turns: list[Any] = say("in parallel: weather and clock")
    first = said(client, stream, asking(model, messages=turns, tools=TOOLS, **THINK))
    uses = [block for block in first.content if block.type == "tool_use"]
    assert ([use.name for use in uses], first.stop_reason) == (["weather", "clock"], "tool_use")
    assert [list(use.input) for use in uses] == [["city"], ["zone"]]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": f"{use.name} is fine"} for use in uses]
    turns += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = said(client, stream, asking(model, messages=turns, tools=TOOLS, **THINK))
    assert second.stop_reason == "end_turn"
    assert "text" in [block.type for block in second.content]


def said(client: anthropic.Anthropic, stream: bool, asked: dict[str, Any]) -> Any:
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as answer:
        return answer.get_final_message()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_claude_gets_back_its_own_blocks_signed_as_it_signed_them(at: Place, client: anthropic.Anthropic, stream: bool) -> None:
    first = said(client, stream, asking(CLAUDE, **THINK))
    thought, text = first.content
    assert (thought.type, thought.thinking, text.text) == ("thinking", "Let me think.", TEXT)
    assert thought.signature.startswith("signature-of-")
    history = [*say("Hello"), {"role": "assistant", "content": first.content}, *say("Go on.")]
    client.messages.create(**asking(CLAUDE, messages=history, **THINK))
    assert upstream_body(at)["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Let me think.", "signature": thought.signature},
            {"type": "text", "text": TEXT},
        ],
    }


def test_a_request_of_anthropics_is_the_same_at_anthropics_end(at: Place, client: anthropic.Anthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    pdf = {"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "See"}, image], **CACHE}
    asked: dict[str, Any] = {
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Manual.", **CACHE}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What?"}, image, pdf]},
            {"role": "assistant", "content": [{"type": "text", "text": "Wait."}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "Well?", **CACHE}]},
        ],
        "tools": [TOOLS[0], {**TOOLS[1], **CACHE}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "max_tokens": 50,
        "service_tier": "standard_only",
    }
    client.messages.create(**asking("claude/plain"), extra_body=asked)
    assert upstream_body(at) == {"model": upstream("plain"), **asked}


def test_caches_cost_what_the_provider_said_it_wrote(at: Place, owner: Account, client: anthropic.Anthropic) -> None:
    message = client.messages.create(**asking("claude/plain", system=[{"type": "text", "text": "Manual.", **CACHE}]))
    usage = message.usage
    [row] = at.fake.settled()
    counts = billed([row])
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (WRITTEN, 0)
    assert usage.input_tokens == counts["prompt"] - WRITTEN
    written = charge_for(prompt=counts["prompt"] - WRITTEN, completion=counts["completion"], price=PRICE)
    assert at.used(owner) - written == charge_for(prompt=WRITTEN, completion=0, price={**PRICE, "prompt": PRICE["cache_write"]})


def test_who_bills_writes_to_a_cache_at_no_known_price_is_not_asked(at: Place, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="cache_write"):
        client.messages.create(**asking("claude/unpriced", system=[{"type": "text", "text": "Manual.", **CACHE}]))
    assert client.messages.create(**asking("claude/unpriced")).stop_reason == "end_turn"
    assert len(at.fake.ledger()) == 1


def test_a_cut_of_claudes_own_stream_is_no_end(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="api_error"), client.messages.stream(**asking("claude/cut")) as stream:
        stream.get_final_message()


def test_what_a_tongue_has_no_words_for_is_named_by_the_clients_own_place(at: Place, client: anthropic.Anthropic) -> None:
    """The chat in between has a system message and a tool message more, so its numbers are others."""
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/picture"}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
    turns = [
        *say("?"),
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result, {"type": "text", "text": "y"}, image]},
    ]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[2\]\.content\[2\]: this URL does not tell its media type") as caught:
        client.messages.create(**asking(GEMINI, system="Be brief.", messages=turns, tools=TOOLS))
    body: Any = caught.value.body
    assert body["metadata"]["param"] == "messages[2].content[2]"
    assert at.fake.ledger() == []


def test_the_echo_model_answers_anthropics_clients(client: anthropic.Anthropic) -> None:
    assert client.messages.create(**asking(ECHO, messages=say("one two"))).content[0].to_dict()["text"] == "one two"
    called = client.messages.create(**asking(ECHO, messages=say("in parallel: weather and clock"), tools=TOOLS))
    assert [block.type for block in called.content] == ["tool_use", "tool_use"]
