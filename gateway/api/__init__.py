"""One file per client API: parse -> answer() -> reply. No rules about money, keys or models here.

`chat` is raw ASGI, because it is the hot path; everything else are Litestar handlers. Every route stands under `/v1` and `/api/v1`.
"""
