"""One stage of training, compiled: chunks of updates, each of which plays and learns."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.checks import MOST
from tutelage.data.collect import CollectorState, init_collector, play
from tutelage.data.trees import choose
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import first_faults
from tutelage.errors import BadInput, Fault
from tutelage.experiment.jit import jit_once
from tutelage.experiment.memo import kept
from tutelage.machine import memory
from tutelage.types import Environment, Metrics, Rollout, Stage, TrainState


class Loop(NamedTuple):
    """What a compiled chunk takes and gives back.

    Attributes:
        train_state: the method's.
        collectors: the state of collection of each behaviour, by name.
        update, steps: done in this stage.

    Of several seeds together every leaf has the seeds (S) as its first axis.
    """

    train_state: TrainState
    collectors: dict[str, CollectorState]
    update: Array
    steps: Array


def count(rollouts: dict[str, Rollout]) -> Metrics:
    """Steps, finished episodes, successes and reward of the gathered experience; and what is wrong with it."""
    total: Metrics = {}
    for rollout in rollouts.values():
        sums = {
            "steps": rollout.valid.sum(),
            "episodes": rollout.ended.sum(),
            "successes": (rollout.ended & rollout.steps.success[1:]).sum(),
            "reward": jnp.where(rollout.valid, rollout.steps.reward[1:], 0.0).sum(),
        }
        total = {k: total.get(k, 0) + v for k, v in sums.items()}
    return total | first_faults(
        watch for rollout in rollouts.values() for watch in (rollout.watch, rollout.steps.watch)
    )


COUNTED = ("steps", "episodes", "successes", "reward")


class StageLoop:
    """One stage, compiled once for chunks of any length up to `longest`.

    With `together`, of several seeds at once: `root`, states and metrics have the seeds as an axis. Seeds that are
    through with the stage stand still until the last one is.
    """

    def __init__(self, env: Environment, stage: Stage, index: int, longest: int, together: bool = False) -> None:
        self.stage, self.index, self.longest = stage, index, longest
        self.vectors = {
            name: make_vector_env(env, b.envs, b.goals or b.policy.goals) for name, b in stage.behaviours.items()
        }
        # Jitted, so that it is traced once for shapes and loop.
        self._update = jax.jit(self._updates if together else self._one_update)
        self._init_collectors = jax.vmap(self.init_collectors) if together else self.init_collectors
        self._compiled: dict[tuple[int, ...], Any] = {}  # by the number of seeds

    def start(self, train_state: TrainState, root: PRNGKeyArray) -> Loop:
        """Begin the stage with `train_state` as it is, which the first chunk will use up: it may hold gigabytes."""
        zeros = lambda: jnp.zeros(root.shape, jnp.int32)  # two arrays: both are used up
        return Loop(train_state, jit_once(self._init_collectors)(root), zeros(), zeros())

    def init_collectors(self, root: PRNGKeyArray) -> dict[str, CollectorState]:
        """Initial collector state of every behaviour, by name."""
        key = jax.random.fold_in(jax.random.fold_in(root, self.index), 0x57A7)
        return {
            name: init_collector(self.vectors[name], b.policy, jax.random.fold_in(key, i))
            for i, (name, b) in enumerate(self.stage.behaviours.items())
        }

    def _one_update(self, loop: Loop, root: PRNGKeyArray) -> tuple[Loop, Metrics]:
        key = jax.random.fold_in(jax.random.fold_in(root, self.index), loop.update)
        done = loop.steps if self.stage.unit == "steps" else loop.update
        progress = jnp.minimum(done / self.stage.budget, 1.0)
        collectors, rollouts = {}, {}
        for i, (name, b) in enumerate(self.stage.behaviours.items()):
            collectors[name], rollouts[name] = play(
                self.vectors[name], b, loop.train_state, progress, loop.collectors[name], jax.random.fold_in(key, i)
            )
        state, metrics = self.stage.update(loop.train_state, rollouts, jax.random.fold_in(key, 0x1EA2), progress)
        counted = count(rollouts)
        steps = loop.steps + counted.get("steps", jnp.zeros((), jnp.int32))
        return Loop(state, collectors, loop.update + 1, steps), metrics | counted

    def _updates(self, loop: Loop, root: PRNGKeyArray) -> tuple[Loop, Metrics]:
        """One update of every seed that is not through."""
        following, metrics = jax.vmap(self._one_update)(loop, root)
        return choose(self._over(loop), loop, following), metrics

    def _chunk(self, loop: Loop, root: PRNGKeyArray, until: Array) -> tuple[Loop, Metrics]:
        """Updates up to number `until` or the end of the budget; metrics of each, (longest,) or (longest, S)."""
        first = loop.update.max()  # of the seeds that go on, all at the same update
        shapes = jax.eval_shape(self._update, loop, root)[1]
        rows = {name: jnp.zeros((self.longest, *root.shape), jnp.float32) for name in shapes}

        def body(carry: tuple[Loop, Metrics]) -> tuple[Loop, Metrics]:
            loop, rows = carry
            following, metrics = self._update(loop, root)
            rows = {name: rows[name].at[loop.update.max() - first].set(metrics[name]) for name in rows}
            return following, rows

        def going(carry: tuple[Loop, Metrics]) -> Array:
            return ((carry[0].update < until) & ~self._over(carry[0])).any()

        return jax.lax.while_loop(going, body, (loop, rows))

    def _over(self, loop: Loop) -> Any:
        return (loop.steps if self.stage.unit == "steps" else loop.update) >= self.stage.budget

    def over(self, loop: Loop) -> bool:
        """Whether the stage is through, with every seed."""
        return bool(np.all(self._over(loop)))

    def compile(self, loop: Loop, root: PRNGKeyArray) -> float:
        """Compile, if that is not done; returns the seconds it took.

        Raises:
            Fault: the program needs more memory than there is.
        """
        if root.shape in self._compiled:
            return 0.0
        began = time.perf_counter()
        chunk = jax.jit(self._chunk, donate_argnums=0)
        compiled = chunk.lower(loop, root, jnp.zeros((), jnp.int32)).compile()
        told = compiled.memory_analysis()
        if told is not None and told.temp_size_in_bytes > memory():
            gigabytes = f"{told.temp_size_in_bytes / 1e9:,.1f} GB of memory, this machine has {memory() / 1e9:,.1f}"
            raise Fault(f"the program of stage {self.stage.name} takes {gigabytes}; smaller batches need less")
        self._compiled[root.shape] = compiled
        return time.perf_counter() - began

    def run(self, loop: Loop, root: PRNGKeyArray, until: int) -> tuple[Loop, dict[str, np.ndarray]]:
        """One chunk; `loop` is used up. Metrics are those of the chunk's updates."""
        first = int(loop.update.max())
        loop, rows = self._compiled[root.shape](loop, root, jnp.asarray(until, jnp.int32))
        n = int(loop.update.max()) - first
        return loop, {name: np.asarray(x)[:n] for name, x in rows.items()}


@kept
def stage_loop(env: Environment, stage: Stage, index: int, longest: int, together: bool = False) -> StageLoop:
    """A stage's loop, see `StageLoop`: the same one for the same stage, with its programs."""
    return StageLoop(env, stage, index, longest, together)


def nominal_updates(stage: Stage) -> int:
    """How many updates the budget will take, at least."""
    if stage.unit == "updates":
        return stage.budget
    return math.ceil(stage.budget / sum(b.envs * b.steps for b in stage.behaviours.values()))


def check_countable(stages: Sequence[Stage]) -> None:
    """Refuse, as BadInput, a budget whose steps, with those of the last rollout, are more than 32 bits count."""
    for stage in stages:
        rollout = sum(b.envs * b.steps for b in stage.behaviours.values())
        most = stage.budget + rollout if stage.unit == "steps" else stage.budget * rollout
        if most >= MOST:
            raise BadInput(f"stage {stage.name}: up to {most} steps, rollouts of {rollout}; must be less than {MOST}")


def owned(tree: Any) -> Any:
    """A copy, which outlives the chunk that uses up the original."""
    return jax.tree.map(jnp.copy, tree)
