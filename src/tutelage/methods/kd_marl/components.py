"""Set-up of a distillation: students, teacher, weights of the loss's terms, projectors, lengths of sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.errors import BadInput
from tutelage.methods.terms import Term, own_term
from tutelage.networks.cores import projector
from tutelage.policies.blueprint import needs_code
from tutelage.policies.build import build_team
from tutelage.policies.compose import as_deterministic
from tutelage.policies.cost import team_cost
from tutelage.policies.traced import joint_macs
from tutelage.policies.views import view
from tutelage.types import Critic, Environment, Frozen, Params, Policy, Spec

DEFAULTS = {"adv": 0.5, "kl": 1.0, "ce": 0.5, "rel": 0.1, "role": 0.1}
NEEDS = {"adv": ("logits", "critic"), "kl": ("logits",), "ce": (), "rel": ("features",), "role": ("features",)}


def term_weights(config: KdMarlConfig, provides: frozenset[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The weight of every term of the loss, and notes for the user on terms that this teacher or the data do not allow.

    Raises:
        BadInput: a term was asked for that needs what the teacher does not provide, or no term is left.
    """
    chosen, dropped, notes = {}, [], []
    for name, default in DEFAULTS.items():
        asked: float | None = getattr(config, name)
        missing = [need for need in NEEDS[name] if need not in provides]
        if missing and asked:
            raise BadInput(f"{name} = {asked}: this teacher provides no {' and no '.join(missing)}; leave it at 0")
        if missing and asked is None:
            dropped.append(name)
        if name == "ce" and asked is None and not provides:
            default = 1.0
        if name == "adv" and asked is None and not missing and config.data == "dagger" and config.lam != 1:
            notes.append("data = dagger: adv set to 0, as the critic is the teacher's own (lam = 1 allows it)")
            default = 0.0
        chosen[name] = default if asked is None and not missing else (asked or 0.0)
    if not any(chosen.values()) and not config.term:
        raise BadInput("all terms have weight 0: set at least one of adv, kl, ce, rel, role")
    if dropped:
        lacks = " or ".join(sorted({"logits", "features", "critic"} - provides))
        notes.append(f"this teacher has no {lacks}: {', '.join(dropped)} set to 0")
    return chosen, tuple(notes)


def macs_of(teacher: Policy, env: Environment) -> int | None:
    """Multiply-adds of a teacher's joint decision; None for one that is no network, as a scripted one."""
    cost = team_cost(teacher)
    if cost is not None:
        return cost.macs
    is_data = teacher.blueprint is not None and not needs_code(teacher.blueprint)
    return joint_macs(teacher, env) if is_data else None


def make_student(spec: Spec, config: KdMarlConfig, reference: int | None) -> Policy:
    """The students' team that the config describes; `size = ratio=R` refers to the teacher's multiply-adds."""
    return build_team(spec, config, view(config.student_view, spec), reference)


@dataclass(frozen=True)
class KdComponents:
    """Policies and settings of a distillation.

    Attributes:
        config: the settings.
        expert, critic: the teacher's actor, and its critic where the advantage term needs it.
        student: the students' team.
        weight: of every term of the loss, by name.
        projectors: per group of students, key -> parameters of an affine map to the width of the expert's features;
            none where no term reads features. They are not part of the student.
        steps, rollouts: length of a gathered sequence, and number of rollouts of `config.envs` sequences.
        whole_episodes: whether each sequence is one episode; else rollouts continue each other.
        term: a user's own term of the loss, see `terms`.
    """

    config: KdMarlConfig
    expert: Policy
    critic: Critic | None
    student: Policy
    weight: dict[str, float]
    projectors: tuple[Callable[[PRNGKeyArray], Params], ...]
    steps: int
    rollouts: int
    whole_episodes: bool
    term: Term | None = None

    @property
    def keeps_features(self) -> bool:
        """Whether a term reads the expert's features."""
        return bool(self.projectors) or (self.term is not None and bool(self.expert.groups))

    @property
    def sequences(self) -> int:
        """Number of gathered sequences in all."""
        return self.rollouts * self.config.envs

    @property
    def roles_by_prototype(self) -> bool:
        """Whether the role term compares assignments to prototypes, not features."""
        return bool(self.weight["role"]) and self.config.role_form == "prototype"


LONGEST_WHOLE_EPISODE, LONGEST_SEQUENCE = 256, 128
"""Most steps of an episode that is gathered as one sequence; most steps of a sequence where episodes are longer."""


def rollout_lengths(config: KdMarlConfig, max_steps: int) -> tuple[int, int]:
    """Steps of a gathered sequence, and number of rollouts of `config.envs` sequences."""
    if max_steps <= LONGEST_WHOLE_EPISODE:
        return max_steps, max(1, round(config.gather / (config.envs * max_steps)))
    each = max(1, round(config.gather / config.envs))
    rollouts = -(-each // LONGEST_SEQUENCE)
    return max(1, round(each / rollouts)), rollouts


def coverage_notes(config: KdMarlConfig, max_steps: int, usual: float) -> tuple[str, ...]:
    """A note for the user where gathered sequences do not reach the end of episodes, which take `usual` steps."""
    steps, rollouts = rollout_lengths(config, max_steps)
    if max_steps <= LONGEST_WHOLE_EPISODE or steps * rollouts >= usual:
        return ()
    fewer = max(1, int(config.gather // usual))
    return (
        f"gather = {config.gather:,} steps in envs = {config.envs} environments are the first {steps * rollouts:,} of "
        f"episodes of about {usual:,.0f}: " + (f"envs = {fewer} reaches their ends" if fewer > 1 else "gather more"),
    )


def make_components(env: Environment, config: KdMarlConfig, teacher: Frozen, weight: dict[str, float]) -> KdComponents:
    """Make students and projectors for a teacher; raises BadInput where a term needs features that it does not have."""
    expert = teacher.roles[teacher.actor]
    if "logits" not in teacher.provides:
        expert = as_deterministic(expert)
    student = make_student(env.spec, config, macs_of(expert, env))
    needs_features = bool(weight["rel"] or weight["role"])
    if needs_features and not expert.groups:
        raise BadInput("rel, role: this teacher has no features agent by agent (no groups); set both to 0")
    steps, rollouts = rollout_lengths(config, env.spec.max_steps)
    width = feature_width(expert)
    return KdComponents(
        config=config,
        expert=expert,
        critic=teacher.critic if weight["adv"] else None,
        student=student,
        weight=weight,
        projectors=tuple(projector(g.agent.width, width) for g in student.groups) if needs_features else (),
        steps=steps,
        rollouts=rollouts,
        whole_episodes=env.spec.max_steps <= LONGEST_WHOLE_EPISODE,
        term=own_term(config),
    )


def feature_width(expert: Policy) -> int:
    """Width of the features of the expert's widest group; 0 for one that is not made of agents."""
    return max((group.agent.width for group in expert.groups), default=0)
