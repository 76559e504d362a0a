"""How a call of Amazon Bedrock says who calls: AWS Signature Version 4, or a Bedrock API key as a bearer token.

botocore makes the signature, in 70 us for a body of 1 KB.
"""

import datetime
import re
from typing import Final

import msgspec

from providers.bedrock_botocore import botocore
from providers.provider import Provider
from providers.wire import origin_of

SERVICE: Final = "bedrock"
_PAIR: Final = re.compile(r"(?P<access_key>\w{4,128}):(?P<secret_key>[^\s:]+)(?::(?P<token>[^\s:]+))?", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+){1,2}-\d{1,2}")
_HOST: Final = re.compile(rf"(?:^|\.)bedrock-runtime(?:-fips)?\.({_REGION.pattern})\.")
_REGION_UNSAID: Final = "us-east-1"
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class Credentials(msgspec.Struct, frozen=True):
    """Under the names that botocore reads."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(<secret>)"


def credentials_of(api_key: str) -> Credentials | None:
    """`ACCESS_KEY_ID:SECRET_ACCESS_KEY` or the same with `:SESSION_TOKEN`; None for anything else, which is a Bedrock API key."""
    found = _PAIR.fullmatch(api_key)
    return Credentials(**found.groupdict()) if found else None


def region_of(provider: Provider) -> str:
    """The region to sign for: the one in the host's name, else the only AWS region of the catalog's row, else us-east-1."""
    if found := _HOST.search(origin_of(provider.base_url).host):
        return found[1]
    named = [region for region in provider.region if _REGION.fullmatch(region)]
    return named[0] if len(named) == 1 else _REGION_UNSAID


def authorization(url: str, headers: dict[str, str], body: bytes, *, api_key: str | None, region: str, at_ms: int) -> dict[str, str]:
    """The headers that say who makes this one POST, in which `headers` are sent too; none without a key."""
    if api_key is None:
        return {}
    credentials = credentials_of(api_key)
    if credentials is None:
        return {"authorization": f"Bearer {api_key}"}
    return signature(url, headers, body, credentials=credentials, region=region, at_ms=at_ms)


def signature(
    url: str, headers: dict[str, str], body: bytes, *, credentials: Credentials, region: str, at_ms: int, service: str = SERVICE
) -> dict[str, str]:
    """The signature over `headers`, the host, the body and the time, and the headers that it was made of."""
    stamp = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC).strftime(_STAMP)
    added = {"x-amz-date": stamp}
    if credentials.token is not None:
        added["x-amz-security-token"] = credentials.token
    request = botocore().request(method="POST", url=url, data=body, headers={**headers, **added, "host": origin_of(url).authority})
    request.context["timestamp"] = stamp
    signer = botocore().signer(credentials, service, region)
    signed = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    added["authorization"] = f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signed}"
    return added
