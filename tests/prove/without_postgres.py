"""A pytest plugin (`-p tests.prove.without_postgres`): leaves out every test that would start a PostgreSQL server."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = [item for item in items if not _needs_postgres(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def _needs_postgres(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return "postgres_url" in getattr(item, "fixturenames", ()) or "postgres" in parameters.values()
