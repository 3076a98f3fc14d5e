"""`tutelage demo`: a small example, in which an expert is trained on SMAX 2s3z and distilled into small students."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.cli.parsing import parse
from tutelage.cli.printing import print_table
from tutelage.configs.checks import check_seeds
from tutelage.errors import BadInput

ENV = "smax/2s3z"
EXPERT: dict[str, Any] = {"core": "mlp", "size": "width=128", "critic_width": 64, "chunk": 1, "steps": 300_000}
STUDENT: dict[str, Any] = {"core": "mlp", "gather": 75_000, "passes": 15}


PICTURE = "episode.gif"


@dataclass(frozen=True)
class DemoArgs:
    """Where to."""

    out: Path = Path("runs/demo")
    """Directory for the runs and the picture; a demo that was stopped there goes on."""
    seed: int = 0
    """Seed of everything."""


def main(argv: Sequence[str]) -> None:
    """Train, distil, compare, draw."""
    args = parse(DemoArgs, "demo", argv, "An expert is trained and distilled on SMAX 2s3z, in about a minute.")
    started = time.monotonic()
    check_seeds(args.seed)
    check_out(args.out, args.seed)
    from tutelage.deploy.cost import cost_report
    from tutelage.report.render import render

    expert = train_or_resume("mappo", args.out / "expert", args.seed, **EXPERT)
    student = train_or_resume("kd_marl", args.out / "student", args.seed, teacher=expert.path, **STUDENT)
    cost = cost_report(student)
    print_comparison(expert, student, cost)
    picture = args.out / PICTURE
    render(str(student.path), picture, side_by_side=True)
    print(f"\nruns: {expert.path}, {student.path}\npicture: {picture}\n{time.monotonic() - started:.0f} s in all")


def check_out(out: Path, seed: int) -> None:
    """Raise BadInput where the directory holds files that a demo would write but a demo of this seed did not."""
    from tutelage.experiment.job import read_job

    for name, method, settings in (("expert", "mappo", EXPERT), ("student", "kd_marl", STUDENT)):
        run = out / name
        if not run.is_dir() or not any(run.iterdir()):
            continue
        if not (run / "plan.json").exists():
            raise BadInput(f"out = {out}: {run} is there and was left by no demo; name another directory")
        job = read_job(run / "plan.json")
        if (job.method, job.env, job.seed, job.seeds) != (
            method,
            ENV,
            seed,
            1,
        ) or settings.items() - job.config.items():
            raise BadInput(f"out = {out}: {run} is another run than this demo's; name another directory")
    if (out / PICTURE).exists() and not (out / "student").is_dir():
        raise BadInput(f"out = {out}: {out / PICTURE} is there and was left by no demo; name another directory")


def train_or_resume(method: str, out: Path, seed: int, **settings: Any) -> Any:
    """Train a run of the demo; a run that exists is resumed."""
    from tutelage.configs.experiment import FitConfig
    from tutelage.experiment.commands import resume, train

    if (out / "plan.json").exists():
        return resume(out)[0]
    return train(method, ENV, out=out, seed=seed, fit=FitConfig(evaluations=8), **settings)[0]


def print_comparison(expert: Any, student: Any, cost: dict[str, Any]) -> None:
    """Print success, size and speed of expert and students beside each other."""
    retention = student.test["success_rate"] / max(expert.test["success_rate"], 1e-9)
    teacher, team, ratio = cost["teacher"]["team"], cost["team"], cost["ratio"]
    rows = [
        ("success", *[f"{run.test['success_rate']:.3f}" for run in (expert, student)], f"retention {retention:.3f}")
    ]
    for label, key in (("FLOPs per team decision", "flops"), ("parameters", "params")):
        rows.append((label, f"{teacher[key]:,}", f"{team[key]:,}", f"{ratio[key]:.1f}x fewer"))
    for label, key, name in (("compiled", "compiled", "latency"), ("NumPy", "numpy", "latency_numpy")):
        latencies = [f"{figures['latency_us'][key]:.1f} µs" for figures in (teacher, team)]
        rows.append((f"latency, {label}", *latencies, f"{ratio[name]:.2f}x faster"))
    labels, *columns = zip(*rows, strict=True)
    title = f"{ENV}: one expert, distilled ({student.test['episodes']} greedy episodes each)"
    print_table(title, ("", labels), list(zip(("expert", "students", ""), columns, strict=True)))
