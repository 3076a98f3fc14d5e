"""Make the team that a config describes: each agent's observations and width, and who shares weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from tutelage.errors import BadInput
from tutelage.policies.agent import Group, make_team
from tutelage.policies.blueprint import Core, Members, Network, Team
from tutelage.policies.columns import View
from tutelage.policies.messages import with_messages
from tutelage.policies.open import policy_of
from tutelage.policies.own_core import is_own, own_agent
from tutelage.policies.sight import FULL, restrict, sights
from tutelage.policies.size import Shape, Tiers, reference_macs, shares, solve, split
from tutelage.types import Policy, Spec


@runtime_checkable
class TeamConfig(Protocol):
    """The settings of a team, as the methods' configs hold them."""

    @property
    def core(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def capacity(self) -> str: ...
    @property
    def share(self) -> str: ...
    @property
    def sight(self) -> str: ...
    @property
    def hidden(self) -> str: ...


def build_team(
    spec: Spec, config: TeamConfig, full_view: View, reference: int | None = None, gain: float = 0.01
) -> Policy:
    """The team that a config describes.

    Args:
        full_view: what an agent of unrestricted sight reads.
        reference: multiply-adds per joint decision that `size = ratio=...` refers to; None: of a team of 128-GRUs.
        gain: of the heads' initial weights; small for logits, 1 for action values.

    Raises:
        BadInput: a size, sight or capacity that this environment cannot have.
    """
    messages, normalised = getattr(config, "messages", "none"), getattr(config, "normalise", False)
    if messages != "none":
        return build_talking_team(spec, config, messages, full_view, gain, normalised)
    agent_sights = sights(config.sight, spec)
    for agent, sight in enumerate(agent_sights):
        if sight != FULL and spec.obs_widths[agent] != spec.obs_width:
            raise BadInput(f"sight = {config.sight!r}: agent {agent} observes columns of its own, which have no layout")
    views = {sight: restrict(full_view, sight, spec, config.hidden == "compact") for sight in agent_sights}
    for agent, sight in enumerate(agent_sights):
        if not views[sight].width:
            raise BadInput(f"sight = {config.sight!r}: leaves agent {agent} nothing to read")
    columns = {sight: restrict(full_view, sight, spec, compact=True).width for sight in agent_sights}
    shape = Shape(
        config.core,
        tuple(views[sight].width for sight in agent_sights),
        spec.n_actions,
        shares(config.capacity, spec.agent_types, [columns[sight] for sight in agent_sights]),
        normalised,
    )
    if reference is None:
        reference = reference_macs(spec.n_agents, full_view.width, spec.n_actions)
    numbers = range(spec.n_agents)
    types = {"team": ("",) * spec.n_agents, "type": spec.agent_types, "agent": tuple(map(str, numbers))}[config.share]
    tiers = split(solve(config.size, shape, reference), list(zip(agent_sights, types, strict=True)))

    if is_own(config.core):
        return team_of_own(
            config.core, tiers, [views[sight] for sight in agent_sights], spec.n_actions, gain, normalised
        )

    def members(agents: tuple[int, ...], width: int) -> Members:
        first = agents[0]
        network = Network(known_core(config), shape.inputs[first], width, spec.n_actions, gain, normalised=normalised)
        return Members(agents, network, views[agent_sights[first]])

    return policy_of(Team(tuple(members(*tier) for tier in tiers)))


def known_core(config: Any) -> Core:
    """The core of a config, of those that are data.

    Raises:
        BadInput: a user's own, where the agents' networks have further parts.
    """
    if is_own(config.core):
        raise BadInput(f"core = {config.core!r}: here agents must be gru or mlp: a teacher or messages are built on it")
    return config.core


def team_of_own(
    core: str, tiers: Tiers, views: Sequence[View], n_actions: int, gain: float, normalised: bool
) -> Policy:
    """A team whose agents have a network of the user's own; `views`: of each agent."""

    def group(agents: tuple[int, ...], width: int) -> Group:
        seen = views[agents[0]]
        return Group(agents, own_agent(core, seen.width, width, n_actions, gain, normalised), seen)

    return make_team(tuple(group(*tier) for tier in tiers))


def build_talking_team(
    spec: Spec, config: TeamConfig, messages: str, full_view: View, gain: float, normalised: bool
) -> Policy:
    """A team that exchanges messages: `tarmac` with one network for all, `hetgat` with one per class of agents."""
    setting = f"messages = {messages!r}"
    if not spec.links:
        raise BadInput(f"{setting}: this environment does not say who hears whom")
    if config.sight != "full" or config.capacity != "equal" or not config.size.startswith("width="):
        settings = f"sight = {config.sight}, capacity = {config.capacity}, size = {config.size}"
        raise BadInput(f"{setting}: needs sight = full, capacity = equal and a size width=W, not {settings}")
    core = known_core(config)
    width = solve(config.size, Shape(core, (1,), spec.n_actions, (1.0,)), 1)[0][1]
    heard = with_messages(full_view, spec)
    most = max(1, spec.n_agents - 1)
    network = Network(core, heard.width, width, spec.n_actions, gain, hears=most, normalised=normalised)
    kinds = spec.agent_types if messages == "hetgat" else ("",) * spec.n_agents
    members = [tuple(i for i, kind in enumerate(kinds) if kind == name) for name in dict.fromkeys(kinds)]
    return policy_of(Team(tuple(Members(agents, network, heard) for agents in members)))
