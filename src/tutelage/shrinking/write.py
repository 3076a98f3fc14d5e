"""The run of the student that was found, shrink.json and the picture."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput
from tutelage.experiment.evaluate import summarise, test_key
from tutelage.experiment.files import write_json
from tutelage.experiment.job import new_job
from tutelage.experiment.records import Evaluation, Record
from tutelage.experiment.run_lock import LOCK
from tutelage.experiment.sinks import Display
from tutelage.experiment.status import FitResult
from tutelage.experiment.train_run import teacher_params, write_beginning, write_finished_run
from tutelage.methods.kd_marl.method import kd_marl
from tutelage.policies.acting import greedy
from tutelage.shrinking.picture import draw
from tutelage.shrinking.retention import share_kept
from tutelage.shrinking.search import Judged
from tutelage.shrinking.sizes import Costs, Size
from tutelage.shrinking.trials import Trials, play, scores

JSON, PICTURE = "shrink.json", "shrink.png"


def finite(number: float) -> float | None:
    """A number as JSON has it: None for an interval's end that is infinite."""
    return number if isfinite(number) else None


def describe(judged: Judged, costs: Costs) -> dict[str, Any]:
    """A student that was tried, for shrink.json; costs are of an agent, on average over the team."""
    each = asdict(judged)
    size = each.pop("size")
    per_agent = {name: costs.agent(judged.size, name) for name in ("flops", "params", "bytes")}
    bounds = {"low": finite(judged.low), "high": finite(judged.high)}
    return {**size, **per_agent, "ratio": costs.ratio(judged.size), **each, **bounds}


def test_chosen(trials: Trials, size: Size, seed: int) -> tuple[Evaluation, dict[str, Any]]:
    """The test of a student, cut to its width, on fresh episodes: its evaluation, and what it keeps of its teacher."""
    config = replace(trials.config, core=size.core, size=f"width={size.width}")
    policy = kd_marl(trials.env, config, trials.teacher).roles["student"]
    episodes, key = FitConfig().test_episodes, test_key(seed)
    with trials.timed("test"):
        batches = play(trials.env, policy, trials.params[size], greedy, key, episodes)
        own, teachers = scores(batches).first(episodes), trials.teacher_plays(key, episodes).first(episodes)
    share, (low, high) = share_kept(own, teachers, trials.measure, trials.floor)
    means = {"score": own.mean(trials.measure), "teacher": teachers.mean(trials.measure)}
    test = {"episodes": episodes, **means, "share": share, "low": finite(low), "high": finite(high)}
    return summarise(batches, episodes), test


def write_run(
    folder: Path,
    trials: Trials,
    size: Size,
    test: Evaluation,
    teacher_record: Record,
    report: dict[str, Any],
    display: Display,
) -> None:
    """Write the student as a finished run of KD-MARL, with the report and the picture; all or nothing."""
    env, teacher, seed = trials.env, trials.teacher, report["seed"]
    config = replace(trials.config, core=size.core, size=f"width={size.width}")
    options = report["env_options"]
    job = new_job(
        "kd_marl", report["env"], seed, 1, None, teacher_record["name"], None, False, options, None, asdict(config)
    )
    method = kd_marl(env, config, teacher)
    params = {"student": trials.params[size], **teacher_params(teacher)}
    try:
        write_json(folder / JSON, report)
        draw_or_say(folder, report, display)
        write_beginning(job, seed, folder, env, method, FitConfig(), (teacher, teacher_record))
        seconds = report["seconds"]["total"]
        write_finished_run(folder, FitResult(params, test, seconds, trials.steps), seed, {})
    except BaseException:
        # It was empty when it was locked, so all files in it are of this call.
        for file in folder.iterdir():
            if file.name != LOCK:
                file.unlink()
        raise


def draw_or_say(folder: Path, report: dict[str, Any], display: Display) -> None:
    """Draw the picture; where matplotlib is missing that is said instead."""
    try:
        draw(folder / PICTURE, report)
    except BadInput as error:
        display.say(f"no {PICTURE}: {error}")
