"""What can go wrong at a provider, in words that routing understands.

ProviderError                       a provider did not answer as asked
|-- ConnectFailed                   nothing was sent: the next endpoint costs nothing
|-- ProviderTimeout                 first byte, idle or total time ran out, here or there (408, 504)
|-- ProviderOverloaded              429, 503, 529: capacity, not health
|-- ProviderUnavailable             other 5xx, 404 (it does not know its own model), 409, 425; resets before or inside an answer
|-- ProviderInvalidAnswer           an answer that is not what the dialect allows
|-- ProviderRefusedKey              401, 402, 403: our key, not the client's fault
`-- RequestRefused                  400, 413, 422 and other 4xx: this request, as it is; not retried on the same model
    `-- Inexpressible               the dialect has no words for it: nothing was sent, and another dialect may
"""

from providers.content import Content


class ProviderError(Exception):
    """`status` is the provider's HTTP status (None = no answer), `code` its own code, `detail` its text, which is content."""

    error_type = "provider_unavailable"

    def __init__(
        self,
        summary: str,
        *,
        status: int | None = None,
        code: str | None = None,
        detail: Content[str] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class ConnectFailed(ProviderError):
    pass


class ProviderTimeout(ProviderError):
    error_type = "timeout"


class ProviderOverloaded(ProviderError):
    error_type = "provider_overloaded"


class ProviderUnavailable(ProviderError):
    pass


class ProviderInvalidAnswer(ProviderError):
    pass


class ProviderRefusedKey(ProviderError):
    pass


class RequestRefused(ProviderError):
    """`param` names the field at fault where it is known."""

    error_type = "invalid_request"
    param: str | None = None


class Inexpressible(RequestRefused):
    """`param` names the place (`messages[2].content[1]`); the text says what is wrong there and what to do. It quotes no content."""

    def __init__(self, param: str, text: str) -> None:
        super().__init__(text, status=400, detail=Content(f"{param}: {text}"))
        self.param = param


def from_status(
    status: int, *, code: str | None = None, detail: Content[str] | None = None, retry_after_seconds: int | None = None
) -> ProviderError:
    """The error for a provider's HTTP status; the status decides, never the text."""
    return _class_of(status)(
        f"the provider answered {status}", status=status, code=code, detail=detail, retry_after_seconds=retry_after_seconds
    )


def _class_of(status: int) -> type[ProviderError]:
    if status in (401, 402, 403):
        return ProviderRefusedKey
    if status in (429, 503, 529):
        return ProviderOverloaded
    if status in (408, 504, 524):
        return ProviderTimeout
    if status in (404, 405, 409, 410, 425) or status >= 500:
        return ProviderUnavailable
    return RequestRefused if 400 <= status < 500 else ProviderInvalidAnswer
