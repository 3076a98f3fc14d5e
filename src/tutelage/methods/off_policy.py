"""What off-policy methods share: sequences kept from play, drawn again to learn from, and target networks."""

from __future__ import annotations

import math
from collections.abc import Callable
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
from tutelage.types import ActRule, Behaviour, Carry, Environment, Metrics, Out, Params, Policy, Rollout, TimeStep

Now = TypeVar("Now")


class Sequences(NamedTuple):
    """What a gradient step learns from, leaves (T+1, C, ...).

    Attributes:
        steps: timesteps.
        carry: memory entering step 0.
        counts: (T, C) transitions whose errors count: real ones after the burn-in, or of the one whole episode.
    """

    steps: TimeStep
    carry: Any
    counts: Array


Reader = Callable[[Params, Sequences], Out]


@dataclass(frozen=True)
class Storage:
    """What is kept, and how.

    Attributes:
        config: settings.
        codec: how sequences are stored.
        steps: length of a stored sequence.
    """

    config: OffPolicyConfig
    codec: Codec
    steps: int

    @property
    def sequences(self) -> int:
        """How many sequences replay holds: whole rollouts."""
        config = self.config
        wanted = config.capacity_episodes if config.replay == "episode" else config.capacity_steps // self.steps
        return max(1, wanted // config.envs) * config.envs

    def advice(self, fits: float) -> str:
        """What to ask for where so many sequences fit."""
        config, whole = self.config, self.config.replay == "episode"
        if fits < 1:
            return self.shorter(fits)
        envs = min(config.envs, int(fits))
        kept = int(fits) // envs * envs
        room = f"capacity_episodes = {kept}" if whole else f"capacity_steps = {kept * self.steps}"
        return f"{room}{f' with envs = {envs}' if envs < config.envs else ''} fits"

    def shorter(self, fits: float) -> str:
        """What to ask for where only this part of one sequence fits."""
        if self.config.replay == "episode":
            return "replay = stream keeps shorter ones"
        chunk = int(self.steps * fits / 2)  # beside what does not become shorter
        return f"chunk = {chunk} fits" if chunk > self.config.burn_in else "more memory_gb is needed"

    def behaviour(self, policy: Policy, plays: Callable[[Any, Any], tuple[Params, ActRule]]) -> Behaviour:
        """Play that fills replay: going on, or an episode of every environment at a time."""
        whole = self.config.replay == "episode"
        return Behaviour(policy, plays, self.config.envs, self.steps, fresh=whole, once=whole, states=self.codec.states)


def reader(policy: Policy, memory: Callable[[Carry], Carry] = lambda carry: carry) -> Reader:
    """How a team reads sequences: step by step, from the memory that entered them.

    Args:
        memory: what of the stored memory is this team's.
    """
    return lambda params, data: unroll(policy, params, memory(data.carry), data.steps, data.steps.first)


def room(storage: Storage, env: Environment, behaviour: Behaviour, state: Any) -> Replay:
    """Empty replay of the right shapes; raises BadInput where it, or what a gradient step reads, would not fit."""
    vector = make_vector_env(env, behaviour.envs)

    def one(key: PRNGKeyArray) -> Any:
        rollout = play(vector, behaviour, state, 0.0, init_collector(vector, behaviour.policy, key), key)[1]
        return (storage.codec.shrink(rollout), rollout.carry), rollout.steps

    shapes, steps = jax.eval_shape(one, jax.random.key(0))
    config = storage.config
    fits = config.memory_gb * 1e9 / (size_of(steps) / config.envs)
    if config.batch > fits:
        way = f"batch = {int(fits)} fits" if fits >= 1 else storage.shorter(fits)
        raise BadInput(
            f"batch = {config.batch}: reading so many sequences of {storage.steps:,} steps at a time would take "
            f"{size_of(steps) / config.envs * config.batch / 1e9:.3g} GB, allowed are memory_gb = "
            f"{config.memory_gb:g}; {way}"
        )
    return empty_replay(shapes, storage.sequences, config.memory_gb, storage.advice)


def once_warm(storage: Storage, replay: Replay, go: Callable[[], tuple[Now, Metrics]], now: Now) -> tuple[Now, Metrics]:
    """`go()` once replay holds enough; until then `now` as it is, and metrics of 0.

    The ring itself stays outside of the condition, which would copy it.
    """
    idle = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(go)[1])
    return jax.lax.cond(replay.added * storage.steps >= storage.config.warm_up, go, lambda: (now, idle))


def remembered(storage: Storage, replay: Replay, rollout: Rollout) -> Replay:
    """The ring with a rollout's sequences added."""
    return add(replay, storage.codec.shrink(rollout), rollout.carry)


def expanded(storage: Storage, stored: Stored, carry: Carry) -> Sequences:
    """Stored sequences as they are learned from: observed anew where only states were kept, ends as the config says."""
    steps = storage.codec.expand(stored)
    if storage.config.time_limit == "terminal":
        steps = steps._replace(discount=jnp.where(steps.last, 0.0, steps.discount))
    if storage.config.replay == "episode":
        return Sequences(steps, carry, first_episode(steps.last))
    late = jnp.arange(storage.steps) >= storage.config.burn_in
    return Sequences(steps, carry, ~steps.last[:-1] & late[:, None])


def sampled(storage: Storage, replay: Replay, key: PRNGKeyArray) -> Sequences:
    """Sequences from replay, of full length."""
    return expanded(storage, *draw(replay, key, storage.config.batch))


def lengths(limit: int) -> list[int]:
    """To what whole episodes of at most `limit` steps are cut: multiples of an eighth, of at least 16 steps."""
    piece = max(16, math.ceil(limit / 8))
    return [*range(piece, limit, piece), limit]


def learn_on(storage: Storage, replay: Replay, key: PRNGKeyArray, go: Callable[[Sequences], Now]) -> Now:
    """`go` on sequences from replay; whole episodes are cut behind the longest of those drawn, where nothing counts."""
    if storage.config.replay == "stream":
        return go(sampled(storage, replay, key))
    stored, carry = draw(replay, key, storage.config.batch)
    longest, known = first_episode(stored.last).sum(0).max(), lengths(storage.steps)

    def on(n: int) -> Callable[[], Now]:
        return lambda: go(expanded(storage, jax.tree.map(lambda x: x[: n + 1], stored), carry))

    return jax.lax.switch((longest > jnp.array(known[:-1], jnp.int32)).sum(), [on(n) for n in known])


def follow(config: OffPolicyConfig, target: Params, online: Params, steps: Array) -> Params:
    """The target network after a gradient step."""
    rate = jnp.where(steps % config.target_every == 0, config.target_rate, 0.0)
    return jax.tree.map(lambda t, p: jnp.where(rate == 1.0, p, t + rate * (p - t)), target, online)
