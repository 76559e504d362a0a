"""A thousand requests at once on money for a hundred, over HTTP and three processes: exactly a hundred are served."""

import asyncio
from pathlib import Path

from tests import servers
from tests.fakes.process import fake_provider
from tests.prove.crowd import crowd, more_files, place


def test_three_processes_serve_exactly_what_the_account_affords(postgres_url: str, postgres_template: str, tmp_path: Path) -> None:
    more_files()
    with (
        fake_provider() as fake,
        servers.database(postgres_url, template=postgres_template) as url,
        place(url, fake, tmp_path) as (rig, gateways),
    ):
        assert asyncio.run(crowd(rig, gateways, fake, requests=1000, affordable=100)) == []
