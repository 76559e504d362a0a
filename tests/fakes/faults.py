"""Every fault there is, with the defaults of its parameters.

A model name may be a fault (`crlf`), several (`crlf+missing-usage`) and carry parameters: `slow-tokens@ms=20,tokens=50`, values
URL-unquoted. `PUT /control/faults/<model>` with `{"fault": "a" | "a+b" | ["a", "b"], ...parameters}` plans any other name; a plan set
so beats what the name spells. `k` is the number of stream events sent before the fault, the role chunk included; a shorter answer
breaks before its finish chunk.

any model                 tokens= N times "word "; text=; first_ms=, token_ms= delays; in usage cached=, reasoning= (hidden tokens, part of
                          the completion); usage={...} merged over the true usage and billed so (control API only)

Before the answer, or in its place
slow-first-token          ms=1000; headers=1 sends the headers at once
slow-headers              ms=50 after each header line
rate-limit                429, Retry-After: secs=1, code=rate_limit_exceeded, message=
status                    status=500, code=, message=, retry_after=; OpenAI's error body
status-html               502 (status=) with an HTML page
status-empty              500 (status=) without a body
echo-prompt-error         400 whose message holds the prompt
context-length            400, context_length_exceeded
leaky-error               401 (status=) that names the operator's key, host and organisation
needs-key                 401 unless `Authorization: Bearer good-key`
reset-before-headers      RST
close-before-headers      FIN
stall-before-headers      silence
headers-then-stall        200 and its headers, then silence
redirect                  302 (status=) to location=; what is asked under /elsewhere/ is answered plainly
fail-then-ok              times=1 failures as how=status says (any fault), then an answer
empty-body                200, no body
bad-json                  200, not JSON; in a stream as the only event
huge-body                 mb=80 of JSON; in a stream as one endless line
gzip-bomb                 mb=256 of spaces, packed

In the middle, k=3; without stream in the middle of the body, or with the error or the garbage as the body
reset-midstream           RST
close-midstream           FIN, the chunked coding not ended
clean-eof-midstream       the coding ended, no finish_reason, no [DONE]
stall-midstream           silence; ms= ends it and the answer goes on
truncated-json            less than the length (in a stream: the chunk's) announced, then FIN
malformed-sse             an event that is not JSON, then on
garbage-first             such an event first
error-200                 {"error": {...}} as the body, or as the first event
error-midstream           {"error": {...}}, then the end; shape=chunk puts it beside choices; done=1 adds [DONE]
error-bare-midstream      the error's fields outside "error"; shape=string: {"error": "text"}; done=1

How the bytes come
split-bytes               each byte a chunk and a write of its own, gap_ms= apart; the text has é 漢 😀
split-at                  each event cut at byte n=7, gap_ms=1; the same text
crlf, cr                  line ends
comments                  comments, event:, id:, retry: and blank lines between
multi-data                an event's JSON over two data: lines
no-space                  `data:{`
no-done                   finish_reason, usage, but no [DONE]
doubled-done              [DONE] twice
after-done                content and one more [DONE] after [DONE]
gzip                      JSON and SSE packed, asked or not
wrong-content-type        type=text/html
stream-answered-with-json, json-answered-with-stream
ok-then-close-idle        an answer; the connection's next request gets FIN (how=fin) or RST (how=rst); how=idle: FIN after ms=50

What is said
missing-usage             never, though asked
usage-null                null, though asked
usage-in-last-content     content, finish_reason and usage in one chunk, asked or not
usage-every-chunk         cumulative, asked or not
usage-wrong               kind=negative | huge | float | str | list | empty | inconsistent
huge-event, big-event     one token of bytes=2 MiB, 512 KiB
endless                   ignores max_tokens, ms=5; tokens= ends it (then ms=0)
ignore-max-tokens         tokens=100
empty-stream              [DONE] alone; without stream choices []
empty-content             finish_reason stop after no token
refusal                   delta.refusal
content-filter            finish_reason content_filter
reasoning                 reasoning_content, then content; reasoning_tokens in usage
tool-split                two calls, arguments one character a chunk, interleaved by index
n2                        two choices, interleaved, the second first
"""

from collections.abc import Mapping
from typing import Any

Json = Any  # wire JSON

MIB = 1 << 20

_PLAIN = (
    *("reset-before-headers", "close-before-headers", "stall-before-headers", "headers-then-stall", "needs-key"),
    *("echo-prompt-error", "context-length", "empty-body", "bad-json", "error-200", "garbage-first"),
    *("split-bytes", "crlf", "cr", "comments", "multi-data", "no-space", "no-done", "doubled-done", "after-done", "gzip"),
    *("stream-answered-with-json", "json-answered-with-stream", "missing-usage", "usage-null", "usage-in-last-content"),
    *("usage-every-chunk", "n2", "empty-stream", "empty-content", "refusal", "content-filter", "reasoning", "tool-split"),
)
_MIDSTREAM = ("reset-midstream", "close-midstream", "clean-eof-midstream", "stall-midstream", "malformed-sse", "truncated-json")

FAULTS: Mapping[str, Mapping[str, Json]] = {
    **{name: {} for name in _PLAIN},
    **{name: {"k": 3} for name in _MIDSTREAM},
    "error-midstream": {"k": 3, "shape": "object"},
    "error-bare-midstream": {"k": 3, "shape": "message"},
    "slow-first-token": {"first_ms": 1000},
    "slow-tokens": {"token_ms": 100},
    "slow-headers": {"header_ms": 50},
    "rate-limit": {"status": 429, "secs": 1, "code": "rate_limit_exceeded", "message": "Rate limit reached, try again later."},
    "status": {"status": 500},
    "status-html": {"status": 502},
    "status-empty": {"status": 500},
    "leaky-error": {"status": 401},
    "redirect": {"status": 302, "location": "/elsewhere/v1/chat/completions"},
    "fail-then-ok": {"times": 1, "how": "status"},
    "huge-body": {"mb": 80},
    "gzip-bomb": {"mb": 256},
    "split-at": {"n": 7, "gap_ms": 1},
    "wrong-content-type": {"type": "text/html"},
    "ok-then-close-idle": {"how": "fin", "idle_ms": 50},
    "usage-wrong": {"kind": "negative"},
    "huge-event": {"bytes": 2 * MIB},
    "big-event": {"bytes": MIB // 2},
    "endless": {"token_ms": 5},
    "ignore-max-tokens": {"tokens": 100},
}
