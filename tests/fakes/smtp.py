"""A mail server in a thread: takes mails, over STARTTLS or TLS from the start if it has a certificate; refuses or is silent on demand."""

import base64
import datetime
import ipaddress
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Smtp:
    """`mails` are (sender, receivers, raw message); `encrypted` says of each how it came; `logins` are what clients signed in with."""

    port: int = 0
    mails: list[tuple[str, list[str], str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refuse: int = 0
    silent_seconds: float = 0.0
    context: ssl.SSLContext | None = None
    starttls: bool = True


@contextmanager
def smtp_server(certificate: Path | None = None, *, tls: bool = False, starttls: bool = True) -> Iterator[Smtp]:
    """With a certificate it offers STARTTLS, or speaks TLS from the start."""
    state = Smtp(starttls=starttls and certificate is not None and not tls)
    if certificate is not None:
        state.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        state.context.load_cert_chain(certificate)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not like the certificate ends the conversation; that is what a test wants."""

    handler = type("Handler", (Conversation,), {"state": state, "tls": tls})
    with Server(("127.0.0.1", 0), handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class Conversation(socketserver.StreamRequestHandler):
    """With one client; what it says is written into `state`."""

    state: Smtp
    tls: bool

    def handle(self) -> None:
        self.secure = False
        if self.tls:
            self._encrypt()
        time.sleep(self.state.silent_seconds)
        self._say(220, "fake")
        self.receivers: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            if not self._answer(verb.upper(), rest):
                return

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _answer(self, verb: str, rest: str) -> bool:
        if verb in ("EHLO", "HELO"):
            offers = (["STARTTLS"] if self.state.starttls and not self.secure else []) + ["AUTH PLAIN"]
            self.wfile.write("".join(f"250-{each}\r\n" for each in ["fake", *offers]).encode() + b"250 8BITMIME\r\n")
        elif verb == "STARTTLS":
            self._say(220, "go on")
            self._encrypt()
        elif verb == "AUTH":
            _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
            self.state.logins.append((user, password))
            self._say(235, "ok")
        elif verb == "MAIL":
            self.sender, self.receivers = rest[5:].partition(">")[0].strip("<>"), []
            self._say(self.state.refuse or 250, "ok")
        elif verb == "RCPT":
            self.receivers.append(rest[3:].partition(">")[0].strip("<>"))
            self._say(250, "ok")
        elif verb == "DATA":
            self._take()
        else:
            self._say(221 if verb == "QUIT" else 250, "ok")
        return verb != "QUIT"

    def _take(self) -> None:
        self._say(354, "go on")
        lines = []
        while (line := self.rfile.readline().decode()) != ".\r\n":
            lines.append(line)
        self.state.mails.append((self.sender, self.receivers, "".join(lines)))
        self.state.encrypted.append(self.secure)
        self._say(250, "taken")

    def _encrypt(self) -> None:
        assert self.state.context is not None
        self.connection = self.state.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile, self.secure = self.connection.makefile("rb"), self.connection.makefile("wb", 0), True

    def _say(self, code: int, text: str) -> None:
        self.wfile.write(f"{code} {text}\r\n".encode())


def certificate(folder: Path) -> Path:
    """A self-signed certificate for this machine, with its key, as one PEM file: what signs is what is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake mail server")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file
