"""Reading the results of a sweep, and the marl-eval file made from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tutelage.errors import BadInput
from tutelage.experiment.sweep_result import read_result

Result = dict[str, Any]


class RowResults(NamedTuple):
    """All seeds of a row, in order."""

    name: str
    seeds: list[Result]

    @property
    def method(self) -> str:
        return self.seeds[0]["method"]

    @property
    def env(self) -> str:
        return self.seeds[0]["env"]

    @property
    def variant(self) -> str:
        return self.seeds[0]["variant"]

    @property
    def lr(self) -> float:
        """Its learning rate."""
        return float(self.seeds[0]["config"]["lr"])

    @property
    def mark(self) -> str:
        """A dagger where some seeds were made with another jax than most results, see `mark_other_jax`."""
        return "†" if any("other_jax" in s for s in self.seeds) else ""

    @property
    def plain(self) -> bool:
        """Whether the row is an unchanged method, METHOD/TASK, and not a variant of it, METHOD/TASK/WHAT."""
        return self.name.count("/") == 1

    @property
    def success(self) -> np.ndarray:
        """Success rate of each seed's final test."""
        return np.array([s["test"]["success_rate"] for s in self.seeds])

    @property
    def returns(self) -> np.ndarray:
        return np.array([s["test"]["return_mean"] for s in self.seeds])

    @property
    def steps(self) -> float:
        """Mean environment steps of the training."""
        return float(np.mean([s["test"]["steps"] for s in self.seeds]))

    def of_seeds(self, other: RowResults) -> tuple[RowResults, RowResults]:
        """This row and another on the seeds that both have."""
        shared = {s["seed"] for s in self.seeds} & {s["seed"] for s in other.seeds}
        restrict = lambda row: RowResults(row.name, [s for s in row.seeds if s["seed"] in shared])
        return restrict(self), restrict(other)


def read_results(folder: Path) -> dict[str, RowResults]:
    """Every row below `folder` that has results.

    Raises:
        BadInput: there are none. Fault: one is damaged.
    """
    rows: dict[str, list[Result]] = {}
    for path in sorted(folder.rglob("seed-*.json")):
        result = read_result(path, folder)
        rows.setdefault(result["row"], []).append(result)
    if not rows:
        raise BadInput(f"no results in {folder}: run `tutelage sweep PLAN` first")
    return {name: RowResults(name, sorted(seeds, key=lambda s: s["seed"])) for name, seeds in sorted(rows.items())}


class Expected(NamedTuple):
    """The seeds of a row of a plan, and its fingerprints by version of the method, the latest first."""

    fingerprints: dict[int, str]
    seeds: range


def current_results(rows: dict[str, RowResults], plan: dict[str, Expected]) -> tuple[dict[str, RowResults], int]:
    """The results that match the plan, and the number of those that do not.

    Where a row has no results of the method's latest version, those of an earlier one are taken and labelled as such.
    """
    current = {name: latest_version(row, plan[name]) for name, row in rows.items() if name in plan}
    stale = sum(len(row.seeds) for row in rows.values()) - sum(len(row.seeds) for row in current.values())
    return {name: row for name, row in current.items() if row.seeds}, stale


def latest_version(row: RowResults, expected: Expected) -> RowResults:
    """The results of the latest version of the method for which there are any."""
    for version, fingerprint in expected.fingerprints.items():
        seeds = [s for s in row.seeds if s["fingerprint"] == fingerprint and s["seed"] in expected.seeds]
        if seeds:
            earlier = f" (version {version})" if version < max(expected.fingerprints) else ""
            return RowResults(row.name, [s | {"variant": s["variant"] + earlier} for s in seeds])
    return RowResults(row.name, [])


def mark_other_jax(rows: dict[str, RowResults]) -> dict[str, RowResults]:
    """The rows with a note on seeds that were made with another jax than most, which may change results."""
    jax_version = lambda s: str((s.get("versions") or {}).get("jax", ""))  # floors do not say
    counts = Counter(jax_version(s) for row in rows.values() for s in row.seeds if jax_version(s))
    most_common = max(counts, key=counts.__getitem__, default="")

    def mark_row(row: RowResults) -> RowResults:
        others: dict[str, list[str]] = {}
        for s in row.seeds:
            if jax_version(s) not in ("", most_common):
                others.setdefault(jax_version(s), []).append(str(s["seed"]))
        note = "".join(f" (jax {jax}: seeds {', '.join(seeds)})" for jax, seeds in sorted(others.items()))
        mark_result = lambda s: {"other_jax": jax_version(s)} if jax_version(s) in others else {}
        return RowResults(row.name, [s | mark_result(s) | {"variant": s["variant"] + note} for s in row.seeds])

    return {name: mark_row(row) for name, row in rows.items()}


def short(rows: dict[str, RowResults], env: str) -> str:
    """The TASK in row names METHOD/TASK of an environment: the part of its name after the slash.

    For a user's own environment (module:factory) it is taken from the names of its rows.
    """
    if ":" not in env:
        return env.partition("/")[2]
    return min((row.name.split("/")[1] for row in rows.values() if row.env == env and "/" in row.name), default=env)


def marl_eval(rows: dict[str, RowResults]) -> dict[str, Any]:
    """All curves and final tests in marl-eval's layout: environment, task, algorithm, run, step.

    Reference: Gorsane et al. 2022, the JSON of the marl-eval package.
    """
    data: dict[str, Any] = {}
    for row in rows.values():
        family, task = row.env.partition("/")[0], short(rows, row.env)
        algorithm = row.name.replace(f"/{task}", "", 1)
        runs = data.setdefault(family, {}).setdefault(task, {}).setdefault(algorithm, {})
        for result in row.seeds:
            run: dict[str, Any] = {}
            for i, point in enumerate(result["curve"]):
                run[f"step_{i}"] = {
                    "step_count": point["total_steps"],
                    "elapsed_time": point["seconds"],
                    "win_rate": [point["success_rate"]],
                    "return": [point["return_mean"]],
                }
            test = result["test"]
            run["absolute_metrics"] = {"win_rate": [test["success_rate"]], "return": [test["return_mean"]]}
            runs[f"seed_{result['seed']}"] = run
    return data
