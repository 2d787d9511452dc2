"""What axe finds on a page of the app: whether everybody can use it."""

from __future__ import annotations

from typing import Any

import pytest

OF_COLOURS = ("color-contrast", "link-in-text-block")
"""The rules that depend on colours: the others find the same in light and in dark."""

HERE = "typeof axe === 'object'"
FINDINGS = """
async (rules) => {
  const only = rules.length ? { runOnly: { type: "rule", values: rules } } : {};
  const { violations } = await axe.run({ resultTypes: ["violations"], ...only });
  return violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]);
}
"""


def seen_by_axe(page: Any, rules: tuple[str, ...] = (), but: frozenset[str] = frozenset()) -> list[str]:
    """Its serious findings.

    Args:
        page: A page at rest.
        rules: Names of the only rules to check; empty: all.
        but: Names of rules whose findings are left out.
    """
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
    if not page.evaluate(HERE):
        page.evaluate(axe.AXE_SCRIPT)
    violations = page.evaluate(FINDINGS, list(rules))
    return [f"{name}: {help_text}: {nodes}" for name, help_text, nodes in violations if name not in but]
