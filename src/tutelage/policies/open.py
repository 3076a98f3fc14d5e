"""Policies of blueprints: the one way in which a team is made, whether it is trained or was loaded."""

from __future__ import annotations

from functools import lru_cache

from tutelage.policies.agent import Agent, Group, make_agent, make_team
from tutelage.policies.blueprint import DeterministicTeam, FusedTeam, HierarchicalTeam, Network, Team, TeamBlueprint
from tutelage.policies.compose import as_deterministic
from tutelage.policies.fused import make_fused_team
from tutelage.policies.hierarchy import make_hierarchy, teacher_policy
from tutelage.policies.messages import make_talking_agent, make_talking_team
from tutelage.policies.predicting import make_predicting_agent
from tutelage.types import Policy


def agent_of(network: Network) -> Agent:
    """The agent of a network."""
    if network.hears:
        return make_talking_agent(network)
    return make_predicting_agent(network) if network.predicts else make_agent(network)


@lru_cache(64)
def policy_of(blueprint: TeamBlueprint) -> Policy:
    """The policy of a blueprint that needs neither code nor environment.

    Of equal blueprints it is the same object, so that its programs are compiled once per process.
    """
    match blueprint:
        case Team():
            groups = tuple(Group(g.agents, agent_of(g.network), g.view) for g in blueprint.groups)
            return make_talking_team(groups) if blueprint.talks else make_team(groups)
        case FusedTeam():
            return make_fused_team(blueprint).policy
        case HierarchicalTeam():
            return teacher_policy(make_hierarchy(blueprint), explore=False)
        case DeterministicTeam():
            return as_deterministic(policy_of(blueprint.of))
    raise TypeError(f"{blueprint.kind} is made of code, not of data")
