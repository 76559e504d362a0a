"""A device with a passkey, for tests: answers as a browser does, with a key pair, a counter, and the flags a test wants."""

import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Device:
    """`origin` is what the browser says of the page. `counts` False: a device that does not count, as most do."""

    origin: str
    host: str
    id: bytes = b"credential-of-a-test"
    flags: int = PRESENT | VERIFIED
    count: int = 0
    counts: bool = True
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def register(self, options: str) -> str:
        numbers = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        credential = bytes(16) + len(self.id).to_bytes(2) + self.id + cose
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": self._data(self.flags | ATTESTED) + credential})
        return self._answer(clientDataJSON=self._client("webauthn.create", options), attestationObject=attestation)

    def sign_in(self, options: str) -> str:
        self.count += self.counts
        client, data = self._client("webauthn.get", options), self._data(self.flags)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(clientDataJSON=client, authenticatorData=data, signature=signature)

    def _client(self, kind: str, options: str) -> bytes:
        return json.dumps({"type": kind, "challenge": json.loads(options)["challenge"], "origin": self.origin}).encode()

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.host.encode()).digest() + bytes([flags]) + self.count.to_bytes(4)

    def _answer(self, **response: bytes) -> str:
        id = _text(self.id)
        said = {name: _text(value) for name, value in response.items()}
        return json.dumps({"id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {}, "response": said})


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
