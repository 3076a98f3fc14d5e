"""What is observed: timesteps, and the goals that agents can be given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class TimeStep(NamedTuple):
    """An observation with the action that led to it and the reward for that action, as in dm_env.

    The last step of an episode is a real step with its own observation.

    Attributes:
        obs: what each agent senses, zero-padded to the widest agent.
        state: normalised world state; for teachers and critics only.
        avail: which actions each agent may take now; none at all for one who does nothing, see `acts`.
        alive: whether the agent acts this step.
        action: the joint action that led here (0 on a first step): input of the next decision and training record.
        reward: team reward for `action` (0 on a first step).
        discount: 0 where the episode truly ended, 1 otherwise (also on a truncation).
        first, last: whether this step opens or closes an episode.
        success: the environment's own verdict; read it where `last`.
        links: (N, N) whether agent i hears agent j now, where the environment says so; else ().
        goals: the `Goals` that agents can be given now, for policies that read them; else ().
        watch: what is wrong with these values, where the environment is a user's (`data/watch.py`); else ().
        info: the environment's own quantities of this step by name, for people alone (`Spec.info`); else ().
    """

    obs: Float[Array, "*batch N D"]
    state: Float[Array, "*batch S"]
    avail: Bool[Array, "*batch N A"]
    alive: Bool[Array, "*batch N"]
    action: Int[Array, "*batch N"]
    reward: Float[Array, "*batch"]
    discount: Float[Array, "*batch"]
    first: Bool[Array, "*batch"]
    last: Bool[Array, "*batch"]
    success: Bool[Array, "*batch"]
    links: Any = ()
    goals: Any = ()
    watch: Any = ()
    info: Any = ()

    @property
    def acts(self) -> Bool[Array, "*batch N"]:
        """Which agents decide: those that are alive and have an available action.

        An agent without any available action emits action 0, enters no loss, and its utility is 0.
        """
        return self.alive & self.avail.any(-1)


class Sensed(NamedTuple):
    """The fields of a timestep that are a function of the environment's state alone; see TimeStep."""

    obs: Float[Array, "*batch N D"]
    state: Float[Array, "*batch S"]
    avail: Bool[Array, "*batch N A"]
    alive: Bool[Array, "*batch N"]
    links: Any = ()


class Goals(NamedTuple):
    """The M goals that each agent can be given, for teachers that assign goals. Goal j keeps its meaning over time.

    Attributes:
        features: of every pair of agent and goal, F numbers.
        valid: whether the agent may be given the goal now.
        potential: how far the agent has come with it; progress is the difference over a step.
        reached: whether it is done.
        thing: number of the object that the goal is about. Agents are spread over objects; goals that do not compete
            for agents (an agent's own port, another class's task at the same place) have different numbers.
    """

    features: Float[Array, "*batch N M F"]
    valid: Bool[Array, "*batch N M"]
    potential: Float[Array, "*batch N M"]
    reached: Bool[Array, "*batch N M"]
    thing: Int[Array, "*batch N M"]
