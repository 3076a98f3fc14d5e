"""Teachers of value-based students: teams that read a personalised state, and their outputs on sequences."""

from __future__ import annotations

import jax
from jaxtyping import Array

from tutelage.configs.ddn import DdnConfig
from tutelage.configs.team import NetworkSettings
from tutelage.data.collect import unroll
from tutelage.methods.off_policy import Reader, Sequences
from tutelage.networks.fusion import fusion_net
from tutelage.policies.blueprint import FusedTeam, Fusion, Network
from tutelage.policies.build import known_core
from tutelage.policies.columns import View
from tutelage.policies.fused import make_fused_team
from tutelage.policies.views import read_view, view
from tutelage.types import Out, Params, Policy, Spec, TimeStep


def make_teacher(spec: Spec, config: DdnConfig, width: int) -> tuple[Policy, Reader]:
    """The teacher's team with the config's fusion, and the function that computes its outputs on sequences."""
    form, history = config.fusion, view("local+action", spec)
    if form == "local+state" or form == "local":
        seen = view("local+action+state", spec) if form == "local+state" else history
        return make_central_team(spec, config, width, seen, None)
    fusion = Fusion(form, history.width, spec.state_width, spec.n_agents, config.fusion_width, config.generator)
    return make_central_team(spec, config, width, history, fusion)


def make_central_team(
    spec: Spec,
    config: NetworkSettings,
    width: int,
    seen: View,
    fusion: Fusion | None,
    keeps_own: bool = False,
    gain: float = 1.0,
) -> tuple[Policy, Reader]:
    """A team that reads a personalised state, and the function that computes its outputs on sequences.

    That function fuses all steps at once. The features of its output are the recurrent layer's and the first layer's
    output. `keeps_own`: agents read what they see (`seen`) as well. `gain` scales the scores of new parameters.
    """
    fused = 0 if fusion is None else fused_width(fusion)
    inputs = (seen.width if keeps_own or fusion is None else 0) + fused
    network = Network(known_core(config), inputs, width, spec.n_actions, gain)
    team = make_fused_team(FusedTeam(spec.n_agents, seen, fusion, keeps_own, network, normalised=config.normalise))

    def read(params: Params, data: Sequences) -> Out:
        steps = team.personalised(params, data.steps)
        out = unroll(team.inner, params["team"], data.carry, steps, steps.first)
        return out._replace(features=(*out.features, first_layer(team.inner, params["team"], steps)))

    return team.policy, read


def fused_width(fusion: Fusion) -> int:
    """Width of the personalised state."""
    return fusion_net(fusion.form, fusion.own, fusion.state, fusion.agents, fusion.width, fusion.generator)[1]


def first_layer(policy: Policy, params: Params, steps: TimeStep) -> Array:
    """Output of each agent's first layer on sequences, (T+1, C, N, H); the team must be one group."""
    (group,) = policy.groups
    rows = read_view(group.view, steps)
    flat = rows.reshape(-1, rows.shape[-1])
    return jax.vmap(lambda x: group.agent.encode(params[0], x))(flat).reshape(*rows.shape[:-1], -1)
