"""How log lines look, and what may stand in them: a closed list of fields, as text or as one JSON object per line.

Our own messages are written with care for content; those of libraries are not, and an exception's text may quote a prompt. So of an
exception only its class and the lines of code are written, never its text or its locals; of a library's message the first line, with
figures filled in and everything else as "...".
"""

import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import msgspec

FIELDS: Final = ("time", "level", "logger", "message", "generation_id", "route", "error_class", "traceback")
"""Everything a line may hold. The last four are absent where there is nothing to say; code gives them as `extra`."""
EXTRA: Final = FIELDS[4:]
OURS: Final = ("tollway", "gateway", "policy", "providers", "metering", "migrations")
FORMATS: Final = ("text", "json")
_crashed = logging.getLogger("tollway.crash")


def install(log_format: str) -> None:
    """For a process that serves: every logger's lines go to stderr, and what nobody caught is logged instead of printed."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if log_format == "json" else Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("alembic", "httpx", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(fields_of(record)).decode()


class Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = fields_of(record)
        line = f"{said['time']} {said['level']} {said['logger']} {said['message']}"
        return f"{line}\n{said['traceback']}" if said.get("traceback") else line


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """Of the closed list, whatever else the record holds."""
    found = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": _said(record),
    }
    found |= {name: str(value) for name in EXTRA if (value := getattr(record, name, None))}
    if record.exc_info and record.exc_info[0] is not None:
        found.setdefault("error_class", record.exc_info[0].__name__)
        found.setdefault("traceback", frames(record.exc_info[2]))
    return found


def frames(found: TracebackType | None) -> str:
    """The lines of code, without the message behind them."""
    return "".join(traceback.format_tb(found)).rstrip()


def _said(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in OURS:
        return _filled(record.msg, record.args)
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    first = record.msg.strip().partition("\n")[0]
    if not isinstance(record.args, tuple) or not record.args:
        return first
    return _filled(first, tuple(_figure(each) for each in record.args))


def _filled(message: str, arguments: Any) -> str:
    """As it is where the arguments do not fit: logging itself would print them all."""
    try:
        return message % arguments if arguments else message
    except (TypeError, ValueError):
        return message


def _figure(value: Any) -> Any:
    return value if isinstance(value, int | float) else "..."


def _uncaught(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _crashed.critical("not caught: %s", kind.__name__, extra={"error_class": kind.__name__, "traceback": frames(where)})
