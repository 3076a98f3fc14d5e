"""Reading what a sweep left, and the marl-eval file made from it."""

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
        """A dagger where some seeds are of another jax than most results, see `marked`."""
        return "†" if any("other_jax" in s for s in self.seeds) else ""

    @property
    def plain(self) -> bool:
        """Whether it is the method as it is on a task, METHOD/TASK, not a change of it, METHOD/TASK/WHAT."""
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
        both = {s["seed"] for s in self.seeds} & {s["seed"] for s in other.seeds}
        keep = lambda row: RowResults(row.name, [s for s in row.seeds if s["seed"] in both])
        return keep(self), keep(other)


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


class Asked(NamedTuple):
    """What a row of a plan asks for: seeds, and its fingerprints by version of the method, the latest first."""

    marks: dict[int, str]
    seeds: range


def current(rows: dict[str, RowResults], plan: dict[str, Asked]) -> tuple[dict[str, RowResults], int]:
    """The results that belong to the plan as it is now, and how many do not.

    Of a row that has not been measured with the method's latest version those of an earlier one, which are called so.
    """
    kept = {name: latest(row, plan[name]) for name, row in rows.items() if name in plan}
    stale = sum(len(row.seeds) for row in rows.values()) - sum(len(row.seeds) for row in kept.values())
    return {name: row for name, row in kept.items() if row.seeds}, stale


def latest(row: RowResults, asked: Asked) -> RowResults:
    """The results of the latest version that has any."""
    for version, mark in asked.marks.items():
        seeds = [s for s in row.seeds if s["fingerprint"] == mark and s["seed"] in asked.seeds]
        if seeds:
            earlier = f" (version {version})" if version < max(asked.marks) else ""
            return RowResults(row.name, [s | {"variant": s["variant"] + earlier} for s in seeds])
    return RowResults(row.name, [])


def marked(rows: dict[str, RowResults]) -> dict[str, RowResults]:
    """The rows, those seeds told apart that were made with another jax than most: their numbers may differ by that."""
    made_with = lambda s: str((s.get("versions") or {}).get("jax", ""))  # floors do not say
    counts = Counter(made_with(s) for row in rows.values() for s in row.seeds if made_with(s))
    usual = max(counts, key=counts.__getitem__, default="")

    def told(row: RowResults) -> RowResults:
        others: dict[str, list[str]] = {}
        for s in row.seeds:
            if made_with(s) not in ("", usual):
                others.setdefault(made_with(s), []).append(str(s["seed"]))
        words = "".join(f" (jax {jax}: seeds {', '.join(seeds)})" for jax, seeds in sorted(others.items()))
        apart = lambda s: {"other_jax": made_with(s)} if made_with(s) in others else {}
        return RowResults(row.name, [s | apart(s) | {"variant": s["variant"] + words} for s in row.seeds])

    return {name: told(row) for name, row in rows.items()}


def short(rows: dict[str, RowResults], env: str) -> str:
    """The task as names of rows have it, METHOD/TASK: the part of an environment's name after the slash; of one of
    your own (module:factory), which has none, what its rows are called."""
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
