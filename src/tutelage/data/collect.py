"""Playing (`collect`) and replaying (`unroll`). Both reset memory through `enter`, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from tutelage.data.trees import choose
from tutelage.types import (
    ActRule,
    Behaviour,
    Carry,
    EnvState,
    Metrics,
    Out,
    Params,
    Policy,
    Rollout,
    TimeStep,
    VectorEnv,
)


class Here(NamedTuple):
    """Where collection stands: the next rollout continues from it."""

    env_state: EnvState
    timestep: TimeStep
    carry: Carry


def begin(env: VectorEnv, policy: Policy, key: PRNGKeyArray) -> Here:
    """Start B new episodes."""
    state, timestep = env.reset(key)
    return Here(state, timestep, policy.carry(env.n))


def enter(policy: Policy, first: Bool[Array, " B"], carry: Carry) -> Carry:
    """The policy's memory before a step: a fresh one where an episode begins."""
    return choose(first, policy.carry(first.shape[0]), carry)


def collect(
    env: VectorEnv,
    policy: Policy,
    params: Params,
    act: ActRule,
    here: Here,
    key: PRNGKeyArray,
    steps: int,
    record: Callable[[TimeStep, Carry, Out], Any] = lambda timestep, carry, out: (),
    states: bool = False,
) -> tuple[Here, Rollout]:
    """Play `steps` steps in all environments, going on from `here`.

    Args:
        record: what to keep of every step, from (timestep, carry entering the step, out).
        states: keep the environments' states as well.

    Returns:
        Where it stands now, and the rollout (T = steps).
    """

    pack = env.pack if states else lambda state: ()

    def body(here: Here, key: PRNGKeyArray) -> tuple[Here, tuple[Any, Array, Any, Any]]:
        key_policy, key_act, key_env = jax.random.split(key, 3)
        timestep = here.timestep
        entering = enter(policy, timestep.first, here.carry)
        carry, out = policy.step(params, entering, timestep, key_policy)
        action, log_prob = act(key_act, out, timestep)
        env_state, following = env.step(key_env, here.env_state, timestep, action)
        seen = timestep, pack(here.env_state)
        return Here(env_state, following, carry), (seen, log_prob, record(timestep, entering, out), out.watch)

    end, (seen, log_prob, out, watch) = jax.lax.scan(body, here, jax.random.split(key, steps))
    seen_last = end.timestep, pack(end.env_state)
    timesteps, kept = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), seen, seen_last)
    return end, Rollout(timesteps, log_prob, out, here.carry, ~timesteps.last[:-1], kept, watch)


def play(
    env: VectorEnv, behaviour: Behaviour, train_state: Any, progress: Any, here: Here, key: PRNGKeyArray
) -> tuple[Here, Rollout]:
    """One rollout of a behaviour."""
    params, act = behaviour.plays(train_state, progress)
    key_begin, key = jax.random.split(key)
    if behaviour.fresh:
        here = begin(env, behaviour.policy, key_begin)
    how = behaviour.steps, behaviour.record, behaviour.states
    end, rollout = collect(env, behaviour.policy, params, act, here, key, *how)
    if behaviour.once:
        rollout = rollout._replace(valid=first_episode(rollout.steps.last))
    return end, rollout


def first_episode(last: Bool[Array, "T1 B"]) -> Bool[Array, "T1-1 B"]:
    """Transitions before the first end: real ones of rollouts that hold one episode per environment."""
    return jnp.cumsum(last[:-1], 0) == 0


FEW = 16
"""Sequences at a time up to which `replay` is quicker; of more, what steps make between them leaves the cache."""


def unroll(policy: Policy, params: Params, carry: Carry, inputs: TimeStep, first: Bool[Array, "T B"]) -> Out:
    """Run a policy over recorded inputs, resetting its memory where `first`.

    Args:
        carry: memory entering step 0.
        inputs: (T, B, ...).

    Returns:
        Out with leaves (T, B, ...).
    """
    if policy.replay and first.shape[1] <= FEW:
        return policy.replay(params, carry, inputs, first)
    key = jax.random.key(0)  # scores are replayed, nothing is drawn
    if not jax.tree.leaves(carry):  # no memory: time is just more batch
        flat = jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), inputs)
        out = policy.step(params, carry, flat, key)[1]
        return jax.tree.map(lambda x: x.reshape(*first.shape, *x.shape[1:]), out)

    def body(carry: Carry, x: tuple[TimeStep, Array]) -> tuple[Carry, Out]:
        timestep, first = x
        return policy.step(params, enter(policy, first, carry), timestep, key)

    return jax.lax.scan(body, carry, (inputs, first))[1]


SETTLES = 8
"""Steps after which memory has become that of who reads a sequence, where it began with nothing or with another's."""


def settled(first: Bool[Array, "T B"], memory: Carry) -> Bool[Array, "T B 1"]:
    """Whether memory is the reader's own: no matter without memory, from an episode's start, or after a few steps."""
    if not jax.tree.leaves(memory):
        return jnp.ones((*first.shape, 1), bool)
    return ((jnp.cumsum(first, 0) > 0) | (jnp.arange(first.shape[0]) >= SETTLES)[:, None])[..., None]


def rows(tree: Any, index: Any, axis: int = 1) -> Any:
    """Pick environments (or sequences) out of time-major arrays: how minibatches are made."""
    return jax.tree.map(lambda x: jnp.take(x, index, axis=axis), tree)


def sequences(tree: Any, length: int) -> Any:
    """Cut time-major (T, B, ...) leaves into (length, T/length * B, ...) sequences."""

    def leaf(x: Array) -> Array:
        t, b = x.shape[:2]
        cut = x.reshape((t // length, length, b, *x.shape[2:])).swapaxes(0, 1)
        return cut.reshape((length, t // length * b, *x.shape[2:]))

    return jax.tree.map(leaf, tree)


def shuffles(key: PRNGKeyArray, times: int, n: int) -> Int[Array, "times n"]:
    """Random orders of `range(n)`, by sorting random numbers (several times faster than `permutation`)."""
    return jax.random.uniform(key, (times, n)).argsort(-1)


def passes(
    step: Callable[[Any, Any], tuple[Any, Metrics]], start: Any, data: Any, key: PRNGKeyArray, times: int, parts: int
) -> tuple[Any, Metrics]:
    """A few shuffled passes over sequences, each in so many parts.

    Args:
        step: (what learns, leaves (T, sequences of a part, ...)) -> (what learns, metrics).
        data: leaves (T, sequences, ...).

    Returns:
        What has learned, and the metrics' means.
    """
    index = shuffles(key, times, jax.tree.leaves(data)[0].shape[1]).reshape(times * parts, -1)
    end, told = jax.lax.scan(lambda now, i: step(now, rows(data, i)), start, index)
    return end, jax.tree.map(jnp.mean, told)
