"""What another API than OpenAI's chat completions makes of the fake's answers; the default leaves them as they are."""

from collections.abc import Callable, Iterator

from tests.fakes.events import Event
from tests.fakes.faults import Json


class Tongue:
    """Given what the chat fake would send, says it in other words. Tokens of the events must stay the same in sum.

    `named`: an event's type stands in an `event:` line too. `framer`: what makes bytes of its events where they are not server-sent.
    """

    named = False
    stream_type: str | None = None

    def framer(self) -> Callable[[Json], bytes] | None:
        return None

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        return events

    def completion(self, completion: dict[str, Json]) -> Json:
        return completion

    def refusal(self, status: int, body: Json) -> tuple[int, Json]:
        return status, body

    def refusal_headers(self, status: int) -> dict[str, str]:
        return {}
