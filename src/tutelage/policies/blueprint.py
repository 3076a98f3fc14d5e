"""Blueprints: what a trained team is made of, as data. From a blueprint and parameters alone a team is opened.

A team is groups of agents; a group has a network and a view, the columns of the row that the network reads. `make_team`
and its relatives put the blueprint into the Policy that they make, and `policy_of` (`policies/open.py`) makes the same
Policy of a blueprint. This module does not import jax: what a team costs can be read without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from tutelage.configs.checks import later
from tutelage.errors import BadInput
from tutelage.policies.columns import Entities, OneHot, PairGoals, Slice, View, Zeros
from tutelage.types import Spec

FORMAT = 1
"""Of ROLE.json."""


Core = Literal["gru", "mlp"]


@dataclass(frozen=True)
class Network:
    """One agent's network.

    Attributes:
        core: `gru` or `mlp`, see `networks.cores.make_core`.
        inputs, width, outputs: D, H and A.
        gain: of the last layer's initial weights.
        predicts: width of the personalised state that a network of the same shape predicts first (PTDE); 0: none.
        hears: the most agents that it hears; 0: it neither sends nor reads messages.
        normalised: whether it normalises its input first, see `policies/normalising.py`.
    """

    core: Core
    inputs: int
    width: int
    outputs: int
    gain: float = 0.01
    predicts: int = 0
    hears: int = 0
    normalised: bool = later(False)

    @property
    def label(self) -> str:
        """The kind of network, for people."""
        return f"{self.core} + {self.core}" if self.predicts else f"{self.core} that talks" if self.hears else self.core

    def __post_init__(self) -> None:
        for name in ("inputs", "width", "outputs"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} = {getattr(self, name)}: must be at least 1")
        if min(self.predicts, self.hears) < 0 or (self.predicts and self.hears):
            raise BadInput(f"predicts = {self.predicts}, hears = {self.hears}: one of them may be above 0")


@dataclass(frozen=True)
class Members:
    """Agents (their numbers) that share a network and its weights, and what they read."""

    agents: tuple[int, ...]
    network: Network
    view: View

    def __post_init__(self) -> None:
        if self.view.width != self.network.inputs:
            raise BadInput(f"view has {self.view.width} columns, inputs = {self.network.inputs}: must be equal")


@dataclass(frozen=True)
class Team:
    """A team of agents that act alone. It talks where its networks hear."""

    groups: tuple[Members, ...]
    kind: Literal["team"] = "team"

    def __post_init__(self) -> None:
        agents = [i for group in self.groups for i in group.agents]
        if sorted(agents) != list(range(len(agents))) or not agents:
            raise BadInput(f"groups are of agents {agents}: must have every agent once")

    @property
    def talks(self) -> bool:
        return self.groups[0].network.hears > 0


@dataclass(frozen=True)
class Fusion:
    """How agents' own rows and the world state become a personalised state, see `networks.fusion.fusion_net`."""

    form: Literal["full", "film", "mlp", "raw", "raw+id"]
    own: int
    state: int
    agents: int
    width: int
    generator: int


@dataclass(frozen=True)
class FusedTeam:
    """A central team: one network for all agents, which reads the personalised state (DDN, CTDS, IGM-DA, PTDE).

    Attributes:
        view: what is fused with the state. fusion: None: the view alone is read.
        keeps_own: the network reads the view as well.
        normalised: whether view and state are normalised first.
    """

    agents: int
    view: View
    fusion: Fusion | None
    keeps_own: bool
    network: Network
    kind: Literal["fused"] = "fused"
    normalised: bool = later(False)


@dataclass(frozen=True)
class HierarchicalTeam:
    """A coordinator that gives goals and executors that act for them (HINT's teacher), see `policies/hierarchy.py`.

    Attributes:
        members: the agents of each executor. view: what executors read beside their goal.
        goals, features: M, and F of every pair of agent and goal. state: S. actions: A.
        width, pair_width: of the executors, and of the coordinator's pairs.
        every: steps between two decisions. spread: what a goal's logit loses for every agent that has it.
        flat: no agent ever has a goal.
        normalised: whether view, state and features of goals are normalised first.
    """

    members: tuple[tuple[int, ...], ...]
    view: View
    goals: int
    features: int
    state: int
    actions: int
    width: int
    pair_width: int
    every: int
    spread: float
    flat: bool
    kind: Literal["hierarchy"] = "hierarchy"
    normalised: bool = later(False)

    @property
    def agents(self) -> int:
        return sum(map(len, self.members))


@dataclass(frozen=True)
class DeterministicTeam:
    """A team whose best action gets almost all of the probability: a teacher whose scores are no logits."""

    of: Team | FusedTeam | HierarchicalTeam | Controller | OwnCode
    kind: Literal["deterministic"] = "deterministic"


@dataclass(frozen=True)
class Controller:
    """A hand-written controller of the environment. It has no parameters, and is opened with the environment only."""

    name: str
    kind: Literal["controller"] = "controller"


@dataclass(frozen=True)
class ValueNet:
    """A critic: a feed-forward network with its value normaliser, see `policies/critic.py`; `normalised`: its input."""

    view: View
    width: int
    kind: Literal["critic"] = "critic"
    normalised: bool = later(False)


@dataclass(frozen=True)
class OwnCode:
    """A user's policy, which is no data: it is made again by the code that the run names.

    Attributes:
        name: `module:factory` of a teacher; empty for a policy of the run's own method.
    """

    name: str = ""
    kind: Literal["code"] = "code"


TeamBlueprint = Team | FusedTeam | HierarchicalTeam | DeterministicTeam | Controller | OwnCode
Blueprint = TeamBlueprint | ValueNet


def unwrapped(blueprint: Blueprint) -> Blueprint:
    """The blueprint of the team whose best action a deterministic one takes; any other as it is."""
    return blueprint.of if isinstance(blueprint, DeterministicTeam) else blueprint


def needs_code(blueprint: Blueprint) -> bool:
    """Whether a blueprint is opened with code only: the environment's, or a user's."""
    return isinstance(unwrapped(blueprint), Controller | OwnCode)


@dataclass(frozen=True)
class Role:
    """ROLE.json: a role of a trained run.

    Attributes:
        role: `student`, `teacher`, ... or `critic`.
        env, env_options: the environment that it was made on. spec: that environment's facts, with its version.
        made_of: its blueprint.
        act: how it was evaluated, `greedy` or `sample`.
        provides: which of `logits`, `features` can be learned from.
        macs: multiply-adds of a joint decision, counted when it was written, where no formula gives them.
        format: of this file.
    """

    role: str
    env: str
    env_options: dict[str, Any]
    spec: Spec
    made_of: Blueprint
    act: Literal["greedy", "sample"]
    provides: tuple[str, ...] = ()
    macs: int | None = None
    format: int = field(default=FORMAT)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadInput(f"format = {self.format}: must be {FORMAT}")


BY_KIND: dict[str, type] = {
    next(f.default for f in fields(cls) if f.name == "kind"): cls  # type: ignore[misc]
    for cls in (
        Slice, OneHot, Zeros, Entities, PairGoals,
        Team, FusedTeam, HierarchicalTeam, DeterministicTeam, Controller, ValueNet, OwnCode,
    )
}  # fmt: skip
"""The classes that a `kind` in JSON names."""
