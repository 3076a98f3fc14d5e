"""Replay buffer of sequences, in compact form.

Where an environment's state is smaller than its observations, the state is stored and observed anew when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.data.experience import experience
from tutelage.errors import BadInput
from tutelage.types import Carry, Rollout, Sensed, TimeStep, VectorEnv


class Stored(NamedTuple):
    """C stored sequences, leaves (T+1, C, ...).

    Attributes:
        seen: packed environment states, or a `Sensed` of observations and masks.
        action, reward, discount, first, last: as in a TimeStep; actions in as few bits as they need.
    """

    seen: Any
    action: Int[Array, "T1 C N"]
    reward: Float[Array, "T1 C"]
    discount: Float[Array, "T1 C"]
    first: Bool[Array, "T1 C"]
    last: Bool[Array, "T1 C"]


@experience
class Replay(NamedTuple):
    """A ring buffer of C sequences.

    Attributes:
        sequences: (T+1, C, ...).
        carry: (C, ...) the policy's memory entering each sequence.
        added: sequences added so far.
    """

    sequences: Stored
    carry: Carry
    added: Array

    @property
    def capacity(self) -> int:
        """C."""
        return self.sequences.last.shape[1]

    @property
    def filled(self) -> Array:
        """How many of the C places hold something."""
        return jnp.minimum(self.added, self.capacity)


class Codec(NamedTuple):
    """How rollouts are stored (`shrink`) and read again as timesteps (`expand`).

    Attributes:
        states: whether the environment's states are kept; then a behaviour must record them.
    """

    states: bool
    shrink: Callable[[Rollout], Stored]
    expand: Callable[[Stored], TimeStep]


def size_of(tree: Any) -> int:
    """Bytes of arrays or of their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def codec(env: VectorEnv, n_actions: int) -> Codec:
    """The codec of an environment: it stores states where they are smaller than observations, world state and masks."""
    state, step = jax.eval_shape(env.reset, jax.random.key(0))
    sensed = Sensed(step.obs, step.state, step.avail, step.alive, step.links)
    states = size_of(state) < size_of(sensed)
    small = jnp.int8 if n_actions <= 128 else jnp.int32

    def shrink(rollout: Rollout) -> Stored:
        ts = rollout.steps
        seen = rollout.states if states else Sensed(ts.obs, ts.state, ts.avail, ts.alive, ts.links)
        return Stored(seen, ts.action.astype(small), ts.reward, ts.discount, ts.first, ts.last)

    def expand(stored: Stored) -> TimeStep:
        lead = stored.last.shape
        seen = stored.seen
        if states:
            flat = jax.tree.map(lambda x: x.reshape(lead[0] * lead[1], *x.shape[2:]), seen)
            seen = jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), env.sense(flat))
        rest = stored._asdict() | {"action": stored.action.astype(jnp.int32), "success": jnp.zeros(lead, bool)}
        return TimeStep(**seen._asdict(), **{k: v for k, v in rest.items() if k != "seen"})

    return Codec(states, shrink, expand)


def empty_replay(
    shapes: tuple[Stored, Carry],
    capacity: int,
    limit_gb: float,
    advice: Callable[[float], str] = "{:.1f} would fit".format,
) -> Replay:
    """An empty buffer for `capacity` sequences.

    Args:
        shapes: of the sequences (T+1, B, ...) and carries (B, ...) that will be added.
        advice: number of sequences that would fit -> what the user can ask for instead.

    Raises:
        BadInput: the buffer would take more than `limit_gb`.
    """
    stored, carry = shapes
    shape_of = lambda axis: lambda x: jax.ShapeDtypeStruct((*x.shape[:axis], capacity, *x.shape[axis + 1 :]), x.dtype)
    like = jax.tree.map(shape_of(1), stored), jax.tree.map(shape_of(0), carry)
    if size_of(like) > limit_gb * 1e9:
        steps = capacity * (stored.last.shape[0] - 1)
        raise BadInput(
            f"replay of {steps:,} steps ({capacity:,} sequences) would take {size_of(like) / 1e9:.3g} GB, allowed are "
            f"memory_gb = {limit_gb:g}; {advice(limit_gb * 1e9 * capacity / size_of(like))}"
        )
    zeros = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
    return Replay(zeros(like[0]), zeros(like[1]), jnp.zeros((), jnp.int32))


def add(replay: Replay, stored: Stored, carry: Carry) -> Replay:
    """Add B sequences, overwriting the oldest; B divides the capacity."""
    at = replay.added % replay.capacity
    n = stored.last.shape[1]
    put = lambda axis: lambda ring, x: jax.lax.dynamic_update_slice_in_dim(ring, x, at, axis)
    return Replay(
        jax.tree.map(put(1), replay.sequences, stored), jax.tree.map(put(0), replay.carry, carry), replay.added + n
    )


def draw(replay: Replay, key: PRNGKeyArray, n: int) -> tuple[Stored, Carry]:
    """Sample n stored sequences uniformly, with replacement."""
    index = jax.random.randint(key, (n,), 0, jnp.maximum(replay.filled, 1))
    take = lambda axis: lambda x: jnp.take(x, index, axis=axis)
    return jax.tree.map(take(1), replay.sequences), jax.tree.map(take(0), replay.carry)
