"""Methods and environments that other installed packages add, by entry points. Nothing of them is imported here.

A package that says in its `pyproject.toml`

    [project.entry-points."tutelage.methods"]
    forager = "foraging.methods:forager"

adds the method `forager`; `tutelage.environments` adds environments. Installing a package is trusting it: unlike a
`module:factory`, such a name needs no `--trust` in a run.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import NamedTuple


class Installed(NamedTuple):
    """What a package adds: `factory`, as `module:name`, and who adds it."""

    factory: str
    package: str


@cache
def installed(kind: str) -> dict[str, Installed]:
    """What packages add by name; `kind`: `methods` or `environments`."""
    found = {}
    for point in entry_points(group=f"tutelage.{kind}"):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
        found[point.name] = Installed(point.value, package)
    return found
