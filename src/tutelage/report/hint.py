"""The table of HINT and what it is compared with: success, and how many times a baseline's HINT's is."""

from __future__ import annotations

import numpy as np

from tutelage.experiment.stats import MIN_SEEDS, difference_of_means
from tutelage.report.ablations import markdown
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, share, steps_to, teachers_success, with_interval

TASKS = ("fire_commander", "marine")
BASELINES = ("mappo", "happo", "ctds", "ptde", "ptde_mappo", "igm_da")
"""What HINT is measured against; where the students talk, also TarMAC and MAPPO that talks as they do."""


def target(best: float) -> float:
    """Success that HINT aims at where the best baseline has `best`: 1.6 times, or half of what is missing to 1."""
    return max(0.2, min(1.6 * best, best + 0.5 * (1 - best)))


def beside(row: RowResults) -> str:
    """The teachers' mean success, empty without one."""
    teacher = teachers_success(row)
    return "" if teacher is None else f"{teacher.mean():.3f}"


def likeliest(row: RowResults) -> np.ndarray | None:
    """Per seed: success with the likeliest actions, of rows that are tested with drawn ones; None otherwise."""
    found = [s["test"].get("greedy") for s in row.seeds]
    return np.array([test["success_rate"] for test in found]) if all(found) else None


def from_students_states(row: RowResults) -> str:
    """Success from states that students reached, all forks of all seeds: of the students / of their teacher."""
    found = [fork for s in row.seeds for fork in s.get("forks", []) if fork["going"]]
    if not found:
        return ""
    weights = [fork["going"] for fork in found]
    mean = lambda key: np.average([fork[key] for fork in found], weights=weights)
    return f"{mean('student_success'):.3f} / {mean('teacher_success'):.3f}"


def against(row: RowResults, hint: RowResults | None) -> str:
    """HINT's mean over this row's; empty for HINT's own rows."""
    if hint is None or row.method == "hint":
        return ""
    mean = float(row.success.mean())
    return f"{hint.success.mean() / mean:.2f}x" if mean else "-"


def verdict(env: str, hint: RowResults, others: list[RowResults]) -> str:
    """Whether HINT reaches what it aims at, how sure that is, and after how many steps it has what the best has.

    Every row counts as the plan tests it: those of methods that act by drawing with drawn actions, value-based ones
    with the likeliest. The steps are to the best one's success.
    """
    best = max(others, key=lambda row: (row.success.mean(), len(row.seeds)))  # of equals the surest
    theirs, ours = best.success, hint.success
    b, mean = float(theirs.mean()), float(ours.mean())
    aim, sure = target(b), ", one seed" if len(ours) == 1 else ""
    if min(len(ours), len(theirs)) >= MIN_SEEDS:
        sure = f", difference {with_interval(*difference_of_means(ours, theirs), sign='+')}"
    elif len(ours) > 1:
        sure = f", from {len(ours)} and {len(theirs)} seeds, too few to be sure"
    when = [f"{w:,} steps" if w else "never" for w in (steps_to(row, b) for row in (hint, best))]
    soon = f" {b:.3f} in evaluations: HINT {when[0]}, it {when[1]}." if b else ""  # no success comes at once
    return (
        f"- `{env}`, `{hint.name}`: best baseline {b:.3f} (`{best.name}`), aimed at {aim:.3f}, HINT {mean:.3f}: "
        f"{'reached' if mean >= aim else 'missed'}{sure}.{soon}"
    )


def verdicts(env: str, here: list[RowResults]) -> list[str]:
    """Of HINT's students without messages and with, each against the baselines that act on the same."""
    named = {"" if row.plain else row.name.split("/", 2)[2]: row for row in here if row.method == "hint"}
    plain = [row for row in here if row.method in BASELINES and row.plain]
    talks = ("tarmac",), ("mappo", "hetgat")
    talk = [row for row in here if (row.method, *row.name.split("/")[2:]) in talks]
    pairs = (named.get(""), plain), (named.get("hetgat"), plain + talk)
    return [verdict(env, row, others) for row, others in pairs if row is not None and others]


def hint_table(rows: Rows) -> str:
    """Every row on FireCommander and MARINE, by level; and whether HINT reaches what it aims at."""
    levels = sorted({row.env for row in rows.values() if row.env.split("/")[0] in TASKS})
    body, told = [], []
    for env in levels:
        here = [row for row in rows.values() if row.env == env]
        hint = next((row for row in here if row.method == "hint" and row.plain), None)
        for row in sorted(here, key=lambda r: (r.method != "hint", r.name)):
            steps = f"{np.mean([s['test']['length_mean'] for s in row.seeds]):.1f}"
            other = likeliest(row)
            greedy = "" if other is None else share(other)
            shown = [share(row.success), greedy, beside(row), from_students_states(row), steps]
            scores = [*shown, against(row, hint)]
            body.append([f"`{env}`", f"`{row.name}`", row.variant, str(len(row.seeds)), *scores])
        told += verdicts(env, here)
    if not body:
        return "No results yet."
    header = ["level", "row", "", "seeds", "success", "greedy", "teacher", "from students' states: they / teacher"]
    header += ["steps per episode", "HINT / this"]
    return "\n".join([markdown(header, body), *([""] if told else []), *told])
