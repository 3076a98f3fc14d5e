"""Tables about KD-MARL's parts: which terms earn their place, what sight and unequal widths do, cost against success.

Rows are found by name: `kd_marl/TASK` is the full objective, `kd_marl/TASK/WHAT` a change of one thing.
"""

from __future__ import annotations

import numpy as np

from tutelage.experiment.stats import MIN_SEEDS, mean_interval
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, flops, kept, mean, retention, scale, short, tasks

CHANGES = {
    "no-adv": "without the advantage term",
    "no-kl": "without KL",
    "no-ce": "without cross-entropy",
    "no-rel": "without the relation term",
    "no-role": "without the role term",
    "awr": "advantage term: weighted likelihood",
    "prototype": "role term: prototypes",
    "dagger": "DAgger data, all terms but the advantage",
    "published": "preset `published`",
    "gru": "recurrent students",
    "by-type": "unequal widths, by unit type",
}
SIGHTS = {
    "half": "half the sight range, everybody",
    "half-some": "half the sight range, every second agent",
    "zero": "no sight, everybody",
    "zero-some": "no sight, every second agent",
    "zero-some-unequal": "the same, widths by what each sees",
    "nearest-2": "the 2 nearest of each group",
    "no-allies": "allies not shown",
    "hidden-zero": "no sight, hidden columns zero instead of left out",
}


def markdown(header: list[str], body: list[list[str]]) -> str:
    """A table."""
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, body)])


def differences(rows: Rows, env: str, what: str) -> np.ndarray | None:
    """Changed minus full objective, per seed that both have."""
    changed = rows.get(f"kd_marl/{short(rows, env)}/{what}")
    if changed is None:
        return None
    a, b = changed.of_seeds(rows[f"kd_marl/{short(rows, env)}"])
    return scale(rows, env).of(a) - scale(rows, env).of(b)


def called(gaps: list[np.ndarray]) -> str:
    """In words, from the paired intervals: worse or better only where an interval leaves out zero."""
    judged = [mean_interval(gap) for gap in gaps if len(gap) >= MIN_SEEDS]
    if not judged:
        return "too few seeds"
    counts = {"worse": sum(high < 0 for _, high in judged), "better": sum(low > 0 for low, _ in judged)}
    told = [f"{word} on {n} of {len(judged)}" for word, n in counts.items() if n]
    return ", ".join(told) or f"no difference shown on {len(judged)}"


def ablations(rows: Rows) -> str:
    """Every change against the full objective: paired differences, and the verdict."""
    envs = [env for env in tasks(rows) if any(f"kd_marl/{short(rows, env)}/{what}" in rows for what in CHANGES)]
    body = []
    for what, text in CHANGES.items():
        gaps = {env: differences(rows, env, what) for env in envs}
        known = [gap for gap in gaps.values() if gap is not None]
        if known:
            digits = {env: scale(rows, env).digits for env in envs}
            cells = ["-" if g is None else mean(g, digits[env], "+") for env, g in gaps.items()]
            body.append([text, *cells, called(known)])
    return markdown(["change", *(f"`{env}`" for env in envs), "verdict"], body) if body else "No results yet."


def sights(rows: Rows) -> str:
    """Retention under restricted sight."""
    envs = [env for env in tasks(rows) if any(f"kd_marl/{short(rows, env)}/{what}" in rows for what in SIGHTS)]
    body = []
    for what, text in {"": "full sight", **SIGHTS}.items():
        found = [rows.get(f"kd_marl/{short(rows, env)}" + (f"/{what}" if what else "")) for env in envs]
        if any(found):
            body.append([text, *(kept(rows, row, env) for row, env in zip(found, envs, strict=True))])
    return markdown(["students see", *(f"`{env}`" for env in envs)], body) if len(body) > 1 else "No results yet."


def sizes(rows: Rows, env: str) -> dict[str, list[RowResults]]:
    """Distilled and from-scratch rows of a task by falling cost."""
    at = lambda row, method, usual: row.name == usual or row.name.startswith(f"{method}/{short(rows, env)}/ratio-")
    groups = {
        "distilled": [row for row in rows.values() if at(row, "kd_marl", f"kd_marl/{short(rows, env)}")],
        "from scratch": [row for row in rows.values() if at(row, "mappo", f"mappo/{short(rows, env)}/small")],
    }
    return {kind: sorted(found, key=flops, reverse=True) for kind, found in groups.items()}


def smallest(rows: Rows, env: str) -> RowResults | None:
    """The smallest team from scratch (MAPPO or IPPO) that has 95 % of its expert; None where none measured has."""
    ippo = rows.get(f"ippo/{short(rows, env)}/small")
    found = sizes(rows, env)["from scratch"] + ([ippo] if ippo else [])
    return min((row for row in found if retention(rows, row, env)[0] >= 0.95), key=flops, default=None)


def front(rows: Rows) -> str:
    """Success against FLOPs, distilled and from scratch, and the smallest from scratch that does nearly as well."""
    body, told = [], []
    for env in tasks(rows):
        groups, worth, expert = sizes(rows, env), scale(rows, env), rows[f"mappo/{short(rows, env)}"]
        if not any("/ratio-" in row.name for found in groups.values() for row in found):
            continue
        for kind, found in groups.items():
            for row in found:
                size = [f"{flops(row):.2f}", f"{flops(expert) / flops(row):.1f}x"]
                body.append([f"`{env}`", kind, *size, worth.told(row), kept(rows, row, env)])
        least = smallest(rows, env)
        words = f"{flops(expert) / flops(least):.1f}x fewer FLOPs than the expert" if least else "none of these"
        told.append(f"- `{env}`: smallest team from scratch with 95 % of the expert: {words}")
    header = [
        "environment",
        "how",
        "kFLOPs per joint decision",
        "fewer than the expert",
        "score",
        "share of the expert",
    ]
    return markdown(header, body) + "\n\n" + "\n".join(told) if body else "No results yet."
