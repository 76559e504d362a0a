"""The catalog of the path tests: `fake/<fault>` has one endpoint, `two/<fault>` a second one that works, a few have their own prices.

A fault is spelled as the fake provider spells it (`tests/fakes/faults.py`); in a model's id, what an id may not hold becomes a dash.
"""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

TEXT = "Hello é 漢 😀 wörld, again."
SECOND = "second"

PRICE = {"prompt": "0.1535", "completion": "0.6075", "cached_prompt": "0.0765", "reasoning": "0.9005"}
DEAR = {"prompt": "1000", "completion": "100000"}
"""A prompt token costs a thousandth of a dollar, a completion token a tenth."""

ODD = (
    *("plain", "split-bytes", "split-at", "crlf", "cr", "comments", "multi-data", "no-space", "no-done", "doubled-done", "after-done"),
    *("gzip", "gzip+crlf", "wrong-content-type", "stream-answered-with-json", "slow-first-token@ms=300", "slow-tokens@ms=20"),
    *("slow-headers@ms=10", "usage-in-last-content", "usage-every-chunk", "plain@cached=3", "plain@reasoning=4"),
)
"""Legal answers, however odd: the text is TEXT, the usage is the fake's."""

UNTOLD = (
    *("missing-usage", "usage-null"),
    *(f"usage-wrong@kind={kind}" for kind in ("negative", "huge", "float", "str", "list", "empty")),
)
"""The text is TEXT, but there is no usage that can be believed."""

_REFUSED = {
    502: (
        *(f"status@status={status}" for status in (402, 403, 404, 409, 425, 500, 501, 502, 520)),
        *("status-html", "status-empty", "leaky-error", "leaky-error@status=402", "leaky-error@status=403", "leaky-error@status=500"),
        *("needs-key", "reset-before-headers", "close-before-headers", "redirect", "redirect@status=307", "empty-body", "bad-json"),
        *("huge-body@mb=6", "gzip-bomb@mb=16", "error-200", "garbage-first", "empty-stream", "truncated-json@k=1"),
        *("reset-midstream@k=1", "close-midstream@k=1", "clean-eof-midstream@k=1", "malformed-sse@k=1"),
        *("error-midstream@k=1", "error-bare-midstream@k=1"),
    ),
    503: ("status@status=503", "status@status=529", "status-html@status=503"),
    504: ("status@status=408", "status@status=504", "stall-before-headers", "headers-then-stall", "stall-midstream@k=1"),
    429: ("rate-limit", "rate-limit@secs=7", "status@status=429,code=insufficient_quota"),
}
REFUSED = {fault: status for status, faults in _REFUSED.items() for fault in faults}
"""Failures before content -> our status."""

BLAMED = {"status@status=400": 400, "context-length": 400, "echo-prompt-error": 400, "status@status=413": 413, "status@status=422": 422}
"""Failures that are the request's -> our status."""

_CUT = (
    *("reset-midstream", "close-midstream", "clean-eof-midstream", "malformed-sse", "truncated-json", "error-midstream"),
    *("error-midstream@shape=chunk", "error-midstream@done=1", "error-bare-midstream", "error-bare-midstream@shape=string"),
    *("error-bare-midstream@done=1", "gzip+close-midstream", "crlf+reset-midstream", "missing-usage+clean-eof-midstream"),
    "usage-every-chunk+close-midstream",
)
CUT = {**dict.fromkeys(_CUT, 502), "stall-midstream": 504}
"""Streams that break after the role and two words of content -> the code in the error chunk."""

OTHERS = (
    *("json-answered-with-stream", "big-event", "huge-event", "endless", "endless@tokens=100", "ignore-max-tokens@tokens=100"),
    *("empty-content", "refusal", "content-filter", "reasoning", "tool-split", "n2", "usage-wrong@kind=inconsistent"),
    *("planned", "fail-then-ok", "ok-then-close-idle", "ok-then-close-idle@how=rst", "ok-then-close-idle@how=idle"),
)

PRICED = {
    "priced/request": ("plain", {**PRICE, "request": "0.000123457"}),
    "priced/dear": ("plain", DEAR),
    "priced/endless": ("endless@ms=1", DEAR),
    "priced/planned": ("planned", DEAR),
}
ABLE = {"only/embeddings": ["embeddings"], "only/chats": ["text", "tools"]}
"""Models whose one endpoint can do this and nothing else."""

UNREACHABLE = ("refusing", "silent")
OUTPUT_MAX = 100_000


def model_id(fault: str, company: str = "fake") -> str:
    return f"{company}/{re.sub(r'[^A-Za-z0-9._:@+-]+', '-', fault)}"


def upstream(fault: str) -> str:
    """What the fake is asked for: the fault, and TEXT as its answer."""
    if fault == "planned" or fault.startswith("endless") or "tokens=" in fault:
        return fault
    return f"{fault}{',' if '@' in fault else '@'}text={quote(TEXT)}"


def catalog(*, working: str, refusing: str, silent: str) -> str:
    """The TOML: providers fake-a and fake-b at `working`, one that refuses connections and one that never takes them."""
    urls = {"fake-a": working, "fake-b": working, "refusing": refusing, "silent": silent}
    openai = {"dialect": "openai", "api_key_env": "FAKE_API_KEY"}
    rows = [_row("provider", slug=slug, name=slug, base_url=url, **openai) for slug, url in urls.items()]
    for fault in dict.fromkeys((*ODD, *UNTOLD, *REFUSED, *BLAMED, *CUT, *OTHERS)):
        for company in ("fake", "two"):
            rows += [_model(model_id(fault, company)), _endpoint(model_id(fault, company), "fake-a", upstream(fault))]
        rows.append(_endpoint(model_id(fault, "two"), "fake-b", SECOND, priority=1))
    for id, (name, price) in PRICED.items():
        rows += [_model(id), _endpoint(id, "fake-a", upstream(name), price=price)]
    for id, capabilities in ABLE.items():
        rows += [_model(id), f"{_endpoint(id, 'fake-a', 'plain')}capabilities = {json.dumps(capabilities)}\n"]
    rows += _unreachable()
    return "\n".join(rows)


def _unreachable() -> Iterator[str]:
    """`two/<provider>`: first nobody, then fake-b. `four/dead`: three that fail before one that works."""
    for provider in UNREACHABLE:
        yield _model(model_id(provider, "two"))
        yield _endpoint(model_id(provider, "two"), provider, SECOND)
        yield _endpoint(model_id(provider, "two"), "fake-b", SECOND, priority=1)
    yield _model("four/dead")
    yield _endpoint("four/dead", "refusing", SECOND)
    yield _endpoint("four/dead", "fake-a", "status@status=500", priority=1)
    yield _endpoint("four/dead", "silent", SECOND, priority=2)
    yield _endpoint("four/dead", "fake-b", SECOND, priority=3)


def _model(id: str) -> str:
    return _row("model", id=id, context_length=OUTPUT_MAX)


def _endpoint(model: str, provider: str, name: str, *, priority: int = 0, price: dict[str, str] | None = None) -> str:
    head = _row("endpoint", model=model, provider=provider, upstream_model=name, max_output_tokens=OUTPUT_MAX, priority=priority)
    return f"{head}price = {{ {', '.join(f'{unit} = {json.dumps(usd)}' for unit, usd in (price or PRICE).items())} }}\n"


def _row(table: str, **fields: str | int) -> str:
    return f"[[{table}]]\n" + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())
