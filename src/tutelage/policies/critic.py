"""Critics: networks of values in raw reward units."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from tutelage.learning.normaliser import init_normaliser
from tutelage.networks.cores import Net, value_net
from tutelage.networks.critics import joint_action_critic_net
from tutelage.policies.blueprint import ValueNet
from tutelage.policies.columns import PairGoals, View
from tutelage.policies.normalising import Rows, normalised_net, state_rows
from tutelage.policies.views import read_view
from tutelage.types import Critic, Params, Spec, TimeStep


def make_critic(blueprint: ValueNet) -> Critic:
    """A feed-forward critic with its value normaliser.

    Parameters are `{net, returns}`. The network's output is in normalised units, the value in raw ones: (B,) for a view
    of the whole team, and (B, N) for a view of each agent.
    """
    net = normalised_net(
        value_net(blueprint.view.width, blueprint.width), (Rows(blueprint.view),), blueprint.normalised
    )

    def init(key: PRNGKeyArray) -> Params:
        return {"net": net.init(key), "returns": init_normaliser()}

    def value(params: Params, timestep: TimeStep) -> Array:
        returns = params["returns"]
        return net.apply(params["net"], read_view(blueprint.view, timestep)) * returns.deviation + returns.mean

    reads_goals = any(isinstance(columns, PairGoals) for columns in blueprint.view.columns)
    return Critic(init, value, blueprint=blueprint, goals=reads_goals)


def critic_of(view: View, width: int, normalised: bool = False) -> Critic:
    """The critic with a view and a width; `normalised`: whether it normalises its input."""
    return make_critic(ValueNet(view, width, normalised=normalised))


def joint_action_critic(spec: Spec, width: int, normalised: bool) -> Net:
    """The critic of joint actions, see `networks.critics`; `normalised`: whether it normalises the state."""
    net = joint_action_critic_net(spec.state_width, spec.n_agents, spec.n_actions, width)
    return normalised_net(net, (state_rows(spec.state_width), None, None), normalised)


def values_of(critic: Critic, params: Params, steps: TimeStep) -> Float[Array, "T B *N"]:
    """A critic's values of timesteps (T, B, ...): time is just more batch."""
    lead = steps.first.shape
    flat = jax.tree.map(lambda x: x.reshape(lead[0] * lead[1], *x.shape[2:]), steps)
    value = critic.value(params, flat)
    return value.reshape(*lead, *value.shape[1:])
