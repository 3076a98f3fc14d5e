"""`tutelage shrink RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from tutelage.cli.parsing import changed, parse
from tutelage.cli.printing import print_json, print_note, print_table


@dataclass(frozen=True)
class DistilArgs:
    """The distillation; from Python every setting of KD-MARL."""

    gather: int = 150_000
    """Environment steps of the teacher's play to learn from."""
    passes: int = 20
    """Passes over them."""
    lr: float = 6e-3
    """Learning rate."""
    sight: str = "full"
    """What students see of their observation, e.g. radius=0.5."""


@dataclass(frozen=True)
class ShrinkArgs:
    """What to shrink, and how far."""

    run: Positional[str]
    """The teacher: RUN (a run directory, whose acting role teaches), or RUN@ROLE."""
    keep: float = 0.95
    """The share of the teacher's score to keep: of its success, or of its return above that of random play."""
    within: str | None = None
    """A budget for each agent, in which the best student is found: flops=20k, params=5k, bytes=8k, latency=20us, or
    ratio=100."""
    out: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Directory to create; None: runs/shrink-ENV-seedN."""
    cores: tuple[Literal["mlp", "gru"], ...] = ("mlp", "gru")
    """Networks of students, in the order in which they are tried."""
    seed: int = 0
    """Seed of everything."""
    against: Literal["scratch"] | None = None
    """scratch: train MAPPO at the sizes about the student's as well (takes far longer)."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""
    quiet: bool = False
    """No progress on standard error."""
    json: bool = False
    """Print one JSON object, the content of shrink.json."""
    distil: OmitArgPrefixes[DistilArgs] = field(default_factory=DistilArgs)


def main(argv: Sequence[str]) -> None:
    """Shrink and say what was found."""
    about = "Find the smallest student that keeps a share of its teacher, or the best one within a budget."
    args = parse(ShrinkArgs, "shrink", argv, about)
    from tutelage.shrinking.shrink import shrink

    arguments = {k: v for k, v in asdict(args).items() if k not in ("run", "distil", "json")}
    run, report = shrink(args.run, **arguments, **changed(args.distil, DistilArgs()))
    if args.json:
        print_json(report)
    else:
        print_report(report)
        print(f"\nrun: {run.path}")


def print_report(report: dict[str, Any]) -> None:
    """Print all students in order of their cost, the teacher last, and what was found."""
    students = sorted(report["students"], key=lambda each: each["flops"])
    rows = [row(each, name(each)) for each in students]
    rows += [row(each, f"{name(each)}, from scratch") for each in report.get("scratch", [])]
    cost = (f"{report['teacher_flops']:,.0f}", "1.0x") if report["teacher_flops"] else ("", "")
    rows.append(("teacher", *cost, "", f"{report['teacher_score']:.3f}", "", "", ""))
    heads = ("agents", "FLOPs", "fewer", "parameters", report["measure"], "share kept", "episodes", "")
    labels, *columns = zip(heads, zip(*rows, strict=True), strict=True)
    print_table(f"{report['env']}: students of {report['teacher']}", labels, columns)
    print()
    for line in findings(report):
        print_note(line)


def row(each: dict[str, Any], label: str) -> tuple[str, ...]:
    """The cells of a student, or of a team from scratch, of which nothing was decided."""
    numbers = f"{each['flops']:,.0f}", fewer(each), f"{each['params']:,.0f}", f"{each['score']:.3f}"
    decided = (str(each["episodes"]), answer(each)) if "keeps" in each else ("", "")
    return label, *numbers, with_interval(each), *decided


def findings(report: dict[str, Any]) -> list[str]:
    """What was found, in words."""
    chosen, test, keep = report["chosen"], report["test"], report["keep"]
    ratio = f", {fewer(chosen)} fewer FLOPs than its teacher" if chosen["ratio"] else ""
    within = f" within {report['within']}" if report["within"] else " that is smaller than its teacher"
    if not chosen["keeps"]:
        first = (
            f"no student{within} keeps {keep:g}; the nearest is {name(chosen)}{ratio}: it keeps {with_interval(chosen)}"
        )
    elif report["within"]:
        first = f"the best student{within}: {name(chosen)}{ratio}"
    else:
        first = f"the smallest student that keeps {keep:g}: {name(chosen)}{ratio}"
    lines = [first]
    if chosen["keeps"] and not chosen["decided"]:
        lines.append(f"(by its share in {chosen['episodes']} episodes; its interval holds {keep:g})")
    lines.append(
        f"on {test['episodes']} fresh episodes it keeps {with_interval(test)}: {report['measure']} {test['score']:.3f}"
        f", the teacher's {test['teacher']:.3f}"
    )
    if chosen["keeps"] and test["share"] < keep:
        lines.append(f"warning: that is less than {keep:g}; {wider(report)}")
    return lines


def wider(report: dict[str, Any]) -> str:
    """The next larger student that keeps the share, for the warning."""
    chosen = report["chosen"]
    larger = [each for each in report["students"] if each["keeps"] and each["flops"] > chosen["flops"]]
    if not larger:
        return "no larger one was tried"
    return f"the next larger one that was tried is {name(min(larger, key=lambda each: each['flops']))}"


def name(student: dict[str, Any]) -> str:
    return f"{student['core']} {student['width']}"


def fewer(student: dict[str, Any]) -> str:
    return f"{student['ratio']:.1f}x" if student["ratio"] else ""


def with_interval(student: dict[str, Any]) -> str:
    """The share that is kept, with its interval."""
    low, high = student["low"], student["high"]
    bounds = "no bounds" if low is None or high is None else f"{low:.3f}, {high:.3f}"
    return f"{student['share']:.3f} [{bounds}]"


def answer(student: dict[str, Any]) -> str:
    """Whether a student keeps the share, in a word or two."""
    return ("yes" if student["keeps"] else "no") + ("" if student["decided"] else ", undecided")
