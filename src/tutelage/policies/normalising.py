"""Networks that normalise what they read, and the rows that their statistics are of.

A row is normalised after `read_view` has made it, as restricted sight is a matter of raw numbers. One-hots, zeros and
messages are read as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.learning.input_normaliser import InputNormaliser, init_input_normaliser
from tutelage.learning.optim import Learner
from tutelage.networks.cores import Net
from tutelage.policies.columns import Columns, Entities, PairGoals, Slice, View, Zeros
from tutelage.policies.cost import network_layers
from tutelage.policies.views import read_view
from tutelage.types import Params, Spec, TimeStep

if TYPE_CHECKING:
    from tutelage.policies.agent import Agent

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Rows:
    """The rows of a view: of some agents, of all (None), or the whole team's one."""

    view: View
    agents: tuple[int, ...] | None = None

    @property
    def width(self) -> int:
        return self.view.width

    def read(self, steps: TimeStep, spec: Spec) -> tuple[Float[Array, "... D"], Bool[Array, "... #D"]]:
        """The rows (T, B, [n,] D), and which entries are real: of agents that live, and no padding."""
        # A message is in no timestep, and its columns are not counted.
        columns = tuple(Zeros(c.width) if is_heard(c) else c for c in self.view.columns)
        x = read_view(replace(self.view, columns=columns), steps)
        counted = np.concatenate([counted_columns(c, spec) for c in self.view.columns], -1)
        if not self.view.each:
            return x, jnp.broadcast_to(counted[0], x.shape)
        agents = np.array(self.agents or range(spec.n_agents))
        return x[..., agents, :], steps.alive[..., agents, None] & counted[agents]


@dataclass(frozen=True)
class GoalRows:
    """Features of the goals that some agents (None: all) may be given, and what is put behind them up to `width`."""

    width: int
    agents: tuple[int, ...] | None = None

    def read(self, steps: TimeStep, spec: Spec) -> tuple[Float[Array, "... G"], Bool[Array, "... #G"]]:
        """The features (T, B, n, M, G), and which entries are real: of valid goals of agents that live."""
        agents, goals = np.array(self.agents or range(spec.n_agents)), steps.goals
        behind = self.width - goals.features.shape[-1]
        x = jnp.pad(goals.features, [(0, 0)] * (goals.features.ndim - 1) + [(0, behind)])
        real = (goals.valid & steps.alive[..., None])[..., None] & (np.arange(self.width) < self.width - behind)
        return x[..., agents, :, :], real[..., agents, :, :]


def is_heard(columns: Columns) -> bool:
    return isinstance(columns, Slice) and columns.source == "heard"


def counted_columns(columns: Columns, spec: Spec) -> np.ndarray:
    """Which of some columns are normalised for each agent, (N, width); the padding of one that observes less is not."""
    match columns:
        case Slice(source="obs"):
            return np.arange(columns.start, columns.stop) < np.array(spec.obs_widths)[:, None]
        case Slice(source="state"):
            pattern = [True] * columns.width
        case Entities() if columns.compact and columns.chosen:  # behind each a one-hot of which entity it is
            pattern = ([True] * columns.columns + [False] * len(columns.starts)) * columns.chosen
        case Entities():
            pattern = [True] * columns.width
        case PairGoals():
            pattern = ([True] * columns.features + [False]) * (columns.agents * columns.goals)
        case _:
            pattern = [False] * columns.width
    return np.tile(np.array(pattern, bool), (spec.n_agents, 1))


def state_rows(width: int) -> Rows:
    """The world state."""
    return Rows(View("state", (Slice("state", 0, width),), each=False))


def with_normaliser(agent: Agent) -> Agent:
    """An agent that normalises its row first, where its network says so; the parameters are `normaliser`."""
    network = agent.network
    if network is None or not network.normalised:
        return agent

    def init(key: PRNGKeyArray) -> Params:
        return {**agent.init(key), "normaliser": init_input_normaliser(agent.inputs)}

    return agent._replace(
        init=init,
        encode=lambda params, x: agent.encode(params, params["normaliser"](x)),
        think=lambda params, carry, x: agent.think(params, carry, params["normaliser"](x)),
        layers=network_layers(network),
    )


def normalised_net(net: Net, inputs: tuple[Rows | GoalRows | None, ...], on: bool) -> Net:
    """A network that normalises its inputs first; parameters are {net, normalisers}. Without `on` the network itself.

    Args:
        inputs: what each argument of `apply` is; None for one that is read as it is.
    """
    if not on:
        return net

    def init(key: PRNGKeyArray) -> Params:
        return {"net": net.init(key), "normalisers": init_normalisers(*inputs)}

    def apply(params: Params, *arguments: Any) -> Array:
        return net.apply(params["net"], *normalised(params["normalisers"], *arguments))

    return Net(init, apply)


def init_normalisers(*inputs: Rows | GoalRows | None) -> Params:
    """A normaliser for each input, () for one that is read as it is."""
    return tuple(() if rows is None else init_input_normaliser(rows.width, rows) for rows in inputs)


def normalised(normalisers: Params, *inputs: Any) -> tuple[Any, ...]:
    """Inputs as their normalisers make them."""
    return tuple(own(x) if own else x for own, x in zip(normalisers, inputs, strict=True))


def map_normalisers(function: Callable[[InputNormaliser], InputNormaliser], tree: Tree) -> Tree:
    """A tree with every normaliser replaced, but for those in the states of optimisers."""

    def replaced(node: Any) -> Any:
        if isinstance(node, Learner):
            return node._replace(params=map_normalisers(function, node.params))
        return function(node) if isinstance(node, InputNormaliser) else node

    return jax.tree.map(replaced, tree, is_leaf=lambda node: isinstance(node, InputNormaliser | Learner))


def labelled(params: Params, rows: Rows) -> Params:
    """Parameters whose normalisers are of these rows."""
    return map_normalisers(lambda own: replace(own, rows=rows), params)


def observed(tree: Tree, steps: TimeStep, valid: Bool[Array, "T B"], spec: Spec) -> Tree:
    """A tree of parameters whose normalisers have counted more timesteps (T, B, ...), of which some are `valid`."""

    def count(own: InputNormaliser) -> InputNormaliser:
        x, real = own.rows.read(steps, spec)
        return own.observe(x, real & valid.reshape(*valid.shape, *[1] * (x.ndim - 2)))

    return map_normalisers(count, tree)


def with_moments_of(params: Params, given: Params) -> Params:
    """Parameters whose normalisers have the moments of those among `given` that are of the same rows."""
    nodes = jax.tree.leaves(given, is_leaf=lambda node: isinstance(node, InputNormaliser))
    by_rows = {node.rows: node for node in nodes if isinstance(node, InputNormaliser)}
    of_shape = lambda own: lambda x: jnp.broadcast_to(x, own.mean.shape)  # more axes where networks are stacked
    return map_normalisers(lambda own: jax.tree.map(of_shape(own), by_rows[own.rows]), params)
