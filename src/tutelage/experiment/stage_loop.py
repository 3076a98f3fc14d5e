"""One stage of training as a compiled loop; each update gathers experience and changes the train state."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.checks import MAX_COUNT
from tutelage.data.collect import CollectorState, init_collector, play
from tutelage.data.trees import choose
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import first_faults
from tutelage.envs.host.pool import raise_broken
from tutelage.errors import BadInput, Fault
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.memo import memoize
from tutelage.machine import memory
from tutelage.types import Environment, Metrics, Rollout, Stage, TrainState


class LoopState(NamedTuple):
    """State of the compiled loop of a stage.

    Attributes:
        train_state: of the method.
        collectors: the state of collection of each behaviour, by name.
        update, steps: updates and environment steps done in this stage.

    Where several seeds are trained together, every leaf has the seeds (S) as its first axis.
    """

    train_state: TrainState
    collectors: dict[str, CollectorState]
    update: Array
    steps: Array


def count_experience(rollouts: dict[str, Rollout]) -> Metrics:
    """Numbers of steps, finished episodes and successes, the sum of rewards, and the fault codes of user code."""
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


SUMMED_METRICS = ("steps", "episodes", "successes", "reward")


class StageLoop:
    """One stage, compiled once for chunks of any length up to `max_updates`.

    With `together` it trains several seeds at once: `root`, states and metrics have the seeds as an axis. The state of
    a seed that has finished the stage stays as it is until the last seed has finished.
    """

    def __init__(self, env: Environment, stage: Stage, index: int, max_updates: int, together: bool = False) -> None:
        self.stage, self.index, self.max_updates = stage, index, max_updates
        self.vectors = {
            name: make_vector_env(env, b.envs, b.goals or b.policy.goals) for name, b in stage.behaviours.items()
        }
        # Jitted, so that it is traced once for shapes and loop.
        self._update = jax.jit(self._update_all if together else self._update_one)
        self._init_collectors = jax.vmap(self.init_collectors) if together else self.init_collectors
        self._compiled: dict[tuple[int, ...], Any] = {}  # by the number of seeds

    def init_state(self, train_state: TrainState, root: PRNGKeyArray) -> LoopState:
        """State at the beginning of the stage. The first chunk donates `train_state`, which is not copied."""
        zeros = lambda: jnp.zeros(root.shape, jnp.int32)  # two arrays: both are used up
        return LoopState(train_state, jit_unoptimised(self._init_collectors)(root), zeros(), zeros())

    def init_collectors(self, root: PRNGKeyArray) -> dict[str, CollectorState]:
        """Initial collector state of every behaviour, by name."""
        key = jax.random.fold_in(jax.random.fold_in(root, self.index), 0x57A7)
        return {
            name: init_collector(self.vectors[name], b.policy, jax.random.fold_in(key, i))
            for i, (name, b) in enumerate(self.stage.behaviours.items())
        }

    def _update_one(self, loop: LoopState, root: PRNGKeyArray) -> tuple[LoopState, Metrics]:
        key = jax.random.fold_in(jax.random.fold_in(root, self.index), loop.update)
        spent = loop.steps if self.stage.unit == "steps" else loop.update
        progress = jnp.minimum(spent / self.stage.budget, 1.0)
        collectors, rollouts = {}, {}
        for i, (name, b) in enumerate(self.stage.behaviours.items()):
            collectors[name], rollouts[name] = play(
                self.vectors[name], b, loop.train_state, progress, loop.collectors[name], jax.random.fold_in(key, i)
            )
        train_state, metrics = self.stage.update(loop.train_state, rollouts, jax.random.fold_in(key, 0x1EA2), progress)
        counts = count_experience(rollouts)
        steps = loop.steps + counts.get("steps", jnp.zeros((), jnp.int32))
        return LoopState(train_state, collectors, loop.update + 1, steps), metrics | counts

    def _update_all(self, loop: LoopState, root: PRNGKeyArray) -> tuple[LoopState, Metrics]:
        """One update of every seed that has not finished."""
        updated, metrics = jax.vmap(self._update_one)(loop, root)
        return choose(self._finished(loop), loop, updated), metrics

    def _chunk(self, loop: LoopState, root: PRNGKeyArray, stop_at: Array) -> tuple[LoopState, Metrics]:
        """Run updates up to number `stop_at` or the end of the budget; metrics (max_updates,), or (max_updates, S)."""
        first_update = loop.update.max()  # of the seeds that go on, all at the same update
        shapes = jax.eval_shape(self._update, loop, root)[1]
        history = {name: jnp.zeros((self.max_updates, *root.shape), jnp.float32) for name in shapes}

        def body(carry: tuple[LoopState, Metrics]) -> tuple[LoopState, Metrics]:
            loop, history = carry
            updated, metrics = self._update(loop, root)
            index = loop.update.max() - first_update
            return updated, {name: history[name].at[index].set(metrics[name]) for name in history}

        def unfinished(carry: tuple[LoopState, Metrics]) -> Array:
            return ((carry[0].update < stop_at) & ~self._finished(carry[0])).any()

        return jax.lax.while_loop(unfinished, body, (loop, history))

    def _finished(self, loop: LoopState) -> Any:
        return (loop.steps if self.stage.unit == "steps" else loop.update) >= self.stage.budget

    def finished(self, loop: LoopState) -> bool:
        """Whether every seed has finished the stage."""
        return bool(np.all(self._finished(loop)))

    def compile(self, loop: LoopState, root: PRNGKeyArray) -> float:
        """Compile, if that was not done before; returns the seconds that it took.

        Raises:
            Fault: the program needs more memory than there is.
        """
        if root.shape in self._compiled:
            return 0.0
        started = time.perf_counter()
        jitted = jax.jit(self._chunk, donate_argnums=0)
        compiled = jitted.lower(loop, root, jnp.zeros((), jnp.int32)).compile()
        needs = compiled.memory_analysis()
        if needs is not None and needs.temp_size_in_bytes > memory():
            gigabytes = f"{needs.temp_size_in_bytes / 1e9:,.1f} GB of memory, this machine has {memory() / 1e9:,.1f}"
            raise Fault(f"the program of stage {self.stage.name} takes {gigabytes}; smaller batches need less")
        self._compiled[root.shape] = compiled
        return time.perf_counter() - started

    def run(self, loop: LoopState, root: PRNGKeyArray, stop_at: int) -> tuple[LoopState, dict[str, np.ndarray]]:
        """Run one chunk, up to update `stop_at`; `loop` is donated. Metrics are (updates,), or (updates, S)."""
        first_update = int(loop.update.max())
        loop, metrics = self._compiled[root.shape](loop, root, jnp.asarray(stop_at, jnp.int32))
        updates = int(loop.update.max()) - first_update
        raise_broken()
        return loop, {name: np.asarray(values)[:updates] for name, values in metrics.items()}


@memoize
def stage_loop(env: Environment, stage: Stage, index: int, max_updates: int, together: bool = False) -> StageLoop:
    """A memoized `StageLoop`: the same object, with its compiled programs, for the same stage."""
    return StageLoop(env, stage, index, max_updates, together)


def nominal_updates(stage: Stage) -> int:
    """How many updates the budget takes at least: all rollouts count as full."""
    if stage.unit == "updates":
        return stage.budget
    return math.ceil(stage.budget / sum(b.envs * b.steps for b in stage.behaviours.values()))


def check_step_counts(stages: Sequence[Stage]) -> None:
    """Raise BadInput where the budget and one more rollout have more steps than a 32-bit counter holds."""
    for stage in stages:
        rollout = sum(b.envs * b.steps for b in stage.behaviours.values())
        most_steps = stage.budget + rollout if stage.unit == "steps" else stage.budget * rollout
        if most_steps >= MAX_COUNT:
            raise BadInput(
                f"stage {stage.name}: up to {most_steps} steps, rollouts of {rollout}; must be less than {MAX_COUNT}"
            )


def unshared(tree: Any) -> Any:
    """The tree, in which every leaf is an array of its own: one array cannot be donated twice."""
    seen = set[int]()

    def own(leaf: Any) -> Any:
        leaf = jnp.copy(leaf) if id(leaf) in seen else leaf
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, tree)


def copy_tree(tree: Any) -> Any:
    """A copy of all arrays, which stays valid when the original is donated."""
    return jax.tree.map(jnp.copy, tree)
