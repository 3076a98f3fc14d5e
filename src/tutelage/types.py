"""Types of the package: timesteps, environments, policies, rollouts, stages, methods. Importing it does not import jax,
so that `--help` stays quick.

Axis letters: T time, B batch (environments), N agents, A actions, D observation, S world state, H hidden; T1 and M1 are
T + 1 and M + 1, where T and M themselves are the length of no argument before.
Inside `envs/` a TimeStep describes one instance; above it has a leading B; in a Rollout leading (T, B).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from jax import Array
    from jaxtyping import Bool, Float, Int, PRNGKeyArray

Params = Any
Carry = Any
EnvState = Any
TrainState = Any
Metrics = dict[str, Any]
Measure = Literal["success", "return"]


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


class Places(NamedTuple):
    """Positions in the picture of a state: fractions of its width from the left and of its height from the top."""

    agents: Float[np.ndarray, "N 2"]
    goals: Float[np.ndarray, "N M 2"]


class Block(NamedTuple):
    """A named run of observation columns: `obs[start:stop]`.

    Attributes:
        name: begins with the group it belongs to: `enemy 3`, `own velocity`. The group `own` is the agent itself.
        place: first of the two columns with the relative position, where the block describes an entity; else None.
            An entity that is not seen is all zeros.
    """

    name: str
    start: int
    stop: int
    place: int | None = None


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
        layout: meaning of the observation columns.
        version: changes whenever the dynamics do; stored with every result.
        links: whether timesteps have `links`.
        reward_scale: factor on rewards for learners that do not normalise returns.
        measure: the score of a team, in tables and for choosing the best parameters.
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


@runtime_checkable
class Environment(Protocol):
    """One instance; every function can be jitted and vmapped."""

    @property
    def spec(self) -> Spec: ...

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


class Out(NamedTuple):
    """Output of a policy for one step.

    Attributes:
        scores: masked logits or action values.
        features: penultimate features, one array (B, n_g, H_g) per group of agents (widths may differ).
        value: (B,) team value or (B, N) values per agent, in raw reward units; None without a critic.
        extra: other decisions of a composed policy (goals, messages), which a behaviour may record.
        watch: what is wrong with it, where the policy is a user's (`data/watch.py`); else ().
    """

    scores: Float[Array, "B N A"] | None
    features: tuple[Float[Array, "B n H"], ...] = ()
    value: Float[Array, "B *N"] | None = None
    extra: Any = ()
    watch: Any = ()


class Policy(NamedTuple):
    """A team's policy as pure functions over a batch. `step` never resets the memory: `collect` and `unroll` do."""

    init: Callable[[PRNGKeyArray], Params]
    carry: Callable[[int], Carry]
    step: Callable[[Params, Carry, TimeStep, PRNGKeyArray], tuple[Carry, Out]]
    groups: tuple[Any, ...] = ()  # of policies.agent.Group; non-empty: decentralised by construction
    goals: bool = False  # whether it reads `timestep.goals`
    # (params, carry, inputs (T, B, ...), first) -> outputs of all steps at once, with resets; None where a policy can
    # only go step by step. A policy made from another by replacing `step` must replace this too.
    replay: Callable[[Params, Carry, TimeStep, Bool[Array, "T B"]], Out] | None = None
    watched: tuple[str, ...] = ()  # names of the faults in its `Out.watch`, where the policy is a user's


ActRule = Callable[["PRNGKeyArray", Out, TimeStep], tuple["Int[Array, 'B N']", "Float[Array, 'B N']"]]


class Rollout(NamedTuple):
    """Consecutive steps of B environments. `steps[T]` is `steps[0]` of the next rollout.

    Actions and rewards of the T transitions are `steps.action[1:]` and `steps.reward[1:]`.

    Attributes:
        steps: (T+1, B, ...).
        log_prob: log-probability of the actions under the acting rule.
        out: what the behaviour's `record` returned, leaves (T, B, ...).
        carry: the policy's memory entering step 0, leaves (B, ...).
        valid: a real transition t -> t+1 (the step was not `last`, nor padding).
        states: packed environment states (T+1, B, ...), where the behaviour asks for them; else ().
        watch: faults in the policy's outputs, where it is a user's, leaves (T, B); else ().
    """

    steps: TimeStep
    log_prob: Float[Array, "T B N"]
    out: Any
    carry: Carry
    valid: Bool[Array, "T B"]
    states: Any = ()
    watch: Any = ()

    @property
    def ended(self) -> Bool[Array, "T B"]:
        """Transitions that end an episode."""
        return self.steps.last[1:] & self.valid


class Behaviour(NamedTuple):
    """How a stage collects experience. Static, so that memory can be sized before anything runs.

    Attributes:
        policy: the policy that acts.
        plays: (train state, progress in [0, 1]) -> (params, acting rule).
        envs, steps: B and T of each rollout.
        fresh: begin every rollout with new episodes instead of continuing.
        once: only the first episode of every environment counts: transitions after its end are not valid.
        record: (timestep, carry entering it, output) -> what to keep.
        states: keep the environments' states as well.
        goals: put goals into the timesteps, also where the policy does not read them.
    """

    policy: Policy
    plays: Callable[[TrainState, Any], tuple[Params, ActRule]]
    envs: int
    steps: int
    fresh: bool = False
    once: bool = False
    record: Callable[[TimeStep, Carry, Out], Any] = lambda timestep, carry, out: ()
    states: bool = False
    goals: bool = False


class Stage(NamedTuple):
    """A part of training.

    Attributes:
        name: shown in logs.
        behaviours: by name, how experience is collected for each update; `{}` = offline.
        update: (train state, rollouts by behaviour, key, progress) -> (train state, metrics).
        budget, unit: how long, in environment steps or in updates.
        evaluated: whether the student is worth evaluating during this stage.
        fixed: fields of the train state that this stage does not change (checkpointed once).
        usual: metric -> the range of its mean in healthy training; the user is warned outside of it.
    """

    name: str
    behaviours: Mapping[str, Behaviour]
    update: Callable[[TrainState, Mapping[str, Rollout], PRNGKeyArray, Any], tuple[TrainState, Metrics]]
    budget: int
    unit: Literal["steps", "updates"] = "steps"
    evaluated: bool = True
    fixed: tuple[str, ...] = ()
    usual: Mapping[str, tuple[float, float]] = MappingProxyType({})


def acting(roles: Container[str]) -> str:
    """The role that acts: `student` where there is one, else `teacher`."""
    return "student" if "student" in roles else "teacher"


class Method(NamedTuple):
    """A learning method, ready to be fitted.

    Attributes:
        init: key -> train state.
        stages: in order.
        roles: policies that can be evaluated, saved and deployed; `student` is the deployable one.
        params: train state -> parameters by role.
        notes: messages for the user about how the method was set up.
        also_tested: other roles that learn, and whose final test is reported as well.
    """

    init: Callable[[PRNGKeyArray], TrainState]
    stages: tuple[Stage, ...]
    roles: Mapping[str, Policy]
    params: Callable[[TrainState], Mapping[str, Params]]
    notes: tuple[str, ...] = ()
    also_tested: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """The role that is evaluated, see `acting`."""
        return acting(self.roles)


class Frozen(NamedTuple):
    """A trained (or scripted) team that is only read.

    Attributes:
        roles: policies by role.
        params: parameters by role, critic and value normaliser included.
        provides: which of `logits`, `features`, `critic` can be learned from; the action always can.
        provenance: where it came from and how good it is (`success_rate`, `length_mean`, ...).
    """

    roles: Mapping[str, Policy]
    params: Mapping[str, Params]
    provides: frozenset[str]
    provenance: Mapping[str, Any]

    @property
    def actor(self) -> str:
        """The role that acts, see `acting`."""
        return acting(self.roles)
