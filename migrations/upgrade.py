"""Brings a database to the newest revision; safe to run at every start and from several processes at once."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

_HERE = Path(__file__).parent
_LOCK = 7_065_573_001
"""Postgres advisory lock: two processes that migrate at once take turns."""
HEAD: Final = max(file.name for file in (_HERE / "versions").glob("[0-9]*.py")).partition("_")[0]
"""The newest revision's id: the number that its file's name begins with."""


def upgrade(connection: Connection) -> str:
    """Runs what is missing on an open connection; returns the newest revision's id."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK})
    if _current(connection) != HEAD:
        _run(connection)
    return HEAD


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run(connection: Connection) -> None:
    """Alembic is imported only when there is something to do: it is a quarter of a command's start."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
