"""One file per client API. `inference` is what every paid POST shares; a `ClientApi` says how a body becomes the canonical chat request
and how answers and refusals look there (`chat`, `completions`, `embeddings`, `responses`, `messages`, each with its `_body` and `_reply`).

The pipeline knows none of them: it sees a ChatRequest and tells a Reply events, then one end. What a client API cannot keep as it was
asked it names in `ChatRequest.adjusted`. All other routes are Litestar's and ask `account.caller_of` who is there.
"""
