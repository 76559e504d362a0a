"""Runs axe, the accessibility checker, in a page: WCAG 2.2 up to AA, and nothing of the page may be found wanting."""

import functools
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.path import node_scripts

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
OF_LOOKS = ("color-contrast", "target-size", "link-in-text-block")
"""The rules that theme and width can change; the others judge the document alone."""
RUN = """async (only) => {
  const found = await axe.run(document, { runOnly: only, resultTypes: ["violations"] });
  const told = (node) => [node.target.join(" "), node.failureSummary];
  return found.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(told) }));
}"""


async def assert_accessible(page: Page, *, looks_only: bool = False) -> None:
    """AssertionError with every rule that is broken, and where. `looks_only` for the second theme or width of a page that was checked."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(source())
    only = {"type": "rule", "values": list(OF_LOOKS)} if looks_only else {"type": "tag", "values": list(TAGS)}
    violations = await page.evaluate(RUN, only)
    assert not violations, f"{page.url}{''.join(map(_told, violations))}"


@functools.cache
def source() -> str:
    """The checker, from the locked Node packages of the tests; it is run by the debugger and so needs no leave of our CSP."""
    node_scripts.node()
    return (Path(node_scripts.FOLDER) / "node_modules" / "axe-core" / "axe.min.js").read_text()


def _told(rule: dict[str, Any]) -> str:
    places = "".join(f"\n    {target}: {' '.join(summary.split())}" for target, summary in rule["nodes"][:8])
    return f"\n  {rule['id']} ({rule['help']}), {len(rule['nodes'])} places{places}"
