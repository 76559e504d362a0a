"""`reasoning: {"exclude": true}`: the client sees no thoughts, on any API and dialect, and pays for them all the same."""

from typing import Any

import pytest

from tests.path.client import PROMPT
from tests.path.messages_clients import raw_post
from tests.path.models import model_id
from tests.path.place import Place

MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
THINKS = model_id("reasoning")
THOUGHT = "Let me think."


@MODES
def test_thoughts_are_left_out_of_a_chat_and_charged(quiet: Place, stream: bool) -> None:
    owner = quiet.account()
    shown = quiet.ask(owner, THINKS, stream=stream)
    hidden = quiet.ask(owner, THINKS, stream=stream, reasoning={"exclude": True})
    assert shown.said(field="reasoning") == THOUGHT
    assert hidden.said() == shown.said() != ""
    assert hidden.reasons() == shown.reasons()
    assert b"reasoning_content" not in hidden.body
    assert THOUGHT.split()[-1] not in hidden.body.decode()
    assert hidden.usage["completion_tokens_details"]["reasoning_tokens"] > 0
    assert hidden.usage["cost"] == shown.usage["cost"] > 0
    assert "x-tollway-adjusted" not in hidden.headers
    blank = [choice for choice in hidden.choices if choice.get("delta") == {} and not choice["finish_reason"]]
    assert len(blank) <= 1, "beside the chunk with the usage none says nothing"


@MODES
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("responses", {"input": PROMPT, "include": ["reasoning.encrypted_content"]}),
        ("messages", {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 99}),
        ("completions", {"prompt": PROMPT}),
    ],
)
def test_thoughts_are_left_out_of_every_api(quiet: Place, path: str, body: dict[str, Any], stream: bool) -> None:
    headers = {"authorization": f"Bearer {quiet.account().key}"}
    for wanted in ({}, {"reasoning": {"exclude": True}}):
        status, _, raw = raw_post(quiet, f"/v1/{path}", headers, {"model": THINKS, "stream": stream, **body, **wanted})
        assert status == 200
        assert (b"think." in raw) == (not wanted)
