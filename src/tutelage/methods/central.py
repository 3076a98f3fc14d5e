"""Teams that read the world state, personalised for each agent: teachers of value-based students."""

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


def build_teacher(spec: Spec, config: DdnConfig, width: int) -> tuple[Policy, Reader]:
    """The central team of the config's fusion, and how it reads sequences."""
    history = view("local+action")
    if config.fusion in ("local+state", "local"):
        seen = view("local+action+state") if config.fusion == "local+state" else history
        fuse, inputs = Net(lambda key: (), lambda params, own, state: own), seen.width(spec)
        return central_team(spec, config.core, width, seen, fuse, inputs)
    sizes = history.width(spec), spec.state_width, spec.n_agents
    return central_team(spec, config.core, width, history, *fusion_net(
        config.fusion, *sizes, config.fusion_width, config.generator))  # fmt: skip


def central_team(
    spec: Spec, core: str, width: int, seen: View, fuse: Net, inputs: int, gain: float = 1.0
) -> tuple[Policy, Reader]:
    """A team over rows `fuse(seen, state)`, and how it reads whole sequences: the fusion of all steps at once.

    Parameters are {fuse, team}. The features of what is read are the recurrent layer's output and what the first layer
    makes of its input. `gain` scales the scores of new parameters.
    """
    agent = make_agent(core, inputs, width, spec.n_actions, gain=gain)
    inner = make_team((Group(tuple(range(spec.n_agents)), agent, view("local-no-id")),))
    fused = lambda params, ts: ts._replace(obs=fuse.apply(params["fuse"], seen.read(ts), ts.state))

    def init(key: PRNGKeyArray) -> Params:
        key_fuse, key_team = jax.random.split(key)
        return {"fuse": fuse.init(key_fuse), "team": inner.init(key_team)}

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        return inner.step(params["team"], carry, fused(params, timestep), key)

    def read(params: Params, data: Sequences) -> Out:
        steps = fused(params, data.steps)
        out = unroll(inner, params["team"], data.carry, steps, steps.first)
        return out._replace(features=(*out.features, first_layer(inner, params["team"], steps)))

    return Policy(init, inner.carry, step), read


def first_layer(policy: Policy, params: Params, steps: TimeStep) -> Array:
    """(T+1, C, N, H): what each agent's first layer makes of its row; the team must be one group."""
    (group,) = policy.groups
    rows = group.view.read(steps)
    flat = rows.reshape(-1, rows.shape[-1])
    return jax.vmap(lambda x: group.agent.encode(params[0], x))(flat).reshape(*rows.shape[:-1], -1)
