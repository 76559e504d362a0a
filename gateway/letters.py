"""A letter of policy, or a mail to those who want them -> the mail: `mails/<kind>.txt`, its first line the subject. Plain text only."""

from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.mail import Mail
from policy.letters import Letter
from policy.signed import opened, signed

UNSUBSCRIBE: Final = "unsubscribe"
_PATHS: Final = {
    "verify": "/link/verify",
    "known": "/link/reset",
    "reset": "/link/reset",
    "new_email": "/link/email",
    "invite": "/link/invite",
}


def written(letter: Letter, origin: str) -> Mail:
    """`origin` begins every link in it."""
    path = _PATHS.get(letter.kind)
    link = f"{origin}{path}?token={quote(letter.token)}" if path and letter.token else ""
    return _mail(letter.kind, letter.to, origin=origin, link=link, **letter.words)


def news(kind: str, to: str, *, person_id: str, origin: str, secret: str, **words: str) -> Mail:
    """A mail that nobody needs, for people of whom `people.wants_mails` is true. It says how to end that, to people and to programs."""
    link = f"{origin}/unsubscribe?token={quote(unsubscribing(person_id, secret=secret))}"
    headers = {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    mail = _mail(kind, to, origin=origin, link=link, **words)
    return Mail(kind=mail.kind, to=mail.to, subject=mail.subject, text=f"{mail.text}\n--\nUnsubscribe: {link}\n", headers=headers)


def unsubscribing(person_id: str, *, secret: str) -> str:
    """Good for ever: who finds an old mail may still unsubscribe by it, and it can do nothing else."""
    return signed({"person": person_id}, purpose=UNSUBSCRIBE, secret=secret, expires_at=None)


def unsubscriber(token: str, *, secrets: tuple[str, ...]) -> str | None:
    """The id of the person whose token it is."""
    values = opened(token, purpose=UNSUBSCRIBE, secrets=secrets, now=0)
    return values["person"] if values else None


def _mail(kind: str, to: str, **words: str) -> Mail:
    text = _texts().get_template(f"{kind}.txt").render(to=to, **words)
    subject, _, body = text.partition("\n")
    return Mail(kind=kind, to=to, subject=subject, text=body.lstrip("\n"))


@cache
def _texts() -> Environment:
    folder = Path(__file__).parent / "mails"
    return Environment(loader=FileSystemLoader(folder), autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - plain text
