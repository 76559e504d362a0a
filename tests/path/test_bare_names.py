"""A model named without its company, as that company's clients do: the only one that can be meant answers, under its full id."""

import json
from typing import Any

import pytest

from tests.path.client import PROMPT
from tests.path.messages_clients import raw_post
from tests.path.models import model_id
from tests.path.place import Place

CHATS, BARE = "only/chats", "chats"
TWICE = [model_id("plain", company) for company in ("fake", "two")]
TURNS = [{"role": "user", "content": PROMPT}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": TURNS}),
        ("completions", {"prompt": PROMPT}),
        ("responses", {"input": PROMPT}),
        ("messages", {"messages": TURNS, "max_tokens": 99}),
    ],
)
def test_the_answer_names_the_whole_id(quiet: Place, path: str, body: dict[str, Any]) -> None:
    owner = quiet.account()
    headers = {"authorization": f"Bearer {owner.key}"}
    for model in (BARE, f"{BARE}:floor"):
        status, _, raw = raw_post(quiet, f"/v1/{path}", headers, {"model": model, **body})
        assert (status, json.loads(raw)["model"]) == (200, CHATS)
    for unclear, hints in (("chat", [CHATS]), ("plain", TWICE[1:])):
        status, _, raw = raw_post(quiet, f"/v1/{path}", headers, {"model": unclear, **body})
        assert status == 400
        assert all(hint in json.loads(raw)["error"]["message"] for hint in hints)


def test_it_is_explained_and_counted_as_it_is_answered(quiet: Place) -> None:
    headers = {"authorization": f"Bearer {quiet.account().key}"}
    explained, whole = (raw_post(quiet, "/v1/route/explain?draw=0", headers, {"model": name}) for name in (BARE, CHATS))
    assert json.loads(explained[2])["endpoints"] == json.loads(whole[2])["endpoints"] != []
    counted, whole = (raw_post(quiet, "/v1/messages/count_tokens", headers, {"model": name, "messages": TURNS}) for name in (BARE, CHATS))
    assert counted[2] == whole[2]
