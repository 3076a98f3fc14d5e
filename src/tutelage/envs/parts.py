"""Functions that several environments share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tutelage.errors import BadInput, unknown
from tutelage.types import Block, Carry, Out, Policy, Sensed, TimeStep, wrong_names

BLOCKED = -1e9
"""Score of an action that is not taken or not available."""


def first_timestep(sensed: Sensed) -> TimeStep:
    """The first step of an episode, with action and reward 0."""
    no = jnp.zeros((), bool)
    return TimeStep(
        **sensed._asdict(),
        action=jnp.zeros(sensed.obs.shape[0], jnp.int32),
        reward=jnp.zeros(()),
        discount=jnp.ones(()),
        first=~no,
        last=no,
        success=no,
    )


def next_timestep(
    sensed: Sensed, action: Int[Array, " N"], reward: Array, last: Array, success: Array, terminal: bool | Array
) -> TimeStep:
    """The step that `action` led to; `terminal`: whether an end is terminal (discount 0) or a truncation."""
    return TimeStep(
        **sensed._asdict(),
        action=action.astype(jnp.int32),
        reward=jnp.asarray(reward, jnp.float32),
        discount=1.0 - (last & jnp.asarray(terminal)).astype(jnp.float32),
        first=jnp.zeros((), bool),
        last=last,
        success=success,
    )


def one_hot_scores(action: Int[Array, "B N"], avail: Bool[Array, "B N A"]) -> Float[Array, "B N A"]:
    """Scores of a controller from its actions: 0 for the action, BLOCKED for all others.

    Where the action is not available, the first available one is taken.
    """
    allowed = jnp.take_along_axis(avail, action[..., None], -1)[..., 0]
    action = jnp.where(allowed, action, avail.argmax(-1))
    return jnp.where(jnp.arange(avail.shape[-1]) == action[..., None], 0.0, BLOCKED)


def controller(
    act: Callable[[Carry, TimeStep, Array], tuple[Carry, Int[Array, "B N"]]],
    carry: Callable[[int], Carry] = lambda n: (),
) -> Policy:
    """A Policy made of a hand-written controller `act(carry, timestep, key)` -> (carry, actions)."""

    def step(params: Any, carry: Carry, timestep: TimeStep, key: Array) -> tuple[Carry, Out]:
        carry, action = act(carry, timestep, key)
        return carry, Out(one_hot_scores(action, timestep.avail))

    return Policy(init=lambda key: (), carry=carry, step=step)


def ranks(x: Float[Array, "n ..."]) -> Int[Array, "n ..."]:
    """Ranks along the first axis; equal values keep their order. Comparing is faster than sorting."""
    n = x.shape[0]
    earlier = (np.arange(n)[None] < np.arange(n)[:, None]).reshape(n, n, *[1] * (x.ndim - 1))
    return ((x[None] < x[:, None]) | ((x[None] == x[:, None]) & earlier)).sum(1)


def table_lookup(action: Int[Array, "..."], table: Sequence[int]) -> Int[Array, "..."]:
    """`table[action]`, and 0 for actions beyond the table. Comparing is faster than indexing."""
    return jnp.stack([jnp.where(action == i, step, 0) for i, step in enumerate(table)]).sum(0)


def pick_controller(env_id: str, name: str, table: Mapping[str, Callable[[], Policy]]) -> Policy:
    """A scripted controller by name; raises BadInput naming the environment's controllers."""
    if name not in table:
        raise unknown(f"scripted controller of {env_id}", name, table)
    return table[name]()


def steer(delta: Float[Array, "... 2"], velocity: Float[Array, "... 2"]) -> Int[Array, ...]:
    """The MPE move (0 stay, 1 left, 2 right, 3 down, 4 up) that best cancels `delta` without overshooting."""
    push = delta - 0.6 * velocity
    along_x = jnp.abs(push[..., 0]) >= jnp.abs(push[..., 1])
    move = jnp.where(along_x, jnp.where(push[..., 0] > 0, 2, 1), jnp.where(push[..., 1] > 0, 4, 3))
    return jnp.where(jnp.abs(push).max(-1) < 0.03, 0, move)


def greedy_matching(distance: Float[Array, "n m"]) -> Int[Array, " n"]:
    """Match rows to columns, the nearest pair first; a row that is left over gets its nearest column."""

    def take(carry: tuple[Array, Array], _: Any) -> tuple[tuple[Array, Array], None]:
        distance, match = carry
        row, column = jnp.unravel_index(distance.argmin(), distance.shape)
        free = jnp.isfinite(distance[row, column])
        match = jnp.where(free & (jnp.arange(match.shape[0]) == row), column, match)
        return (distance.at[row].set(jnp.inf).at[:, column].set(jnp.inf), match), None

    (_, match), _ = jax.lax.scan(take, (distance, distance.argmin(1)), length=min(distance.shape))
    return match


class Segment(NamedTuple):
    """A block before it is known where it starts: `place` counts from its own first column."""

    name: str
    width: int
    place: int | None = None
    columns: tuple[str, ...] = ()


def entity_columns(name: str, n: int, width: int, place: int = 0, columns: tuple[str, ...] = ()) -> tuple[Segment, ...]:
    """Columns of n entities for `blocks`; the relative position begins at column `place` of `width`."""
    return tuple(Segment(f"{name} {i}", width, place, columns) for i in range(n))


def blocks(*segments: Segment | tuple[str, int] | tuple[str, int, int]) -> tuple[Block, ...]:
    """Blocks of an observation layout from consecutive columns; raises BadInput where names are too few or too many."""
    layout, start = [], 0
    for name, width, place, columns in (Segment(*segment) for segment in segments):
        block = Block(name, start, start + width, None if place is None else start + place, columns)
        if wrong := wrong_names(block):
            raise BadInput(f"layout: {wrong}")
        layout.append(block)
        start += width
    return tuple(layout)


def xy(name: str, unit: str) -> tuple[str, str]:
    """Names of two columns along x and y."""
    return f"{name} x [{unit}]", f"{name} y [{unit}]"


def map_columns(things: Sequence[str], reach: int) -> tuple[str, ...]:
    """Names of the columns of square maps around an agent: one map per thing, each row by row from the bottom left.

    `fire at (-1, 2)` is one cell to the left and two up.
    """
    cells = [(x, y) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    return tuple(f"{thing} at ({x}, {y}) [0 or 1]" for thing in things for x, y in cells)


NOTHING = "nothing [always 0]"
"""A column that is there and never used."""

WAYS = {(0, 1): "up (+y)", (0, -1): "down (-y)", (1, 0): "right (+x)", (-1, 0): "left (-x)", (0, 0): ""}
"""Names of directions."""


def move_names(verb: str, dx: Sequence[int], dy: Sequence[int]) -> tuple[str, ...]:
    """Names of moves, from the tables of their directions."""
    return tuple(f"{verb} {WAYS[int(x), int(y)]}" for x, y in zip(dx, dy, strict=True))


def runs_text(names: Sequence[str]) -> str:
    """What is equal in a row, by its numbers: `0 to 2 marine, 3 medivac`."""
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    spans = [(a, b - 1) for a, b in zip(starts, [*starts[1:], len(names)], strict=True)]
    return ", ".join(f"{a} {names[a]}" if a == b else f"{a} to {b} {names[a]}" for a, b in spans)
