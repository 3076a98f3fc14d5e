"""Collecting rollouts (`collect`), and unrolling policies over them (`unroll`).

A policy's memory is reset in one place, `enter`, which both go through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.data.trees import choose
from tutelage.types import (
    ActRule,
    Behaviour,
    Carry,
    EnvState,
    Out,
    Params,
    Policy,
    Rollout,
    TimeStep,
    VectorEnv,
)


class CollectorState(NamedTuple):
    """What the next rollout continues from: states and timesteps of the B environments, the policy's memory."""

    env_state: EnvState
    timestep: TimeStep
    carry: Carry


def init_collector(env: VectorEnv, policy: Policy, key: PRNGKeyArray) -> CollectorState:
    """New episodes in all B environments, with an empty memory."""
    state, timestep = env.reset(key)
    return CollectorState(state, timestep, policy.carry(env.n))


def enter(policy: Policy, first: Bool[Array, " B"], carry: Carry) -> Carry:
    """The policy's memory before a step, reset where an episode begins. `first`: (B,), leaves of `carry`: (B, ...)."""
    return choose(first, policy.carry(first.shape[0]), carry)


def collect(
    env: VectorEnv,
    policy: Policy,
    params: Params,
    act: ActRule,
    collector: CollectorState,
    key: PRNGKeyArray,
    steps: int,
    record: Callable[[TimeStep, Carry, Out], Any] = lambda timestep, carry, out: (),
    states: bool = False,
) -> tuple[CollectorState, Rollout]:
    """Play `steps` steps in all environments, from where `collector` stands.

    Args:
        act: how actions are chosen from the policy's output.
        record: (timestep, carry entering the step, output) -> what to keep of every step.
        states: keep the environments' states as well.

    Returns:
        The collector after the last step, and the rollout (T = steps).
    """

    packed = env.pack if states else lambda state: ()

    def body(collector: CollectorState, key: PRNGKeyArray) -> tuple[CollectorState, tuple[Any, Array, Any, Any]]:
        key_policy, key_act, key_env = jax.random.split(key, 3)
        timestep = collector.timestep
        entering = enter(policy, timestep.first, collector.carry)
        carry, out = policy.step(params, entering, timestep, key_policy)
        action, log_prob = act(key_act, out, timestep)
        env_state, following = env.step(key_env, collector.env_state, timestep, action)
        inputs = timestep, packed(collector.env_state)
        return CollectorState(env_state, following, carry), (
            inputs,
            log_prob,
            record(timestep, entering, out),
            out.watch,
        )

    end, (inputs, log_prob, out, watch) = jax.lax.scan(body, collector, jax.random.split(key, steps))
    final = end.timestep, packed(end.env_state)
    timesteps, states_kept = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), inputs, final)
    return end, Rollout(timesteps, log_prob, out, collector.carry, ~timesteps.last[:-1], states_kept, watch)


def play(
    env: VectorEnv, behaviour: Behaviour, train_state: Any, progress: Any, collector: CollectorState, key: PRNGKeyArray
) -> tuple[CollectorState, Rollout]:
    """Collect one rollout as a behaviour says. `progress`: how much of training is done, in [0, 1]."""
    params, act = behaviour.plays(train_state, progress)
    key_begin, key = jax.random.split(key)
    if behaviour.fresh:
        collector = init_collector(env, behaviour.policy, key_begin)
    options = behaviour.steps, behaviour.record, behaviour.states
    end, rollout = collect(env, behaviour.policy, params, act, collector, key, *options)
    if behaviour.once:
        rollout = rollout._replace(valid=first_episode(rollout.steps.last))
    return end, rollout


def first_episode(last: Bool[Array, "T1 B"]) -> Bool[Array, "T1-1 B"]:
    """Transitions of each environment's first episode, where a rollout holds one episode per environment."""
    return jnp.cumsum(last[:-1], 0) == 0


FEW = 16
"""Number of sequences up to which `Policy.replay` is faster than steps; with more, its arrays exceed the cache."""


def unroll(policy: Policy, params: Params, carry: Carry, inputs: TimeStep, first: Bool[Array, "T B"]) -> Out:
    """Run a policy over recorded inputs, resetting its memory where `first`.

    Args:
        carry: memory entering step 0.
        inputs: (T, B, ...).

    Returns:
        The policy's outputs, leaves (T, B, ...).
    """
    if policy.replay and first.shape[1] <= FEW:
        return policy.replay(params, carry, inputs, first)
    key = jax.random.key(0)  # scores are computed again, nothing is drawn
    if not jax.tree.leaves(carry):  # no memory: time is just more batch
        flat = jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), inputs)
        out = policy.step(params, carry, flat, key)[1]
        return jax.tree.map(lambda x: x.reshape(*first.shape, *x.shape[1:]), out)

    def body(carry: Carry, x: tuple[TimeStep, Array]) -> tuple[Carry, Out]:
        timestep, first = x
        return policy.step(params, enter(policy, first, carry), timestep, key)

    return jax.lax.scan(body, carry, (inputs, first))[1]


SETTLES = 8
"""Steps of burn-in, after which a memory that was wrong at a sequence's beginning no longer matters."""


def settled(first: Bool[Array, "T B"], memory: Carry) -> Bool[Array, "T B 1"]:
    """On which steps of a sequence the memory can be relied on, where that entering the sequence may be wrong.

    It can on all steps of a policy without memory, after an episode has begun, and after `SETTLES` steps.
    """
    if not jax.tree.leaves(memory):
        return jnp.ones((*first.shape, 1), bool)
    return ((jnp.cumsum(first, 0) > 0) | (jnp.arange(first.shape[0]) >= SETTLES)[:, None])[..., None]
