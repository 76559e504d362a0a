"""Who calls Bedrock: signatures against AWS's published test suite, AWS's own signer and a signer written here; keys; regions."""

import datetime
import hashlib
import hmac
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest

from providers.bedrock_signing import Credentials, authorization, credentials_of, region_of, signature
from providers.provider import Provider
from tests.tidy.tree import ROOT

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = Credentials("AKIDEXAMPLE", SECRET)
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi"
    "/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64"
    "lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
MOMENT = datetime.datetime(2015, 8, 30, 12, 36, 0, tzinfo=datetime.UTC)
AT_MS = 1_440_938_160_000
FORM = {"content-type": "application/x-www-form-urlencoded"}
HOST = "https://example.amazonaws.com/"
MODEL = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
PUBLISHED = {
    "post-vanilla": (HOST, {}, b"", KEYS, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "post-vanilla-query": (HOST + "?Param1=value1", {}, b"", KEYS, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    "post-x-www-form-urlencoded": (
        *(HOST, FORM, b"Param1=value1", KEYS),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-sts-header-before": (
        *(HOST, {}, b"", Credentials("AKIDEXAMPLE", SECRET, TOKEN)),
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_signatures_are_those_of_awss_published_test_suite(name: str) -> None:
    url, headers, body, keys, expected = PUBLISHED[name]
    made = signature(url, headers, body, credentials=keys, region="us-east-1", at_ms=AT_MS, service="service")
    scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    assert made["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=")
    assert made["authorization"].endswith(f", Signature={expected}")
    assert made["x-amz-date"] == "20150830T123600Z"
    assert made.get("x-amz-security-token") == keys.token


def test_a_call_is_signed_as_awss_own_client_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"content-type": "application/json", "accept": "application/json"}
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: MOMENT.replace(tzinfo=None))
    request = AWSRequest("POST", MODEL, dict(headers), b'{"messages": []}')
    botocore.auth.SigV4Auth(SimpleNamespace(access_key="AKIDEXAMPLE", secret_key=SECRET, token=TOKEN), "bedrock", "eu-west-1").add_auth(
        request
    )
    keys = Credentials("AKIDEXAMPLE", SECRET, TOKEN)
    made = signature(MODEL, headers, b'{"messages": []}', credentials=keys, region="eu-west-1", at_ms=AT_MS)
    assert made["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize("url", [MODEL, "http://127.0.0.1:9100/prefix/model/arn%3Aaws%3Abedrock%2Fx/converse-stream"])
def test_a_call_is_signed_as_the_standard_says(url: str) -> None:
    """Written from the description of Signature Version 4, without AWS's code; a path is encoded once more."""
    body, parts = b"{}", urlsplit(url)
    made = signature(url, {"content-type": "application/json"}, body, credentials=KEYS, region="us-west-2", at_ms=AT_MS)
    lines = [f"content-type:application/json\nhost:{parts.netloc}\nx-amz-date:20150830T123600Z\n", "content-type;host;x-amz-date"]
    canonical = "\n".join(["POST", quote(parts.path, safe="/"), "", *lines, hashlib.sha256(body).hexdigest()])
    scope = "20150830/us-west-2/bedrock/aws4_request"
    text = f"AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    assert made["authorization"].endswith(f"Signature={key.hex()}")


def test_the_time_is_an_argument() -> None:
    one, two = (signature(MODEL, {}, b"", credentials=KEYS, region="us-east-1", at_ms=at)["authorization"] for at in (AT_MS, AT_MS + 1000))
    assert one != two


@pytest.mark.parametrize(
    ("api_key", "expected"),
    [
        ("AKIDEXAMPLE:secret/+=", Credentials("AKIDEXAMPLE", "secret/+=")),
        ("ASIAEXAMPLE:secret:token//==", Credentials("ASIAEXAMPLE", "secret", "token//==")),
        ("bedrock-api-key-YmVkcm9jaw==", None),
        ("ABSKQmVkcm9ja0FQSUtleQ==", None),
        ("a:b:c:d", None),
        (":", None),
    ],
)
def test_a_pair_of_keys_signs_and_anything_else_is_an_api_key(api_key: str, expected: Credentials | None) -> None:
    assert credentials_of(api_key) == expected
    headers = authorization(MODEL, {}, b"", api_key=api_key, region="us-east-1", at_ms=AT_MS)
    assert headers["authorization"].startswith("Bearer " if expected is None else "AWS4-HMAC-SHA256 ")
    assert set(headers) <= {"authorization", "x-amz-date", "x-amz-security-token"}


def test_without_a_key_nothing_is_sent() -> None:
    assert authorization(MODEL, {}, b"", api_key=None, region="us-east-1", at_ms=AT_MS) == {}


def test_botocore_is_not_loaded_before_the_first_call() -> None:
    code = "import sys, gateway.app, gateway.services, providers.bedrock; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_credentials_are_not_shown() -> None:
    assert SECRET not in repr(KEYS)


@pytest.mark.parametrize(
    ("base_url", "regions", "expected"),
    [
        ("https://bedrock-runtime.eu-central-1.amazonaws.com", (), "eu-central-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", (), "us-gov-west-1"),
        ("https://vpce-0a1b-c2d3.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", ("eu-west-1",), "ap-southeast-2"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/prefix", (), "cn-north-1"),
        ("http://127.0.0.1:9100", ("eu-west-3",), "eu-west-3"),
        ("http://127.0.0.1:9100", ("eu",), "us-east-1"),
        ("http://127.0.0.1:9100", ("eu-west-1", "eu-west-3"), "us-east-1"),
        ("https://my-bedrock-runtime.eu-central-1.example.com", (), "us-east-1"),
    ],
)
def test_the_region_is_the_hosts_else_the_rows(base_url: str, regions: tuple[str, ...], expected: str) -> None:
    assert region_of(Provider(slug="a", name="A", dialect="bedrock", base_url=base_url, region=frozenset(regions))) == expected
