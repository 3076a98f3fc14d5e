"""Teams that learn from scratch beside distilled ones: whether distillation helps, and how small a team can be.

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
from tutelage.report.ablations import markdown, smallest
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, flops, scale, short, tasks, with_interval

SCRATCH = {"mappo": "MAPPO", "ippo": "IPPO"}
TRIED = (0.002, 0.004, 0.008)
"""Learning rates that every method from scratch has to have tried."""
TRIALS = 2
"""Seeds of each trial."""
SMALLER = {"a GRU of 64": ("gru", 64), "an MLP of 64": ("mlp", 64)}
"""Smaller experts that students are compared with in size."""


def trials(rows: Rows, small: RowResults) -> dict[float, RowResults]:
    """Trials by learning rate; those that share no seed with what is compared."""
    found = [row for name, row in rows.items() if name.startswith(f"{small.name}/lr-")]
    return {row.lr: row for row in found if len(row.seeds) >= TRIALS and not row.of_seeds(small)[0].seeds}


def lacking(rows: Rows, env: str, method: str) -> list[str]:
    """What is not measured of a method's team of the students' size; empty where it can be compared."""
    called, small = SCRATCH[method], rows.get(f"{method}/{short(rows, env)}/small")
    if small is None:
        return [f"{called} from scratch"]
    too_few = len(small.seeds) < MIN_SEEDS
    told = [f"{called} from scratch has {len(small.seeds)} of {MIN_SEEDS} seeds"] if too_few else []
    tried, worth = trials(rows, small), scale(rows, env)
    untried = [f"{lr:g}" for lr in TRIED if lr not in tried]
    if not tried:
        return [*told, f"no learning rates of {called} tried"]
    if untried:
        return [*told, f"learning rates of {called} not tried: {', '.join(untried)}"]
    means = {lr: float(worth.of(row).mean()) for lr, row in tried.items()}
    best = max(means, key=means.__getitem__)
    return told if means.get(small.lr) == means[best] else [*told, f"{called} at its best learning rate, {best:g}"]


def verdict(rows: Rows) -> str:
    """Where distillation helps and where it does not: the student against the best team of its size from scratch."""
    return "\n".join(f"- `{env}`: {judged(rows, env)}" for env in tasks(rows))


def judged(rows: Rows, env: str) -> str:
    """The verdict on one task."""
    worth, student = scale(rows, env), rows[f"kd_marl/{short(rows, env)}"]
    found = [row for method in SCRATCH if (row := rows.get(f"{method}/{short(rows, env)}/small"))]
    best = max(found, key=lambda row: worth.of(row).mean()) if found else None
    missing = [what for method in SCRATCH for what in lacking(rows, env, method)]
    if len(student.seeds) < MIN_SEEDS:
        missing.insert(0, f"the student has {len(student.seeds)} of {MIN_SEEDS} seeds")
    if missing or best is None:
        told = f"not enough measured ({'; '.join(missing)})"
        if best is None:
            return told
        gap = float(worth.of(student).mean() - worth.of(best).mean())
        so_far = f"`{best.name}`, {len(best.seeds)} seed{'s' * (len(best.seeds) > 1)}"
        return f"{told}; student minus the best so far ({so_far}), {worth.name}: {gap:+.{worth.digits}f}"
    gap, (low, high) = difference_of_means(worth.of(student), worth.of(best))
    words = "distillation helps" if low > 0 else "from scratch is better" if high < 0 else "no difference shown"
    told = with_interval(gap, (low, high), worth.digits, "+")
    return f"{words}; student minus the best of its size from scratch (`{best.name}`), {worth.name}: {told}"


def ratios(rows: Rows) -> str:
    """How many times fewer FLOPs the students have than experts of several sizes, and than a team from scratch."""
    body = []
    for env in tasks(rows):
        student, expert = rows[f"kd_marl/{short(rows, env)}"], rows[f"mappo/{short(rows, env)}"]
        least = smallest(rows, env)
        others = [flops(expert), *expert_flops(env), flops(least) if least else None]
        times = [f"{other / flops(student):.1f}x" if other else "-" for other in others]
        body.append([f"`{env}`", f"{flops(student):.1f}", *times])
    header = ["students of", "kFLOPs per joint decision", "fewer than the expert, a GRU of 128"]
    header += [f"than {name}" for name in SMALLER]
    header += ["than the smallest team from scratch measured that has 95 % of the expert"]
    return markdown(header, body) if body else "No results yet."


def expert_flops(env: str) -> list[float | None]:
    """Matrix-product FLOPs of smaller experts' joint decisions, thousands; None for an environment of one's own."""
    if env not in ENVIRONMENTS:
        return [None for _ in SMALLER]
    configs = [method_config("mappo", core=core, size=f"width={width}") for core, width in SMALLER.values()]
    costs = [team_cost(build_team(make(env).spec, config, view("local"))) for config in configs]
    return [cost.products / 1e3 if cost else None for cost in costs]
