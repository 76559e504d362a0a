"""The options --from and --to of every command about a period."""

from collections.abc import Callable
from typing import Any

import click

_FROM = click.option("--from", "first", required=True, help="First UTC day (2027-01-01), or an ISO 8601 moment.")
_TO = click.option("--to", "last", required=True, help="Last UTC day, included, or an ISO 8601 moment, excluded; 400 days at most.")


def Span(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used beside the options of `running`
    """Hands the command `first` and `last`, for `gateway.timespan.span`."""
    return _FROM(_TO(command))
