"""Playing an environment as training does, in one compiled piece for each policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.data.collect import CollectorState, collect, init_collector
from tutelage.data.vector import make_vector_env, with_watch
from tutelage.data.watch import first_faults
from tutelage.envs.host.pool import raise_broken
from tutelage.experiment.check_tally import Episode, Flow, Tally, flow_of, joined, tally_of, whole_episodes
from tutelage.experiment.compilation_cache import verify_cache
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.memory_check import collector_bytes
from tutelage.types import ActRule, Environment, Out, Policy, Spec, TimeStep, VectorEnv

ENVS, CHUNK = 32, 128
"""Most environments side by side, and most steps of a compiled piece."""
CHUNK_BYTES = 64e6
"""About how much a piece may hold."""
MOST_STEPS = 500_000
"""Steps of all environments together after which no further episodes are waited for."""


class Play(NamedTuple):
    """Everything that is known of one policy's play.

    Attributes:
        asked: how many episodes were to be played. envs: side by side.
        compiling: seconds. speed: steps per second after the first piece; 0 where there was only one.
        opening: the timesteps of the first piece. again, other: those of the same and another seed, where played.
    """

    flow: Flow
    tally: Tally
    episodes: Episode
    asked: int
    envs: int
    compiling: float
    speed: float
    opening: TimeStep
    again: TimeStep
    other: TimeStep


class Seen(NamedTuple):
    """What there is to judge. `baked`: functions that are another program each time they are traced."""

    name: str
    spec: Spec
    random: Play
    scripted: Play | None
    baked: tuple[str, ...]

    @property
    def plays(self) -> tuple[Play, ...]:
        return (self.random, self.scripted) if self.scripted else (self.random,)


def tells_action(act: ActRule) -> ActRule:
    """The same acting rule with the action in place of its log-probability, where a rollout keeps it."""

    def rule(key: PRNGKeyArray, out: Out, timestep: TimeStep) -> tuple[Array, Array]:
        action, _ = act(key, out, timestep)
        return action, action.astype(jnp.float32)

    return rule


def watched_vector(env: Environment, name: str, n: int, goals: bool) -> VectorEnv:
    """The VectorEnv that training plays, with the checks of values also where it is one of the package."""
    vector = make_vector_env(env, n, goals)
    return vector if env.watched else with_watch(vector, name, env.spec)


def piece_length(env: Environment, policy: Policy, n: int, each: int) -> int:
    """Steps of a compiled piece: few where episodes are short or what is observed is large."""
    fits = int(CHUNK_BYTES / max(1.0, collector_bytes(env, policy, n)[1]))
    return max(4, min(CHUNK, fits, each * (env.spec.max_steps + 1)))


class Player(NamedTuple):
    """A compiled piece of `length` steps in `n` environments side by side.

    Attributes:
        begin: key -> collector. piece: (collector, key) -> collector, (steps, actions, faults), seconds.
        compiling: seconds that it took.
    """

    begin: Callable[[PRNGKeyArray], CollectorState]
    piece: Callable[[CollectorState, PRNGKeyArray], tuple[CollectorState, tuple[TimeStep, np.ndarray, Any], float]]
    n: int
    length: int
    compiling: float


def make_player(env: Environment, name: str, policy: Policy, act: ActRule, n: int, length: int, quick: bool) -> Player:
    """The pieces of play of one policy; `quick`: compiled without optimisation, for few steps."""
    vector, rule = watched_vector(env, name, n, policy.goals), tells_action(act)

    def go(collector: CollectorState, key: PRNGKeyArray) -> tuple[CollectorState, tuple[TimeStep, Array, Any]]:
        end, rollout = collect(vector, policy, (), rule, collector, key, length)
        steps = rollout.steps._replace(watch=(), goals=(), info=())
        return end, (steps, rollout.log_prob, first_faults([rollout.steps.watch, rollout.watch]))

    verify_cache()
    begin, jitted = (
        jit_unoptimised(partial(init_collector, vector, policy)),
        jit_unoptimised(go) if quick else jax.jit(go),
    )
    started = time.perf_counter()
    key = jax.random.key(0)
    compiled = jitted.lower(jax.eval_shape(begin, key), key).compile()
    seconds = time.perf_counter() - started

    def piece(collector: CollectorState, key: PRNGKeyArray) -> tuple[CollectorState, Any, float]:
        started = time.perf_counter()
        end, kept = compiled(collector, key)
        kept = jax.device_get(kept)
        raise_broken()
        return end, kept, time.perf_counter() - started

    return Player(begin, piece, n, length, seconds)


def keys_of(seed: int, piece: int) -> PRNGKeyArray:
    """The key of a piece of play; piece 0 are the resets."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0xC4EC), piece)


def play_env(
    env: Environment, name: str, policy: Policy, act: ActRule, episodes: int, seed: int, repeats: bool = True
) -> Play:
    """Play whole episodes, as many as end within MOST_STEPS steps.

    Args:
        episodes: how many at least. repeats: play the first piece again, with the same seed and another one.

    Raises:
        Fault: a process that plays the environment failed.
    """
    n = min(episodes, ENVS)
    each = -(-episodes // n)
    player = make_player(env, name, policy, act, n, piece_length(env, policy, n, each), quick=not repeats)
    most = min(MOST_STEPS // n + 1, each * (env.spec.max_steps + 1) + player.length)
    collector, seconds, ended = player.begin(keys_of(seed, 0)), [], np.zeros(n, int)
    flows: list[Flow] = []
    tally: Tally | None = None
    opening: TimeStep | None = None
    while len(flows) * player.length < most and ended.min() < each:
        collector, (steps, taken, faults), took = player.piece(collector, keys_of(seed, len(flows) + 1))
        found, flow = tally_of(steps, taken, faults, opening is None), flow_of(steps)
        tally = joined(tally, found) if tally else found
        flows.append(flow if opening is None else Flow(*(x[1:] for x in flow)))
        opening = steps if opening is None else opening
        seconds.append(took)
        ended = ended + flows[-1].last.sum(0)
    assert tally is not None and opening is not None
    again, other = opening, opening
    if repeats:
        _, (again, _, _), took = player.piece(player.begin(keys_of(seed, 0)), keys_of(seed, 1))
        _, (other, _, _), took_too = player.piece(player.begin(keys_of(seed + 1, 0)), keys_of(seed + 1, 1))
        seconds += [took, took_too]
    flow = Flow(*(np.concatenate(x) for x in zip(*flows, strict=True)))
    speed = (len(seconds) - 1) * player.length * n / max(sum(seconds[1:]), 1e-9)
    return Play(flow, tally, whole_episodes(flow, each), each * n, n, player.compiling, speed, opening, again, other)
