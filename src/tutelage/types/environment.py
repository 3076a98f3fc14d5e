"""Environments: one instance, or many side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from tutelage.configs.checks import later
from tutelage.types.policy import Policy
from tutelage.types.timestep import Goals, Sensed, TimeStep

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Array, Float, Int, PRNGKeyArray

EnvState = Any
Measure = Literal["success", "return"]


class Block(NamedTuple):
    """A named run of observation columns: `obs[start:stop]`.

    Attributes:
        name: begins with the group it belongs to: `enemy 3`, `own velocity`. The group `own` is the agent itself.
        place: first of the two columns with the relative position, where the block describes an entity; else None.
            An entity that is not seen is all zeros.
        columns: one text per column, what it holds and in square brackets the unit: `relative x [share of own sight
            range]`, `[0 or 1]` of indicators. Empty: unnamed.
    """

    name: str
    start: int
    stop: int
    place: int | None = None
    columns: tuple[str, ...] = ()


def wrong_names(block: Block) -> str:
    """What is wrong with the number of a block's names; empty where every column has one, or none has."""
    width, names = block.stop - block.start, len(block.columns)
    return "" if names in (0, width) else f"block {block.name!r} has {width} columns, names of {names}"


@dataclass(frozen=True)
class Spec:
    """Static facts of an environment.

    Attributes:
        n_agents: N.
        n_actions: A, the widest agent's; narrower agents have the rest unavailable.
        obs_width: D, the widest agent's.
        state_width: S.
        max_steps: steps after which an episode ends at the latest.
        time_limit: whether that end is `terminal` (discount 0) or a `truncation` (discount 1).
        agent_types: one name per agent (unit type, role).
        action_counts, obs_widths: per agent, before padding.
        layout: meaning of the observation columns; narrower agents have the first of them.
        own_layouts: per agent, where some observe other columns than these; () for one that does not.
        action_names: one short text per action number; where agents differ, or it is not always available, it says so.
            (): unnamed.
        notes: sentences for people who feed and use a team in a game of their own: the task, what the columns mean
            beyond their names, sizes, order, signs.
        version: changes whenever the dynamics do; stored with every result.
        links: whether timesteps have `links`.
        reward_scale: factor on rewards for learners that do not normalise returns.
        measure: the score of a team, in tables and for choosing the best parameters.
        info: names of the numbers in the `info` of its timesteps, which evaluations sum over an episode.
    """

    n_agents: int
    n_actions: int
    obs_width: int
    state_width: int
    max_steps: int
    time_limit: Literal["terminal", "truncation"]
    agent_types: tuple[str, ...]
    action_counts: tuple[int, ...]
    obs_widths: tuple[int, ...]
    layout: tuple[Block, ...]
    version: str
    reward_scale: float = 1.0
    links: bool = False
    measure: Measure = "success"
    own_layouts: tuple[tuple[Block, ...], ...] = ()
    action_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    info: tuple[str, ...] = later(())

    def layout_of(self, agent: int) -> tuple[Block, ...]:
        """The meaning of an agent's columns."""
        return (self.own_layouts[agent] if self.own_layouts else ()) or self.layout

    def column_names(self, agent: int) -> tuple[str, ...]:
        """What each column of an agent's row is, `BLOCK: NAME [UNIT]`; empty where nothing says so."""
        layout = self.layout_of(agent)
        names = {block.start + i: f"{block.name}: {text}" for block in layout for i, text in enumerate(block.columns)}
        seen = self.obs_widths[agent]  # what is beyond pads the row
        return tuple(names.get(i, "") if i < seen else "padding [always 0]" for i in range(self.obs_width))


def wrong_action_names(spec: Spec) -> str:
    """What is wrong with the number of a spec's action names; empty where every action has one, or none has."""
    names = len(spec.action_names)
    return "" if names in (0, spec.n_actions) else f"n_actions = {spec.n_actions}, action_names of {names}"


class Places(NamedTuple):
    """Positions in the picture of a state: fractions of its width from the left and of its height from the top."""

    agents: Float[np.ndarray, "N 2"]
    goals: Float[np.ndarray, "N M 2"]


@runtime_checkable
class Environment(Protocol):
    """One instance; every function but `draw`, `places` and `scripted` can be jitted and vmapped.

    Attributes:
        spec: its static facts.
        goals: state -> `Goals` that agents can be given. This and what follows is None where it is not offered.
        places: state -> `Places`: where agents and goals are in its picture. Called on the host.
        vector: B -> VectorEnv, where it plays many instances faster than `vmap`.
        on_host: whether it runs in Python, so that its state cannot be kept, copied or gone back to.
        watched: the name under which faults in its values are reported, where it is a user's (`data/watch.py`).
        idle: the action with which an agent does as little as it can; what the body of a lost agent is made to do
            (`envs/disturb.py`).
    """

    spec: Spec
    goals: Callable[[EnvState], Goals] | None = None
    places: Callable[[EnvState], Places] | None = None
    vector: Callable[[int], VectorEnv] | None = None
    watched: str | None = None
    idle: int = 0
    on_host: bool = False

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]: ...

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        """Advance one step. Never resets: after a `last` step the caller starts anew."""
        ...

    def sense(self, state: EnvState) -> Sensed:
        """Observations and masks of a state, as `reset` and `step` put them into their timesteps."""
        ...

    def draw(self, state: EnvState) -> np.ndarray:
        """A picture of the state: uint8 (height, width, 3). Called on the host."""
        ...

    def scripted(self, name: str = "local") -> Policy:
        """A hand-written controller by name; raises BadInput for an unknown one."""
        ...


class VectorEnv(NamedTuple):
    """B instances of an environment, stepped together and reset automatically: a `last` step is followed by a `first`.

    Attributes:
        reset, step: as an Environment's, for all B; `step` also takes the timestep at which the actions were chosen.
        n: B.
        pack: state -> the same with the environments as the first axis of every leaf, as replay stores it.
        sense: packed states (M, ...) -> Sensed (M, ...), for any M.
        goals: state (not packed) -> Goals (B, ...); None where the environment has none.
    """

    reset: Callable[[PRNGKeyArray], tuple[EnvState, TimeStep]]
    step: Callable[[PRNGKeyArray, EnvState, TimeStep, Array], tuple[EnvState, TimeStep]]
    n: int
    pack: Callable[[EnvState], Any]
    sense: Callable[[Any], Sensed]
    goals: Callable[[EnvState], Goals] | None = None
