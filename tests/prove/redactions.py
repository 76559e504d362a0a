"""The guards that keep content out of every sink: each is taken away by name, and the short canary must turn red.

Not here, because more than one guard stands before the same place and the others hold: `Content` shows nothing of itself (nobody logs
it), tracebacks without locals (the locals hold `Content`), statements without parameters (errors are logged without their text).
"""

from tests.prove.guards import Guard

CANARY = ("tests/path/test_canary.py",)


def _guard(name: str, file: str, old: str, new: str) -> Guard:
    return Guard(name, file, ((old, new),), CANARY)


REDACTIONS = (
    _guard(
        "of a referer only the origin is kept",
        "gateway/api/inference.py",
        """f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:200]""",
        '(referer or b"").decode("latin-1")',
    ),
    _guard(
        "the user in a referer is not part of its origin",
        "gateway/api/inference.py",
        "parts.netloc.rpartition('@')[2]",
        "parts.netloc",
    ),
    _guard(
        "a title has 64 characters", "gateway/api/inference.py", "TITLE_CHARACTERS_MAX: Final = 64", "TITLE_CHARACTERS_MAX: Final = 640"
    ),
    _guard(
        "under logging none nothing but billing is written",
        "gateway/settlement.py",
        'if generation.level == "none":\n        row.update(generations.NOTHING_BUT_BILLING)\n    if cost is FREE',
        "if cost is FREE",
    ),
    _guard(
        "a provider's reason to finish is kept only if it looks like a word",
        "gateway/settlement.py",
        "native is not None and _WORD.fullmatch(native)",
        "native is not None",
    ),
    _guard(
        "a provider's id is kept only if it looks like one",
        "gateway/settlement.py",
        "labels.upstream_id and _ID.fullmatch(labels.upstream_id)",
        "labels.upstream_id",
    ),
    _guard(
        "of an Idempotency-Key only an HMAC is kept",
        "policy/idempotency.py",
        'hmac.digest(of_account, b"key:" + key, hashlib.sha256).hex()',
        "hashlib.sha256(key).hexdigest()",
    ),
    _guard(
        "of a conversation's name only an HMAC is kept",
        "policy/sticky.py",
        "hmac.digest(_secret_of(secret, account_id), text, hashlib.sha256).hex()",
        "text.decode()",
    ),
    _guard(
        "a tape is sealed",
        "policy/tapes.py",
        "self._cipher.encrypt(_nonce(self._frames), data, _bound(self._name, last=last))",
        "data",
    ),
    _guard(
        "stored content is sealed",
        "policy/content_store.py",
        "AESGCM(key).encrypt(nonce, zlib.compress(raw, 1), _place(account_id, generation_id, id))",
        "raw",
    ),
    _guard(
        "content is stored only where the account's choice is full",
        "policy/privacy.py",
        'level != "full" or privacy.logging != "full" or (privacy',
        "(privacy",
    ),
    _guard(
        "a trace knows the catalog's models alone",
        "gateway/telemetry.py",
        "name if name in self._models else UNKNOWN)",
        "name)",
    ),
)
