"""Central teams that read a personalised state, made of the world state for each agent (DDN, CTDS, IGM-DA, PTDE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.networks.cores import Net
from tutelage.networks.fusion import fusion_net
from tutelage.policies.agent import Group, make_agent, make_team
from tutelage.policies.blueprint import FusedTeam, Fusion
from tutelage.policies.normalising import Rows, init_normalisers, normalised, state_rows
from tutelage.policies.views import read_view, whole_row
from tutelage.types import Carry, Out, Params, Policy, TimeStep


class FusedNetworks(NamedTuple):
    """A central team and its parts. Parameters are {fuse, team}, and {normalisers} where it normalises its inputs.

    Attributes:
        policy: the team.
        fusion: (parameters, timestep) -> rows of the view (..., N, L), and the personalised states made of them.
        inner: the team behind the fusion. personalised: (parameters, timestep) -> the timestep that `inner` reads.
    """

    policy: Policy
    fusion: Callable[[Params, TimeStep], tuple[Array, Array]]
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

    def fusion(params: Params, timestep: TimeStep) -> tuple[Array, Array]:
        own, state = read_view(blueprint.view, timestep), timestep.state
        if blueprint.normalised:
            own, state = normalised(params["normalisers"], own, state)
        return own, fuse.apply(params["fuse"], own, state)

    def personalised(params: Params, timestep: TimeStep) -> TimeStep:
        own, fused = fusion(params, timestep)
        return timestep._replace(obs=jnp.concatenate([own, fused], -1) if blueprint.keeps_own else fused)

    def init(key: PRNGKeyArray) -> Params:
        key_fuse, key_team = jax.random.split(key)
        params = {"fuse": fuse.init(key_fuse), "team": inner.init(key_team)}
        if blueprint.normalised:
            state = state_rows(blueprint.fusion.state) if blueprint.fusion else None
            params["normalisers"] = init_normalisers(Rows(blueprint.view), state)
        return params

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        return inner.step(params["team"], carry, personalised(params, timestep), key)

    return FusedNetworks(Policy(init, inner.carry, step, blueprint=blueprint), fusion, inner, personalised)
