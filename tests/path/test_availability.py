"""One of three providers fails every request, and clients notice nothing; two gateways agree about it through Redis.

Every fault is `python -m tests.prove.availability`.
"""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from tests.fakes.process import fake_provider
from tests.path.client import ask
from tests.path.promises import TWO, routes
from tests.prove.availability import broken
from tests.prove.outage import CHEAPEST, outage


@pytest.mark.parametrize("fault", ["500", "stall before headers", CHEAPEST])
def test_clients_notice_nothing_of_a_provider_that_fails_and_it_comes_back_by_itself(fault: str, tmp_path: Path) -> None:
    with outage(tmp_path, cheap=fault == CHEAPEST) as place:
        seen = asyncio.run(broken(place, fault, normal_s=3, failing_s=9, settled_s=3, short=True))
    assert not seen.wrong
    assert seen.requests >= 200  # more on a machine that has nothing else to do


def test_two_gateways_agree_within_five_seconds_that_an_endpoint_is_out(tmp_path: Path, redis_url: str) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    with contextlib.ExitStack() as stack:
        fake = stack.enter_context(fake_provider())
        for folder in folders:
            folder.mkdir()
        sees, hears = (stack.enter_context(routes(folder, fake, TOLLWAY_REDIS_URL=redis_url)) for folder in folders)
        assert hears.ask(TWO).status == 200
        fake.fault("two-a", fault="status", status=500)
        for _ in range(5):
            assert sees.ask(TWO, provider={"only": ["a"]}).status == 502
        known = time.monotonic()
        time.sleep(4)
        fake.forget()
        answers = [ask(hears.tollway.port, hears.account.key, TWO) for _ in range(40)]
        assert time.monotonic() - known < 9, "the ejection is over after 10 s at most"
        assert {answer.status for answer in answers} == {200}
        assert set(hears.tried()) == {"two-b"}
