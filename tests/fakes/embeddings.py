"""Answers POST embeddings: a vector per input, its tokens booked; the faults of a refused answer, and two parameters of its own.

`vectors=N` answers with N vectors, however many were asked for; `as=float` or `as=base64` answers so, whatever was asked for.
A token is a word, or one of a list of tokens.
"""

import base64
import hashlib
import json
import struct
from dataclasses import replace

from tests.fakes.answers import Wish
from tests.fakes.completions import error_body
from tests.fakes.faults import Json
from tests.fakes.ledger import MAX_KEPT_BODY
from tests.fakes.plans import Plans
from tests.fakes.refusals import refuse
from tests.fakes.sending import OPERATOR_HEADERS, Exchange, send_json
from tests.fakes.usage import Count, count_for

DIMENSIONS = 8


async def answer_embeddings(x: Exchange, plans: Plans) -> bool:
    """Whether the connection may serve another request."""
    body = _parsed(x.request.body)
    inputs = _inputs(body.get("input")) if isinstance(body, dict) else []
    if not inputs or not isinstance(body.get("model"), str):
        return await send_json(x, 400, error_body("An object with a model and input is needed.", kind="invalid_request_error"))
    record, plan = x.record, plans.choose(body["model"])
    record.model = body["model"]
    record.request_body = body if len(x.request.body) <= MAX_KEPT_BODY else None
    tokens = sum(len(each.split()) if isinstance(each, str) else len(each) for each in inputs)
    count = count_for([], plan)
    count.terms.prompt = count.override.get("prompt_tokens", tokens)
    record.terms = count.terms
    x = replace(x, plan=plan, wish=Wish(body, plan, record.id))
    lives_on = await refuse(x)
    return await _answer(x, inputs, count) if lives_on is None else lives_on


async def _answer(x: Exchange, inputs: list[Json], count: Count) -> bool:
    assert x.wish
    body, plan = x.wish.body, x.plan
    if plan.has("error-200"):
        return await send_json(x, 200, error_body("The fake provider failed."), headers=OPERATOR_HEADERS)
    number = plan.number("vectors") if "vectors" in plan.params else len(inputs)
    packed = plan.text("as", str(body.get("encoding_format"))) == "base64"
    vectors = [vector(inputs[place % len(inputs)], body.get("dimensions") or DIMENSIONS) for place in range(number)]
    rows = [{"object": "embedding", "index": place, "embedding": _pack(each) if packed else each} for place, each in enumerate(vectors)]
    answer: dict[str, Json] = {"object": "list", "data": rows, "model": body["model"]}
    if not plan.has("missing-usage"):
        answer["usage"] = None if plan.has("usage-null") else _usage(count)
    x.record.reported_usage = answer.get("usage")
    return await send_json(x, 200, answer, headers=OPERATOR_HEADERS, outcome="served")


def vector(text: Json, dimensions: int) -> list[float]:
    """What this provider gives for it: numbers that float32 holds exactly."""
    seed = hashlib.shake_256(json.dumps(text).encode()).digest(dimensions)
    return [byte / 256 - 0.5 for byte in seed]


def _pack(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _usage(count: Count) -> dict[str, Json]:
    told = count.usage(0)
    return {name: told[name] for name in ("prompt_tokens", "total_tokens")}


def _inputs(given: Json) -> list[Json]:
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given
    return [given] if given else []


def _parsed(raw: bytes) -> Json:
    try:
        return json.loads(raw)
    except ValueError:
        return None
