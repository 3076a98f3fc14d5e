"""Cost of one decision of an agent, by formula: multiply-adds, FLOPs and parameters.

One multiply-add is 2 FLOPs. `products` counts matrix products only and is exact; `elementwise` counts every other
arithmetic operation on an array element as one FLOP (add, multiply, maximum, sigmoid, tanh), comparisons and selects
not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tutelage.configs.team import KEY_WIDTH, MESSAGE_WIDTH
from tutelage.policies.blueprint import Blueprint, Network, Team, unwrapped
from tutelage.types import Policy

if TYPE_CHECKING:
    from tutelage.policies.agent import Agent, Group


class Cost(NamedTuple):
    """Cost of one decision.

    Attributes:
        macs: multiply-adds in matrix products.
        elementwise: other operations.
        params: numbers stored, biases included.
    """

    macs: int
    elementwise: int
    params: int

    @property
    def products(self) -> int:
        """FLOPs in matrix products; the figure that ratios are made of."""
        return 2 * self.macs

    @property
    def flops(self) -> int:
        """All FLOPs by the convention above."""
        return self.products + self.elementwise

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.macs + other.macs, self.elementwise + other.elementwise, self.params + other.params)

    def times(self, n: int) -> Cost:
        return Cost(self.macs * n, self.elementwise * n, self.params * n)


def layer_cost(kind: str, inputs: int, width: int, n_actions: int) -> Cost:
    """Cost of a `gru` or `mlp` agent of the given widths, of one `linear` layer (inputs to width), of `attention`
    over so many inputs, keys and values together `width` wide, of a network of `counted` multiply-adds, or of a
    `normaliser` of so many inputs."""
    if kind == "counted":  # a network of a user's own: so many multiply-adds and parameters
        return Cost(inputs, 0, width)
    if kind == "normaliser":
        # Less the mean, times a factor, held between two limits; mean, deviation and count (deployed: a limit) of each.
        return Cost(0, 4 * inputs, 3 * inputs)
    if kind == "attention":
        # Per input: scaled, less the largest, exponential, summed, divided.
        return Cost(inputs * width, 5 * inputs, 0)
    if kind == "linear":
        return Cost(inputs * width, width, inputs * width + width)
    ends = inputs * width + width * n_actions
    bias_ends = width + n_actions
    if kind == "gru":
        # Six W x W products; biases on the three input products and on the recurrent candidate. Per unit: the three
        # gates' sums with biases (3 + 1 + 3), two sigmoids, a tanh, r * n, and (1 - z) n + z h (4).
        macs = ends + 6 * width * width
        params = macs + bias_ends + 4 * width
        elementwise = bias_ends + width + (4 + 3 + 3 + 1 + 4) * width
    else:
        macs = ends + width * width
        params = macs + bias_ends + width
        elementwise = bias_ends + width + 2 * width
    return Cost(macs, elementwise, params)


def network_layers(network: Network) -> tuple[tuple[str, int, int, int], ...]:
    """The (kind, inputs, width, outputs) of the networks that a network of a blueprint is made of."""
    core, inputs, width, outputs = network.core, network.inputs, network.width, network.outputs
    first = (("normaliser", inputs, 0, 0),) if network.normalised else ()
    if network.predicts:
        fused = network.predicts
        return *first, (core, inputs, width, fused), (core, inputs + fused, width, outputs)
    if network.hears:
        speaking = ("linear", width, 2 * KEY_WIDTH + MESSAGE_WIDTH, 0)
        listening = ("attention", network.hears, KEY_WIDTH + MESSAGE_WIDTH, 0)
        return *first, (core, inputs, width, outputs), speaking, listening
    return *first, (core, inputs, width, outputs)


def layers_cost(layers: tuple[tuple[str, int, int, int], ...]) -> Cost:
    """Cost of several layers together."""
    return sum((layer_cost(*layer) for layer in layers), Cost(0, 0, 0))


def network_cost(network: Network) -> Cost:
    """Cost of one decision of an agent with this network."""
    return layers_cost(network_layers(network))


def agent_cost(agent: Agent) -> Cost:
    """Cost of one decision of this agent."""
    return layers_cost(agent.layers or ((agent.kind, agent.inputs, agent.width, agent.n_actions),))


def group_cost(group: Group) -> Cost:
    """Cost of one decision of every agent in the group; each carries a copy of the weights."""
    return agent_cost(group.agent).times(len(group.agents))


def team_cost(policy: Policy) -> Cost | None:
    """Cost of one decision of the whole team, each agent with a copy of its weights; None for a policy that is not made
    of agents."""
    if not policy.groups:
        return None
    return sum(map(group_cost, policy.groups), Cost(0, 0, 0))


def team_of(blueprint: Blueprint) -> Team | None:
    """The team of agents in a blueprint; None where it is another kind of policy, or a critic."""
    inner = unwrapped(blueprint)
    return inner if isinstance(inner, Team) else None


def blueprint_cost(blueprint: Blueprint) -> Cost | None:
    """`team_cost` from the blueprint alone."""
    team = team_of(blueprint)
    if team is None:
        return None
    return sum((network_cost(group.network).times(len(group.agents)) for group in team.groups), Cost(0, 0, 0))


def widths(blueprint: Blueprint) -> list[int]:
    """Widths of the networks of a team, one for each group; none for another kind of policy."""
    team = team_of(blueprint)
    return [group.network.width for group in team.groups] if team else []
