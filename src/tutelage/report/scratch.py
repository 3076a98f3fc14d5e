"""Comparing teams trained from scratch with distilled ones: whether distillation helps, and how small a team can be.

Rows are found by name: `METHOD/TASK/small` has the students' size, `METHOD/TASK/small/WHAT` is a trial of one of its
learning rates, on seeds that no table compares.
"""

from __future__ import annotations

from tutelage.envs.build import make
from tutelage.experiment.stats import MIN_SEEDS, difference_of_means
from tutelage.policies.build import build_team
from tutelage.policies.cost import team_cost
from tutelage.policies.views import view
from tutelage.registry import ENVIRONMENTS, method_config
from tutelage.report.ablations import markdown, smallest_from_scratch
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, flops, scale, short, tasks, with_interval

SCRATCH = {"mappo": "MAPPO", "ippo": "IPPO"}
LEARNING_RATES = (0.002, 0.004, 0.008)
"""Learning rates that must have been tried for every method from scratch."""
TRIALS = 2
"""Seeds of each trial."""
SMALLER = {"a GRU of 64": ("gru", 64), "an MLP of 64": ("mlp", 64)}
"""Smaller experts that students are compared with in size."""


def trials(rows: Rows, small: RowResults) -> dict[float, RowResults]:
    """Trials of learning rates on other seeds than the compared row, by learning rate."""
    found = [row for name, row in rows.items() if name.startswith(f"{small.name}/lr-")]
    return {row.lr: row for row in found if len(row.seeds) >= TRIALS and not row.of_seeds(small)[0].seeds}


def missing_measurements(rows: Rows, env: str, method: str) -> list[str]:
    """What is still to be measured of a method from scratch before it can be compared; empty where nothing is."""
    label, small = SCRATCH[method], rows.get(f"{method}/{short(rows, env)}/small")
    if small is None:
        return [f"{label} from scratch"]
    too_few = len(small.seeds) < MIN_SEEDS
    missing = [f"{label} from scratch has {len(small.seeds)} of {MIN_SEEDS} seeds"] if too_few else []
    trial_rows, task_scale = trials(rows, small), scale(rows, env)
    untried = [f"{lr:g}" for lr in LEARNING_RATES if lr not in trial_rows]
    if not trial_rows:
        return [*missing, f"no learning rates of {label} tried"]
    if untried:
        return [*missing, f"learning rates of {label} not tried: {', '.join(untried)}"]
    means = {lr: float(task_scale.of(row).mean()) for lr, row in trial_rows.items()}
    best = max(means, key=means.__getitem__)
    return missing if means.get(small.lr) == means[best] else [*missing, f"{label} at its best learning rate, {best:g}"]


def best_from_scratch(rows: Rows, env: str) -> RowResults | None:
    """The better of MAPPO and IPPO of the students' size; None where neither was measured."""
    candidates = [row for method in SCRATCH if (row := rows.get(f"{method}/{short(rows, env)}/small"))]
    return max(candidates, key=lambda row: scale(rows, env).of(row).mean(), default=None)


def verdict(rows: Rows) -> str:
    """For every task, whether the student is better than the best team of its size from scratch."""
    return "\n".join(f"- `{env}`: {task_verdict(rows, env)}" for env in tasks(rows))


def task_verdict(rows: Rows, env: str) -> str:
    """The verdict on one task."""
    task_scale, student = scale(rows, env), rows[f"kd_marl/{short(rows, env)}"]
    best = best_from_scratch(rows, env)
    missing = [what for method in SCRATCH for what in missing_measurements(rows, env, method)]
    if len(student.seeds) < MIN_SEEDS:
        missing.insert(0, f"the student has {len(student.seeds)} of {MIN_SEEDS} seeds")
    if missing or best is None:
        text = f"not enough measured ({'; '.join(missing)})"
        if best is None:
            return text
        difference = float(task_scale.of(student).mean() - task_scale.of(best).mean())
        best_label = f"`{best.name}`, {len(best.seeds)} seed{'s' * (len(best.seeds) > 1)}"
        gap = f"{difference:+.{task_scale.digits}f}"
        return f"{text}; student minus the best so far ({best_label}), {task_scale.name}: {gap}"
    difference, (low, high) = difference_of_means(task_scale.of(student), task_scale.of(best))
    conclusion = "distillation helps" if low > 0 else "from scratch is better" if high < 0 else "no difference shown"
    text = with_interval(difference, (low, high), task_scale.digits, "+")
    return f"{conclusion}; student minus the best of its size from scratch (`{best.name}`), {task_scale.name}: {text}"


def ratios(rows: Rows) -> str:
    """Table of how many times fewer FLOPs students have than experts of several sizes and a team from scratch."""
    body = []
    for env in tasks(rows):
        student, expert = rows[f"kd_marl/{short(rows, env)}"], rows[f"mappo/{short(rows, env)}"]
        smallest = smallest_from_scratch(rows, env)
        others = [flops(expert), *expert_flops(env), flops(smallest) if smallest else None]
        times = [f"{other / flops(student):.1f}x" if other else "-" for other in others]
        body.append([f"`{env}`", f"{flops(student):.1f}", *times])
    header = ["students of", "kFLOPs per joint decision", "fewer than the expert, a GRU of 128"]
    header += [f"than {name}" for name in SMALLER]
    header += ["than the smallest team from scratch measured that has 95 % of the expert"]
    return markdown(header, body) if body else "No results yet."


def expert_flops(env: str) -> list[float | None]:
    """Matrix-product FLOPs of a joint decision of SMALLER experts, in thousands; None for a user's own environment."""
    if env not in ENVIRONMENTS:
        return [None for _ in SMALLER]
    configs = [method_config("mappo", core=core, size=f"width={width}") for core, width in SMALLER.values()]
    spec = make(env).spec
    costs = [team_cost(build_team(spec, config, view("local", spec))) for config in configs]
    return [cost.products / 1e3 if cost else None for cost in costs]
