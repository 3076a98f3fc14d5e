"""Central teams that read a personalised state, made of the world state for each agent (DDN, CTDS, IGM-DA, PTDE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from tutelage.networks.cores import Net
from tutelage.networks.fusion import fusion_net
from tutelage.policies.agent import Group, make_agent, make_team
from tutelage.policies.blueprint import FusedTeam, Fusion
from tutelage.policies.views import read_view, whole_row
from tutelage.types import Carry, Out, Params, Policy, TimeStep


class FusedNetworks(NamedTuple):
    """A central team and its parts. Parameters are {fuse, team}.

    Attributes:
        policy: the team.
        inner: the team behind the fusion. personalised: (parameters, timestep) -> the timestep that `inner` reads.
    """

    policy: Policy
    inner: Policy
    personalised: Callable[[Params, TimeStep], TimeStep]


def make_fusion(fusion: Fusion | None) -> Net:
    """The network (own view (..., N, L), state (..., S)) -> personalised states; without one, the own view itself."""
    if fusion is None:
        return Net(lambda key: (), lambda params, own, state: own)
    sizes = fusion.own, fusion.state, fusion.agents, fusion.width, fusion.generator
    return fusion_net(fusion.form, *sizes)[0]


def make_fused_team(blueprint: FusedTeam) -> FusedNetworks:
    """Make a central team."""
    fuse = make_fusion(blueprint.fusion)
    agent = make_agent(blueprint.network)
    inner = make_team((Group(tuple(range(blueprint.agents)), agent, whole_row(blueprint.network.inputs)),))

    def personalised(params: Params, timestep: TimeStep) -> TimeStep:
        own = read_view(blueprint.view, timestep)
        fused = fuse.apply(params["fuse"], own, timestep.state)
        return timestep._replace(obs=jnp.concatenate([own, fused], -1) if blueprint.keeps_own else fused)

    def init(key: PRNGKeyArray) -> Params:
        key_fuse, key_team = jax.random.split(key)
        return {"fuse": fuse.init(key_fuse), "team": inner.init(key_team)}

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        return inner.step(params["team"], carry, personalised(params, timestep), key)

    return FusedNetworks(Policy(init, inner.carry, step, blueprint=blueprint), inner, personalised)
