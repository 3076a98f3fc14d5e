"""Critics, as policies whose output has a value in raw reward units and no scores."""

from __future__ import annotations

from jaxtyping import PRNGKeyArray

from tutelage.learning.normaliser import init_normaliser
from tutelage.networks.cores import value_net
from tutelage.policies.views import View
from tutelage.types import Carry, Out, Params, Policy, Spec, TimeStep


def critic_policy(spec: Spec, view: View, width: int) -> Policy:
    """A feed-forward critic with its value normaliser.

    Parameters are `{net, returns}`. The network's output is in normalised units, `Out.value` in raw ones. The value is
    (B,) for the view `state` and (B, N) for a view per agent.
    """
    net = value_net(view.width(spec), width)

    def init(key: PRNGKeyArray) -> Params:
        return {"net": net.init(key), "returns": init_normaliser()}

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        returns = params["returns"]
        value = net.apply(params["net"], view.read(timestep)) * returns.deviation + returns.mean
        return carry, Out(scores=None, value=value)

    return Policy(init=init, carry=lambda n: (), step=step)
