"""Checkpoints: writing the state of a training to disk and reading it when the training is resumed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tutelage.configs.checks import build
from tutelage.data.experience import with_experience, without_experience
from tutelage.errors import BadInput
from tutelage.experiment.arrays import load_tree, read_meta, save_tree
from tutelage.experiment.checkpoint_meta import BestMeta, CheckpointMeta, LastMeta
from tutelage.experiment.files import read_json
from tutelage.experiment.read_records import as_damage
from tutelage.experiment.records import Record
from tutelage.experiment.stage_loop import LoopState, stage_loop
from tutelage.experiment.status import Best, Status, Unlogged
from tutelage.types import Environment, Method, TrainState

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
"""File of the best parameters of a training that ended with a non-finite value."""

LAST = "last.safetensors"
"""File of the last train state of a finished run, from which it can be extended."""

Identity = dict[str, Any]
Meta = TypeVar("Meta", BestMeta, LastMeta)


def identity_of(path: Path) -> Identity:
    """`identity` of a run, from its config.json."""
    return identity(read_json(path / "config.json")) if (path / "config.json").exists() else {}


def identity(record: Record) -> Identity:
    """The settings of a config.json that a run's results depend on; a checkpoint is resumed only under these."""
    fit_settings = {k: v for k, v in record["fit"].items() if k not in ("checkpoint_seconds", "tensorboard")}
    hashed = lambda entry: hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
    names = ("method", "env", "env_version", "seed")
    return {
        **{name: record[name] for name in names},
        "teacher": hashed(record["teacher"]),
        **({"init": hashed(record["init"])} if record.get("init") else {}),
        **{f"env_options.{k}": v for k, v in record["env_options"].items()},
        **{f"config.{k}": v for k, v in record["config"].items()},
        **{f"fit.{k}": v for k, v in fit_settings.items()},
    }


def check_identity(file: Path, saved: Identity | None) -> None:
    """Raise BadInput where a file was made under other settings than those now in the run's config.json."""
    current = identity_of(file.parent)
    saved = current if saved is None else saved  # earlier versions did not say
    for name in sorted({*saved, *current}):
        before, after = saved.get(name), current.get(name)
        if before != after:
            message = f"{file} was made with {name} = {before}, config.json says {after}"
            raise BadInput(f"{message}: put it back, or train a new run")


def save_status(
    path: Path, status: Status, fixed: tuple[str, ...], first: bool, offset: int, identity: Identity
) -> None:
    """Write a checkpoint.

    Args:
        status: state of the training.
        fixed: fields of the train state that the current stage does not change. They are kept in a file of their own.
        first: whether this is the stage's first checkpoint, so that this file has to be written.
        offset: bytes of metrics.jsonl at this moment.
        identity: see `identity_of`.
    """
    state = status.loop.train_state
    if fixed and first:
        fixed_fields = {k: getattr(state, k) for k in fixed}
        save_tree(path / f"checkpoint-stage{status.stage}.safetensors", fixed_fields, {"run": identity})
    changing = state._replace(**dict.fromkeys(fixed, ())) if fixed else state
    unlogged, since = status.unlogged, None
    if unlogged:
        metrics = {name: values.tolist() for name, values in unlogged.metrics.items()}
        since = {"rows": metrics, "seconds": unlogged.seconds, "due": unlogged.due_before}
    meta = {
        "stage": status.stage,
        "fixed": list(fixed),
        "steps": status.steps,
        "offset": offset,
        "since": since,
        **best_meta(status.best, status.steps + int(status.loop.steps), status.seconds, identity),
    }
    tree = {"loop": status.loop._replace(train_state=changing), "best": status.best.params if status.best else ()}
    save_tree(path / CHECKPOINT, tree, meta)


def read_checkpoint_meta(file: Path, method: Method) -> CheckpointMeta:
    """The metadata of a checkpoint of this method.

    Raises:
        BadInput: it was made under other settings. Fault: it is damaged.
    """
    meta = read_meta(file)
    with as_damage(file):
        saved = build(CheckpointMeta, meta, "field of its meta")
        if saved.stage >= len(method.stages):
            raise BadInput(f"stage = {saved.stage}: must be less than {len(method.stages)}")
        if (fixed := method.stages[saved.stage].fixed) != tuple(saved.fixed):
            raise BadInput(f"fixed = {saved.fixed}: must be {list(fixed)}")
    check_identity(file, saved.run)
    return saved


def load_status(path: Path, env: Environment, method: Method) -> tuple[Status, int]:
    """Read a checkpoint: the state of the training, and how many bytes of metrics.jsonl belong to it.

    Raises:
        BadInput: the checkpoint was made under other settings. Fault: a file is damaged.
    """
    saved = read_checkpoint_meta(path / CHECKPOINT, method)
    stage, fixed = method.stages[saved.stage], tuple(saved.fixed)
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key)
    runner = stage_loop(env, stage, saved.stage, 1)
    zero: Any = jax.ShapeDtypeStruct((), jnp.int32)
    changing = state._replace(**dict.fromkeys(fixed, ())) if fixed else state
    loop = LoopState(changing, jax.eval_shape(runner.init_collectors, key), zero, zero)
    params = jax.eval_shape(method.params, state) if saved.best else ()
    tree, _ = load_tree(path / CHECKPOINT, {"loop": loop, "best": params}, is_weight)
    loop = tree["loop"]
    if fixed:
        template = {k: getattr(state, k) for k in fixed}
        file = path / f"checkpoint-stage{saved.stage}.safetensors"
        fixed_fields, meta = load_tree(file, template, is_weight)
        check_identity(file, meta.get("run"))
        loop = loop._replace(train_state=loop.train_state._replace(**fixed_fields))
    best = Best(*saved.best, tree["best"]) if saved.best else None
    unlogged = None
    if saved.since:
        metrics = {name: np.asarray(values, np.float32) for name, values in saved.since["rows"].items()}
        unlogged = Unlogged(metrics, saved.since["seconds"], saved.since["due"])
    return Status(saved.stage, loop, saved.steps, best, saved.seconds, unlogged), saved.offset


def save_last(path: Path, status: Status, identity: Identity) -> None:
    """Write the last train state of a training that has come to its end, without the experience that was gathered."""
    loop, best = status.loop, status.best
    meta = {
        "stage": status.stage,
        "earlier": status.steps,
        "update": int(loop.update),
        "steps": int(loop.steps),
        "best": [best.success_rate, best.return_mean] if best else None,
        "run": identity,
    }
    save_tree(path / LAST, without_experience(loop.train_state), meta)


def load_last(file: Path, fresh: TrainState) -> TrainState:
    """The last train state; what had been gathered is that of `fresh`, a new one."""
    return with_experience(load_tree(file, without_experience(fresh), is_weight)[0], fresh)


WEIGHT_FIELDS = {"params", "mu", "nu", "target", "frozen", "teacher", "returns", "errors"}
"""Names of fields in which methods and optimisers hold weights, gradient statistics or return statistics."""


def is_weight(name: str) -> bool:
    """Whether a leaf of a checkpoint belongs to WEIGHT_FIELDS, and so must hold finite numbers of a sane size.

    Environment states and gathered data may hold anything.
    """
    return name.startswith("['best']") or any(part in WEIGHT_FIELDS for part in re.findall(r"\w+", name))


def best_meta(best: Best | None, steps: int, seconds: float, identity: Identity) -> dict[str, Any]:
    """Metadata of the best parameters so far: their scores, and the steps and seconds of the whole training."""
    scores = [best.success_rate, best.return_mean] if best else None
    return {"best": scores, "total_steps": steps, "seconds": seconds, "run": identity}


def save_best(path: Path, best: Best, steps: int, seconds: float, error: str, identity: Identity) -> None:
    """Write the best parameters so far of a training that failed."""
    save_tree(path / BEST, {"best": best.params}, {"error": error, **best_meta(best, steps, seconds, identity)})


def load_best(path: Path, method: Method) -> tuple[Best, BestMeta] | None:
    """The best parameters so far of an unfinished run and their metadata; None where nothing was evaluated.

    Raises:
        BadInput: they were made under other settings. Fault: a file is damaged.
    """
    found: list[tuple[Path, BestMeta]] = []
    if (path / BEST).exists():
        found.append((path / BEST, read_kept_meta(path / BEST, BestMeta)))
    if (path / CHECKPOINT).exists():
        saved = read_checkpoint_meta(path / CHECKPOINT, method)
        found.append(
            (
                path / CHECKPOINT,
                BestMeta(saved.best, saved.total_steps or saved.steps, saved.seconds),
            )
        )
    found = [(file, saved) for file, saved in found if saved.best]
    if not found:
        return None
    file, about = max(found, key=lambda pair: pair[1].total_steps)
    template = jax.eval_shape(lambda key: method.params(method.init(key)), jax.random.key(0))
    tree, _ = load_tree(file, {"best": template}, is_weight, exact=file.name == BEST)
    assert about.best is not None
    return Best(*about.best, tree["best"]), about


def read_kept_meta(file: Path, cls: type[Meta]) -> Meta:
    """The metadata of the best parameters or the last train state; raises as `read_checkpoint_meta`."""
    meta = read_meta(file)
    with as_damage(file):
        kept = build(cls, meta, "field of its meta")
    check_identity(file, kept.run)
    return kept
