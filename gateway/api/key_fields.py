"""What POST keys and PATCH keys may say of a key, read from the JSON text itself, so that an amount is exact to the nano-dollar."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import BadRequest
from gateway.timespan import WrongSpan, moment
from metering.money import AMOUNT_MAX, format_usd, parse_usd
from metering.periods import RESETS
from policy import key_policy
from policy.account_keys import Change
from policy.keys import NAME_CHARACTERS_MAX, NewKey
from policy.privacy import Level, level_of

BYOK: Final = "include_byok_in_limit"
CHANGED: Final = ("name", "disabled", "limit", "limit_reset", "logging", key_policy.NAME, BYOK)
CREATED: Final = ("name", "limit", "limit_reset", "expires_at", "logging", key_policy.NAME, BYOK, "workspace_id")
NUMBER_CHARACTERS_MAX: Final = 64


class _Number(str):
    """A JSON number with a point or an exponent, as it was written."""

    __slots__ = ()


_DECODER: Final = msgspec.json.Decoder(float_hook=_Number)


def new_key(raw: bytes, account_id: str, now: int) -> tuple[NewKey, bool]:
    """An inference key, and whether the client asked for `include_byok_in_limit`, which is not kept. BadRequest names the field."""
    given = _object(raw, CREATED)
    if "name" not in given:
        raise BadRequest("name: is required; write a name to tell keys apart.", param="name")
    if given.get("workspace_id") not in (None, account_id):
        raise BadRequest("workspace_id: an account is its only workspace here; leave it out.", param="workspace_id")
    limit, reset = _limit(given), _reset(given)
    if limit in (None, UNSET) and reset not in (None, UNSET):
        raise BadRequest("limit_reset: there is no limit to start anew; set one, or leave limit_reset out.", param="limit_reset")
    new = NewKey(
        account_id=account_id,
        kind="inference",
        name=_name(given),
        limit=None if limit is UNSET else limit,
        reset=None if reset is UNSET else reset,
        expires_at=_expires_at(given.get("expires_at"), now),
        logging=None if (level := _logging(given)) is UNSET else level,
        data_policy=None if (policy := _data_policy(raw, given)) is UNSET else policy,
    )
    return new, _flag(given, BYOK) is True


def changes(raw: bytes) -> tuple[Change, bool]:
    """The same for a key that exists; what is left out stays as it is."""
    given = _object(raw, CHANGED)
    change = Change(
        name=_name(given) if "name" in given else UNSET,
        disabled=_flag(given, "disabled"),
        limit=_limit(given),
        reset=_reset(given),
        logging=_logging(given),
        data_policy=_data_policy(raw, given),
    )
    return change, _flag(given, BYOK) is True


def _object(raw: bytes, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        given = _DECODER.decode(raw)
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}. Send a JSON object in UTF-8.") from None
    if not isinstance(given, dict):
        raise BadRequest("The request body must be a JSON object.")
    for name in given:
        if name not in fields:
            raise BadRequest(f"{name[:100]}: is not a known field; use {', '.join(fields)}.", param=name[:100])
    return given


def _name(given: dict[str, Any]) -> str:
    name = given["name"]
    if type(name) is not str or not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        raise BadRequest(f"name: write 1 to {NAME_CHARACTERS_MAX} printable characters.", param="name")
    return name


def _flag(given: dict[str, Any], name: str) -> bool | UnsetType:
    value = given.get(name, UNSET)
    if value is not UNSET and not isinstance(value, bool):
        raise BadRequest(f"{name}: write true or false.", param=name)
    return value


def _limit(given: dict[str, Any]) -> int | UnsetType | None:
    """Nano-USD of a number or of decimal text."""
    value = given.get("limit", UNSET)
    if value is UNSET or value is None:
        return value
    try:
        return _amount(value)
    except ValueError as error:
        wanted = f"write USD from 0 to {format_usd(AMOUNT_MAX)} as a number or decimal text, or null for no limit"
        raise BadRequest(f"limit: {error}; {wanted}.", param="limit") from None


def _amount(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("it is no number")
    text = value if isinstance(value, str) else hex(value) if abs(value) > AMOUNT_MAX else str(value)
    if len(text) > NUMBER_CHARACTERS_MAX or text.startswith("0x"):
        raise ValueError("it is too large, or has too many digits")
    amount = parse_usd(text)
    if amount < 0:
        raise ValueError("it is negative")
    return amount


def _reset(given: dict[str, Any]) -> str | UnsetType | None:
    value: str | UnsetType | None = given.get("limit_reset", UNSET)
    if value is not UNSET and value is not None and value not in RESETS:
        raise BadRequest(f"limit_reset: write {', '.join(RESETS)}, or null for a limit that never starts anew.", param="limit_reset")
    return value


def _logging(given: dict[str, Any]) -> Level | UnsetType | None:
    """What may be kept of this key's requests, where that is less than the account lets be kept."""
    value = given.get("logging", UNSET)
    if value is UNSET or value is None:
        return value
    if type(value) is not str:
        raise BadRequest("logging: write none, metadata or full, or null for the account's own choice.", param="logging")
    return level_of(value, "logging")


def _data_policy(raw: bytes, given: dict[str, Any]) -> str | UnsetType | None:
    """From the text once more, as plain JSON: in `given` a number could pass for the name of a region."""
    return key_policy.written(msgspec.json.decode(raw)[key_policy.NAME]) if key_policy.NAME in given else UNSET


def _expires_at(value: object, now: int) -> int | None:
    if value is None:
        return None
    if type(value) is not str:
        raise BadRequest("expires_at: write a moment such as 2027-01-31T12:00:00Z, or null.", param="expires_at")
    try:
        at = moment(value, "expires_at")
    except WrongSpan as error:
        raise BadRequest(f"{error}.", param="expires_at") from None
    if at <= now:
        raise BadRequest("expires_at: lies in the past; write a moment that is to come.", param="expires_at")
    return at
