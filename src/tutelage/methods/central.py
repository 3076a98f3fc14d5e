"""Teams that read a personalised state, made of the world state for each agent: teachers of value-based students."""

from __future__ import annotations

import jax
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ddn import DdnConfig
from tutelage.data.collect import unroll
from tutelage.methods.off_policy import Reader, Sequences
from tutelage.networks.cores import Net
from tutelage.networks.fusion import fusion_net
from tutelage.policies.agent import Group, make_agent, make_team
from tutelage.policies.views import View, view
from tutelage.types import (
    Carry,
    Out,
    Params,
    Policy,
    Spec,
    TimeStep,
)


def make_teacher(spec: Spec, config: DdnConfig, width: int) -> tuple[Policy, Reader]:
    """The teacher's team with the config's fusion, and the function that computes its outputs on sequences."""
    history = view("local+action")
    if config.fusion in ("local+state", "local"):
        own_view = view("local+action+state") if config.fusion == "local+state" else history
        fuse, inputs = Net(lambda key: (), lambda params, own, state: own), own_view.width(spec)
        return make_central_team(spec, config.core, width, own_view, fuse, inputs)
    sizes = history.width(spec), spec.state_width, spec.n_agents
    return make_central_team(spec, config.core, width, history, *fusion_net(
        config.fusion, *sizes, config.fusion_width, config.generator))  # fmt: skip


def make_central_team(
    spec: Spec, core: str, width: int, own_view: View, fuse: Net, inputs: int, gain: float = 1.0
) -> tuple[Policy, Reader]:
    """A team with inputs `fuse(own view, state)`, and the function that computes its outputs on sequences.

    That function fuses all steps at once. The features of its output are the recurrent layer's and the first layer's
    output. Parameters are {fuse, team}. `gain` scales the scores of new parameters.
    """
    agent = make_agent(core, inputs, width, spec.n_actions, gain=gain)
    inner = make_team((Group(tuple(range(spec.n_agents)), agent, view("local-no-id")),))
    personalised = lambda params, ts: ts._replace(obs=fuse.apply(params["fuse"], own_view.read(ts), ts.state))

    def init(key: PRNGKeyArray) -> Params:
        key_fuse, key_team = jax.random.split(key)
        return {"fuse": fuse.init(key_fuse), "team": inner.init(key_team)}

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        return inner.step(params["team"], carry, personalised(params, timestep), key)

    def read(params: Params, data: Sequences) -> Out:
        steps = personalised(params, data.steps)
        out = unroll(inner, params["team"], data.carry, steps, steps.first)
        return out._replace(features=(*out.features, first_layer(inner, params["team"], steps)))

    return Policy(init, inner.carry, step), read


def first_layer(policy: Policy, params: Params, steps: TimeStep) -> Array:
    """Output of each agent's first layer on sequences, (T+1, C, N, H); the team must be one group."""
    (group,) = policy.groups
    rows = group.view.read(steps)
    flat = rows.reshape(-1, rows.shape[-1])
    return jax.vmap(lambda x: group.agent.encode(params[0], x))(flat).reshape(*rows.shape[:-1], -1)
