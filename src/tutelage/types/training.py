"""Training: rollouts, stages, methods, and the teams that come of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tutelage.types.policy import ActRule, Carry, Critic, Out, Params, Policy
from tutelage.types.timestep import TimeStep

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, PRNGKeyArray

TrainState = Any
Metrics = dict[str, Any]


class Rollout(NamedTuple):
    """Consecutive steps of B environments. `steps[T]` is `steps[0]` of the next rollout.

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

    @property
    def success_rate(self) -> Float[Array, ""]:
        """Share of the episodes that end in it that succeed; 0 where none ends."""
        return (self.ended & self.steps.success[1:]).sum() / self.ended.sum().clip(1)


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


class Method(NamedTuple):
    """A learning method, ready to be fitted.

    Attributes:
        init: key -> train state.
        stages: in order.
        roles: policies that can be evaluated, saved and deployed; `student` is the deployable one.
        params: train state -> parameters by role, and of the critic.
        notes: messages for the user about how the method was set up.
        also_tested: other roles that learn, and whose final test is reported as well.
        critic: values of the role that collects; saved with the run where a student can learn from it.
        with_params: the inverse of `params`: (train state, parameters by some of its names) -> the train state that has
            these. All else stays: optimisers, and target networks, which follow at their next copy. Weights that two
            roles share are the student's where both are given. None: training cannot start from a run.
        copy_targets: train state -> the same with every target network equal to the network that it follows.
    """

    init: Callable[[PRNGKeyArray], TrainState]
    stages: tuple[Stage, ...]
    roles: Mapping[str, Policy]
    params: Callable[[TrainState], Mapping[str, Params]]
    notes: tuple[str, ...] = ()
    also_tested: tuple[str, ...] = ()
    critic: Critic | None = None
    with_params: Callable[[TrainState, Mapping[str, Params]], TrainState] | None = None
    copy_targets: Callable[[TrainState], TrainState] = lambda state: state

    @property
    def actor(self) -> str:
        """The role that is evaluated, see `acting`."""
        return acting(self.roles)


class Frozen(NamedTuple):
    """A trained (or scripted) team that is only read.

    Attributes:
        roles: policies by role.
        params: parameters by role, and of the critic under `critic`.
        provides: which of `logits`, `features`, `critic` can be learned from; the action always can.
        provenance: where it came from and how good it is (`success_rate`, `length_mean`, ...).
        critic: values of its acting role, in raw units of the environment's reward.
    """

    roles: Mapping[str, Policy]
    params: Mapping[str, Params]
    provides: frozenset[str]
    provenance: Mapping[str, Any]
    critic: Critic | None = None

    @property
    def actor(self) -> str:
        """The role that acts, see `acting`."""
        return acting(self.roles)


def acting(roles: Container[str]) -> str:
    """The role that acts: `student` where there is one, else `teacher`."""
    return "student" if "student" in roles else "teacher"
