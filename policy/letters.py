"""What is mailed to a person, decided here and written elsewhere: the kind, the address, and the token of a link if there is one."""

from typing import Literal

import msgspec

Kind = Literal[
    "verify", "known", "reset", "new_email", "taken_email", "email_changed", "password_changed", "invite", "second_factor",
    "standing", "subprocessors",
]  # fmt: skip


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """All kinds are necessary ones (security): who is concerned gets them without having asked. `words` fill the text, by name."""

    kind: Kind
    to: str
    token: str = ""
    words: dict[str, str] = {}
