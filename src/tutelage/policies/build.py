"""From a config to a team of agents: who sees what, who is how wide, who shares weights."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tutelage.errors import BadInput
from tutelage.policies.agent import Group, make_agent, team
from tutelage.policies.messages import hearing, talker, talking
from tutelage.policies.sight import FULL, restrict, sights
from tutelage.policies.size import Shape, reference_macs, shares, solve, split
from tutelage.policies.views import View
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
    @property
    def messages(self) -> str: ...


def build_team(spec: Spec, config: TeamConfig, seen: View, reference: int | None = None, gain: float = 0.01) -> Policy:
    """The team that a config describes.

    Args:
        seen: what an agent of unrestricted sight reads.
        reference: multiply-adds per joint decision that a ratio refers to; None: of a team of 128-GRUs.
        gain: of the heads' initial weights; small for logits, 1 for action values.

    Raises:
        BadInput: a size, sight or capacity that this environment cannot have.
    """
    if config.messages != "none":
        return talking_team(spec, config, seen, gain)
    each = sights(config.sight, spec)
    for agent, sight in enumerate(each):
        if sight != FULL and spec.obs_widths[agent] != spec.obs_width:
            raise BadInput(f"sight = {config.sight!r}: agent {agent} observes columns of its own, which have no layout")
    views = {sight: restrict(seen, sight, spec, config.hidden == "compact") for sight in each}
    told = {sight: restrict(seen, sight, spec, compact=True).width(spec) for sight in each}
    shape = Shape(
        config.core,
        tuple(views[sight].width(spec) for sight in each),
        spec.n_actions,
        shares(config.capacity, spec.agent_types, [told[sight] for sight in each]),
    )
    if reference is None:
        reference = reference_macs(spec.n_agents, seen.width(spec), spec.n_actions)
    whole = range(spec.n_agents)
    types = {"team": ("",) * spec.n_agents, "type": spec.agent_types, "agent": tuple(map(str, whole))}[config.share]
    tiers = split(solve(config.size, shape, reference), list(zip(each, types, strict=True)))

    def group(agents: tuple[int, ...], width: int) -> Group:
        one = agents[0]
        agent = make_agent(config.core, shape.inputs[one], width, spec.n_actions, gain)
        return Group(agents, agent, views[each[one]])

    return team(tuple(group(*tier) for tier in tiers))


def talking_team(spec: Spec, config: TeamConfig, seen: View, gain: float) -> Policy:
    """Agents that talk: `tarmac` of one network, `hetgat` of one per class."""
    told = f"messages = {config.messages!r}"
    if not spec.links:
        raise BadInput(f"{told}: this environment does not say who hears whom")
    if config.sight != "full" or config.capacity != "equal" or not config.size.startswith("width="):
        given = f"sight = {config.sight}, capacity = {config.capacity}, size = {config.size}"
        raise BadInput(f"{told}: needs sight = full, capacity = equal and a size width=W, not {given}")
    width = solve(config.size, Shape(config.core, (1,), spec.n_actions, (1.0,)), 1)[0][1]
    agent = talker(config.core, seen.width(spec), width, spec.n_actions, gain, spec.n_agents - 1)
    kinds = spec.agent_types if config.messages == "hetgat" else ("",) * spec.n_agents
    members = [tuple(i for i, kind in enumerate(kinds) if kind == name) for name in dict.fromkeys(kinds)]
    return talking([Group(agents, agent, hearing(seen, spec)) for agents in members])
