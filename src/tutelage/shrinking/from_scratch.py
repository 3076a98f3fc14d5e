"""Teams of the sizes about the chosen student's that learn without a teacher, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.experiment.commands import train
from tutelage.experiment.evaluate import test_key
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.sinks import Display
from tutelage.policies.acting import RULES, greedy
from tutelage.shrinking.retention import share_kept
from tutelage.shrinking.trials import play, scores
from tutelage.types import Frozen


def train_from_scratch(
    run: LoadedRun, teacher: Frozen, report: dict[str, Any], folder: Path, display: Display
) -> list[dict[str, Any]]:
    """MAPPO at the sizes about the chosen student's, each as the run SCRATCH/CORE-WIDTH below the student's.

    They learn from as many environment steps as the teacher and the gathering together, where the teacher's are known.

    Returns:
        One entry per team, as those of students: the share that it has of the teacher's score in the final test.
    """
    role = run.roles[teacher.actor]
    key, episodes, measure = test_key(report["seed"]), report["test"]["episodes"], report["measure"]
    policy, params = teacher.roles[teacher.actor], teacher.params[teacher.actor]
    teachers = scores(play(run.env, policy, params, RULES[role.act], key, episodes))
    steps = teacher.provenance.get("steps")
    settings = {name: report["settings"][name] for name in ("sight", "hidden", "share", "normalise")}
    settings |= {"steps": steps + report["steps"]} if steps else {}
    found = []
    for size in sizes_about(report):
        core, width = size["core"], size["width"]
        out = folder / "scratch" / f"{core}-{width}"
        display.say(f"from scratch: {core} {width}")
        common = {"seed": report["seed"], "env_options": report["env_options"], "quiet": display.quiet}
        (team,) = train("mappo", report["env"], out=out, core=core, size=f"width={width}", **common, **settings)
        own = scores(play(run.env, team.policy(), team.params(), greedy, key, episodes))
        share, (low, high) = share_kept(own, teachers, measure, report["floor"])
        costs = {name: size[name] for name in ("core", "width", "flops", "params", "bytes", "ratio")}
        found.append({**costs, "score": own.mean(measure), "share": share, "low": low, "high": high})
    return found


def sizes_about(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The chosen student, and those of its core that were tried next to it, one narrower and one wider."""
    chosen = report["chosen"]
    same = sorted((each for each in report["students"] if each["core"] == chosen["core"]), key=lambda x: x["width"])
    index = [each["width"] for each in same].index(chosen["width"])
    return same[max(0, index - 1) : index + 2]
