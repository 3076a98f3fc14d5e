"""What off-policy methods share: a replay buffer of sequences, updates on samples of it, and target networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.off_policy import OffPolicyConfig
from tutelage.data.collect import first_episode, init_collector, play, unroll
from tutelage.data.replay import Codec, Replay, Stored, add, draw, empty_replay, size_of
from tutelage.data.vector import make_vector_env
from tutelage.errors import BadInput
from tutelage.learning.optim import annealed
from tutelage.types import (
    ActRule,
    Behaviour,
    Carry,
    Environment,
    Metrics,
    Out,
    Params,
    Policy,
    Rollout,
    Stage,
    TimeStep,
)

Result = TypeVar("Result")


class Sequences(NamedTuple):
    """A batch of sequences from replay, leaves (T+1, C, ...).

    Attributes:
        steps: timesteps.
        carry: memory entering step 0, leaves (C, ...).
        counts: (T, C) transitions that enter the loss: valid ones after the burn-in, or of the one whole episode.
    """

    steps: TimeStep
    carry: Any
    counts: Array


class OffPolicyState(NamedTuple):
    """What gradient steps change, and the replay buffer."""

    learning: Any
    replay: Replay


Reader = Callable[[Params, Sequences], Out]
Learn = Callable[[Any, Sequences, Any, Any], tuple[Any, Metrics]]
"""(what gradient steps change, a batch, random keys, learning rate) -> the same after one of them, and metrics."""


@dataclass(frozen=True)
class OffPolicyComponents:
    """Settings and replay format of an off-policy method; subclasses add the networks.

    Attributes:
        config: settings.
        codec: format of stored sequences.
        steps: length T of a stored sequence.
    """

    config: OffPolicyConfig
    codec: Codec
    steps: int

    @property
    def sequences(self) -> int:
        """How many sequences replay holds, a multiple of those of a rollout."""
        config = self.config
        capacity = config.capacity_episodes if config.replay == "episode" else config.capacity_steps // self.steps
        return max(1, capacity // config.envs) * config.envs

    def advice(self, fits: float) -> str:
        """Settings to suggest to the user where `fits` sequences would fit into memory."""
        config, episodes = self.config, self.config.replay == "episode"
        if fits < 1:
            return self.shorter(fits)
        envs = min(config.envs, int(fits))
        capacity = int(fits) // envs * envs
        setting = f"capacity_episodes = {capacity}" if episodes else f"capacity_steps = {capacity * self.steps}"
        return f"{setting}{f' with envs = {envs}' if envs < config.envs else ''} fits"

    def shorter(self, fits: float) -> str:
        """Settings to suggest where only the share `fits` of one sequence would fit into memory."""
        if self.config.replay == "episode":
            return "replay = stream keeps shorter ones"
        chunk = int(self.steps * fits / 2)  # beside what does not become shorter
        return f"chunk = {chunk} fits" if chunk > self.config.burn_in else "more memory_gb is needed"

    def behaviour(self, policy: Policy, plays: Callable[[Any, Any], tuple[Params, ActRule]]) -> Behaviour:
        """The behaviour that fills replay: continuing rollouts, or one episode of every environment at a time."""
        episodes = self.config.replay == "episode"
        return Behaviour(
            policy, plays, self.config.envs, self.steps, fresh=episodes, once=episodes, states=self.codec.states
        )


def make_reader(policy: Policy, memory: Callable[[Carry], Carry] = lambda carry: carry) -> Reader:
    """A function that computes a team's outputs on sequences, from the memory stored with them.

    Args:
        memory: selects this team's part of the stored memory.
    """
    return lambda params, data: unroll(policy, params, memory(data.carry), data.steps, data.steps.first)


def init_replay(components: OffPolicyComponents, env: Environment, behaviour: Behaviour, state: Any) -> Replay:
    """An empty replay buffer for rollouts of `behaviour`; raises BadInput where it, or a batch of it, would not fit."""
    vector = make_vector_env(env, behaviour.envs)

    def shapes_of(key: PRNGKeyArray) -> Any:
        rollout = play(vector, behaviour, state, 0.0, init_collector(vector, behaviour.policy, key), key)[1]
        return (components.codec.shrink(rollout), rollout.carry), rollout.steps

    shapes, steps = jax.eval_shape(shapes_of, jax.random.key(0))
    config = components.config
    fits = config.memory_gb * 1e9 / (size_of(steps) / config.envs)
    if config.batch > fits:
        advice = f"batch = {int(fits)} fits" if fits >= 1 else components.shorter(fits)
        raise BadInput(
            f"batch = {config.batch}: reading so many sequences of {components.steps:,} steps at a time would take "
            f"{size_of(steps) / config.envs * config.batch / 1e9:.3g} GB, allowed are memory_gb = "
            f"{config.memory_gb:g}; {advice}"
        )
    return empty_replay(shapes, components.sequences, config.memory_gb, components.advice)


def add_rollout(components: OffPolicyComponents, replay: Replay, rollout: Rollout) -> Replay:
    """The replay buffer with a rollout's sequences added."""
    return add(replay, components.codec.shrink(rollout), rollout.carry)


def expand(components: OffPolicyComponents, stored: Stored, carry: Carry) -> Sequences:
    """A batch of stored sequences: observations from states where only those are stored, time limits as configured."""
    steps = components.codec.expand(stored)
    if components.config.time_limit == "terminal":
        steps = steps._replace(discount=jnp.where(steps.last, 0.0, steps.discount))
    if components.config.replay == "episode":
        return Sequences(steps, carry, first_episode(steps.last))
    late = jnp.arange(components.steps) >= components.config.burn_in
    return Sequences(steps, carry, ~steps.last[:-1] & late[:, None])


def sample_replay(components: OffPolicyComponents, replay: Replay, key: PRNGKeyArray) -> Sequences:
    """Sample a batch of sequences of full length from replay."""
    return expand(components, *draw(replay, key, components.config.batch))


def episode_lengths(limit: int) -> list[int]:
    """Lengths that batches of episodes are cut to: multiples of an eighth of `limit`, or of 16 where that is more."""
    eighth = max(16, math.ceil(limit / 8))
    return [*range(eighth, limit, eighth), limit]


def update_from_replay(
    components: OffPolicyComponents, replay: Replay, key: PRNGKeyArray, update: Callable[[Sequences], Result]
) -> Result:
    """`update` on a batch from replay; whole episodes are cut after the longest of the batch, where nothing counts."""
    if components.config.replay == "stream":
        return update(sample_replay(components, replay, key))
    stored, carry = draw(replay, key, components.config.batch)
    longest, lengths = first_episode(stored.last).sum(0).max(), episode_lengths(components.steps)

    def on_length(n: int) -> Callable[[], Result]:
        return lambda: update(expand(components, jax.tree.map(lambda x: x[: n + 1], stored), carry))

    return jax.lax.switch((longest > jnp.array(lengths[:-1], jnp.int32)).sum(), [on_length(n) for n in lengths])


def update_target(config: OffPolicyConfig, target: Params, online: Params, steps: Array) -> Params:
    """Parameters of the target network after gradient step number `steps`."""
    rate = jnp.where(steps % config.target_every == 0, config.target_rate, 0.0)
    return jax.tree.map(lambda t, p: jnp.where(rate == 1.0, p, t + rate * (p - t)), target, online)


def gradient_steps(
    components: OffPolicyComponents, learn: Learn, keys: int, state: OffPolicyState, key: PRNGKeyArray, progress: Any
) -> tuple[Any, Metrics]:
    """The gradient steps after a rollout, each on a batch of its own with `keys` random keys; metrics are means."""
    config, lr = components.config, annealed(components.config, progress)

    def step(before: Any, key: PRNGKeyArray) -> tuple[Any, Metrics]:
        several = jax.random.split(key, 1 + keys) if keys else key[None]
        return update_from_replay(
            components, state.replay, several[0], lambda data: learn(before, data, several[1:], lr)
        )

    after, metrics = jax.lax.scan(step, state.learning, jax.random.split(key, config.updates))
    return after, jax.tree.map(jnp.mean, metrics)


def replay_training(
    components: OffPolicyComponents,
    env: Environment,
    behaviours: Mapping[str, Behaviour],
    init: Callable[[PRNGKeyArray], Any],
    learn: Learn,
    keys: int = 0,
    observe: Callable[[Any, Rollout], Any] = lambda learning, rollout: learning,
) -> tuple[Callable[[PRNGKeyArray], OffPolicyState], Stage]:
    """`init` of the whole train state, and the stage `train`, which fills replay and learns from it once it is warm.

    Args:
        behaviours: the one that fills replay, by its name.
        init: key -> what gradient steps change.
        learn, keys: a gradient step, and how many random keys it needs.
        observe: what of a rollout itself is learned before it is stored.

    Raises:
        BadInput: from `init`: replay would not fit into `memory_gb`.
    """
    ((name, behaviour),) = behaviours.items()

    def init_state(key: PRNGKeyArray) -> OffPolicyState:
        no_replay = OffPolicyState(init(key), ())  # type: ignore[arg-type]
        return no_replay._replace(replay=init_replay(components, env, behaviour, no_replay))

    def update(
        state: OffPolicyState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any
    ) -> tuple[OffPolicyState, Metrics]:
        learning = observe(state.learning, rollouts[name])
        state = OffPolicyState(learning, add_rollout(components, state.replay, rollouts[name]))
        go = lambda: gradient_steps(components, learn, keys, state, key, progress)
        no_metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(go)[1])
        warm = state.replay.added * components.steps >= components.config.warm_up
        # The buffer itself stays outside of the condition, which would copy it.
        after, metrics = jax.lax.cond(warm, go, lambda: (learning, no_metrics))
        return state._replace(learning=after), metrics

    return init_state, Stage("train", behaviours, update, components.config.steps)
