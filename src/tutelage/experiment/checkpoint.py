"""Where a training stands, on the disk: written while it goes on, read when it is taken up again."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tutelage.configs.checks import build
from tutelage.errors import BadInput
from tutelage.experiment.files import load_tree, read_json, read_meta, save_tree
from tutelage.experiment.records import BestMark, Mark, damage
from tutelage.experiment.stage_loop import Loop, stage_loop
from tutelage.experiment.status import Best, Interval, Status
from tutelage.types import Environment, Method

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
"""The best parameters of a training that a number ended which was none."""

Identity = dict[str, Any]


def identity_of(path: Path) -> Identity:
    """What a run's numbers depend on, by name, from its config.json: a checkpoint goes on under the same alone."""
    if not (path / "config.json").exists():
        return {}
    record = read_json(path / "config.json")
    kept = {k: v for k, v in record["fit"].items() if k not in ("checkpoint_seconds", "tensorboard")}
    teacher = hashlib.sha256(json.dumps(record["teacher"], sort_keys=True).encode()).hexdigest()[:16]
    names = ("method", "env", "env_version", "seed")
    return {
        **{name: record[name] for name in names},
        "teacher": teacher,
        **{f"env_options.{k}": v for k, v in record["env_options"].items()},
        **{f"config.{k}": v for k, v in record["config"].items()},
        **{f"fit.{k}": v for k, v in kept.items()},
    }


def check_identity(file: Path, then: Identity | None) -> None:
    """Refuse, as BadInput, a file that was made under other settings than the run's config.json has now."""
    now = identity_of(file.parent)
    then = now if then is None else then  # earlier versions did not say
    for name in sorted({*then, *now}):
        was, is_ = then.get(name), now.get(name)
        if was != is_:
            told = f"{file} was made with {name} = {was}, config.json says {is_}"
            raise BadInput(f"{told}: put it back, or train a new run")


def save_status(
    path: Path, status: Status, fixed: tuple[str, ...], first: bool, offset: int, identity: Identity
) -> None:
    """Write where training stands. State fields that the stage does not change go to a file of their own, once."""
    state = status.loop.train_state
    if fixed and first:
        kept = {k: getattr(state, k) for k in fixed}
        save_tree(path / f"checkpoint-stage{status.stage}.safetensors", kept, {"run": identity})
    moving = state._replace(**dict.fromkeys(fixed, ())) if fixed else state
    since = status.since
    meta = {
        "stage": status.stage,
        "fixed": list(fixed),
        "steps": status.steps,
        "offset": offset,
        "since": since._replace(rows={k: x.tolist() for k, x in since.rows.items()})._asdict() if since else None,
        **about_best(status.best, status.steps + int(status.loop.steps), status.seconds, identity),
    }
    tree = {"loop": status.loop._replace(train_state=moving), "best": status.best.params if status.best else ()}
    save_tree(path / CHECKPOINT, tree, meta)


def read_mark(file: Path, method: Method) -> Mark:
    """The meta of a checkpoint of this method.

    Raises:
        BadInput: it was made under other settings. Fault: it is damaged.
    """
    meta = read_meta(file)
    with damage(file):
        mark = build(Mark, meta, "field of its meta")
        if mark.stage >= len(method.stages):
            raise BadInput(f"stage = {mark.stage}: must be less than {len(method.stages)}")
        if (fixed := method.stages[mark.stage].fixed) != tuple(mark.fixed):
            raise BadInput(f"fixed = {mark.fixed}: must be {list(fixed)}")
    check_identity(file, mark.run)
    return mark


def load_status(path: Path, env: Environment, method: Method) -> tuple[Status, int]:
    """Read where training stood, and how much of metrics.jsonl belongs to it.

    Raises:
        BadInput: the checkpoint was made under other settings. Fault: a file is damaged.
    """
    mark = read_mark(path / CHECKPOINT, method)
    stage, fixed = method.stages[mark.stage], tuple(mark.fixed)
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key)
    runner = stage_loop(env, stage, mark.stage, 1)
    zero: Any = jax.ShapeDtypeStruct((), jnp.int32)
    moving = state._replace(**dict.fromkeys(fixed, ())) if fixed else state
    loop = Loop(moving, jax.eval_shape(runner.init_collectors, key), zero, zero)
    params = jax.eval_shape(method.params, state) if mark.best else ()
    tree, _ = load_tree(path / CHECKPOINT, {"loop": loop, "best": params}, learned)
    loop = tree["loop"]
    if fixed:
        like = {k: getattr(state, k) for k in fixed}
        file = path / f"checkpoint-stage{mark.stage}.safetensors"
        kept, meta = load_tree(file, like, learned)
        check_identity(file, meta.get("run"))
        loop = loop._replace(train_state=loop.train_state._replace(**kept))
    best = Best(*mark.best, tree["best"]) if mark.best else None
    since = None
    if mark.since:
        rows = {name: np.asarray(x, np.float32) for name, x in mark.since["rows"].items()}
        since = Interval(**mark.since)._replace(rows=rows)
    return Status(mark.stage, loop, mark.steps, best, mark.seconds, since), mark.offset


LEARNED = {"params", "mu", "nu", "target", "frozen", "teacher", "returns", "errors"}
"""Fields of the states of methods and optimisers that hold weights, means of gradients or of returns."""


def learned(name: str) -> bool:
    """Whether a leaf of a checkpoint is a weight or made of weights; worlds and records of them hold what they like."""
    return name.startswith("['best']") or any(part in LEARNED for part in re.findall(r"\w+", name))


def about_best(best: Best | None, steps: int, seconds: float, identity: Identity) -> dict[str, Any]:
    """What is kept beside the best parameters so far: how good they were, and how long the whole training has been."""
    scores = [best.success_rate, best.return_mean] if best else None
    return {"best": scores, "total_steps": steps, "seconds": seconds, "run": identity}


def save_best(path: Path, best: Best, steps: int, seconds: float, error: str, identity: Identity) -> None:
    """Keep the best parameters so far of a training that cannot go on."""
    save_tree(path / BEST, {"best": best.params}, {"error": error, **about_best(best, steps, seconds, identity)})


def load_best(path: Path, method: Method) -> tuple[Best, BestMark] | None:
    """The best parameters so far of a run that is not finished, and what is kept beside; None without an evaluation.

    Raises:
        BadInput: they were made under other settings. Fault: a file is damaged.
    """
    found: list[tuple[Path, BestMark]] = []
    if (path / BEST).exists():
        found.append((path / BEST, read_best(path / BEST)))
    if (path / CHECKPOINT).exists():
        mark = read_mark(path / CHECKPOINT, method)
        found.append((path / CHECKPOINT, BestMark(mark.best, mark.total_steps or mark.steps, mark.seconds)))
    found = [(file, mark) for file, mark in found if mark.best]
    if not found:
        return None
    file, about = max(found, key=lambda pair: pair[1].total_steps)
    like = jax.eval_shape(lambda key: method.params(method.init(key)), jax.random.key(0))
    tree, _ = load_tree(file, {"best": like}, learned, whole=file.name == BEST)
    assert about.best is not None
    return Best(*about.best, tree["best"]), about


def read_best(file: Path) -> BestMark:
    """The meta of the best parameters of a training that broke; raises as `read_mark`."""
    meta = read_meta(file)
    with damage(file):
        mark = build(BestMark, meta, "field of its meta")
    check_identity(file, mark.run)
    return mark
