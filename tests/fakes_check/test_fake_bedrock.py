"""AWS's own client understands the fake Bedrock: its signature is accepted, its answers and streams are read, its errors are named."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError, ParamValidationError
from botocore.session import Session

from tests.fakes.bedrock import HIDE
from tests.fakes.bedrock_checks import ACCESS_KEY, SECRET_KEY, SIGNATURE
from tests.fakes.process import Fake

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TOOLS = {
    "tools": [{"toolSpec": {"name": "lookup", "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}}}}]
}
Client = Any

pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture(scope="module")
def client(running_fake: Fake) -> Iterator[Client]:
    with contextlib.closing(_client(running_fake, SECRET_KEY)) as made:
        yield made


def _client(fake: Fake, secret: str) -> Client:
    plain = Config(retries={"max_attempts": 0}, proxies={}, connect_timeout=5, read_timeout=5)
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": secret, "region_name": "eu-central-1"}
    return Session().create_client("bedrock-runtime", endpoint_url=f"{fake.address}/bedrock", config=plain, **keys)


def _ask(call: Callable[..., Any], text: str = "Hello", model: str = CLAUDE, **more: Any) -> Any:
    return call(modelId=model, messages=[{"role": "user", "content": [{"text": text}]}], **more)


def _events(client: Client, **more: Any) -> list[Any]:
    with contextlib.closing(_ask(client.converse_stream, **more)["stream"]) as stream:
        return list(stream)


def test_an_answer_is_read(client: Client, fake: Fake) -> None:
    answer = _ask(client.converse)
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": f"Hello from {CLAUDE}."}]}
    assert answer["stopReason"] == "end_turn"
    [row] = fake.ledger(CLAUDE)
    assert answer["usage"]["outputTokens"] == row["billed_tokens"]["completion_tokens"] == 3


def test_a_stream_is_read_and_its_usage_comes_last(client: Client) -> None:
    events = _events(client, inferenceConfig={"maxTokens": 2})
    names = [next(iter(event)) for event in events]
    assert names == ["messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
    assert events[-2]["messageStop"] == {"stopReason": "max_tokens"}
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 2


def test_thoughts_and_tool_calls_are_read(client: Client, fake: Fake) -> None:
    fake.fault(CLAUDE, fault="reasoning")
    more = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    answer = _ask(client.converse, HIDE, additionalModelRequestFields=more)
    hidden, thought, said = answer["output"]["message"]["content"]
    assert thought == {"reasoningContent": {"reasoningText": {"text": "Let me think.", "signature": SIGNATURE}}}
    assert hidden == {"reasoningContent": {"redactedContent": b"redacted-by-the-fake"}}
    assert said["text"]
    fake.fault(CLAUDE)
    events = _events(client, toolConfig=TOOLS)
    assert events[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "lookup"
    arguments = [event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event]
    assert "".join(arguments) == '{"city":"text"}'


@pytest.mark.parametrize(
    ("fault", "name", "status"),
    [
        ("rate-limit", "ThrottlingException", 429),
        ("status@status=503", "ServiceUnavailableException", 503),
        ("context-length", "ValidationException", 400),
    ],
)
def test_a_refusal_has_its_exceptions_name(client: Client, fault: str, name: str, status: int) -> None:
    with pytest.raises(ClientError) as refused:
        _ask(client.converse, model=fault)
    assert refused.value.response["Error"]["Code"] == name
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_an_exception_in_a_stream_is_one(client: Client) -> None:
    with pytest.raises(EventStreamError, match="throttlingException"):
        _events(client, model="error-midstream@code=throttlingException")


def test_a_wrong_secret_is_refused(fake: Fake) -> None:
    with contextlib.closing(_client(fake, "another secret")) as client, pytest.raises(ClientError, match="InvalidSignatureException"):
        _ask(client.converse)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([{"role": "assistant", "content": [{"text": "Hi"}]}], "must start with a user message"),
        ([{"role": "user", "content": [{"text": " "}]}], "is blank"),
        ([{"role": "user", "content": [{"text": "a"}]}, {"role": "user", "content": [{"text": "b"}]}], "must alternate"),
        ([{"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": []}}]}], "Expected toolResult"),
    ],
)
def test_turns_out_of_order_are_refused(client: Client, messages: Any, complaint: str) -> None:
    with pytest.raises(ClientError, match=complaint):
        client.converse(modelId=CLAUDE, messages=messages)


def test_what_the_client_would_not_send_the_fake_does_not_take(client: Client) -> None:
    with pytest.raises(ParamValidationError):
        _ask(client.converse, toolConfig={"tools": []})
    with pytest.raises(ClientError, match="Member must be between"):
        _ask(client.converse, inferenceConfig={"temperature": 1.5})
    with pytest.raises(ClientError, match="Extra inputs"):
        _ask(client.converse, additionalModelRequestFields={"seed": 1})


def test_embeddings_are_given(client: Client) -> None:
    answer = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=b'{"inputText": "two words"}')
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "2"
