"""An agent's network of the user's own: `--core module:factory`.

It is code, not data: a team of such agents has no blueprint, so its runs are opened with `--trust`, and it is not
exported. Its multiply-adds are counted in its traced step.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.dotted import check_signature, import_user_code
from tutelage.errors import BadInput, reports_user_error
from tutelage.learning.input_normaliser import init_input_normaliser
from tutelage.networks.cores import mask_logits
from tutelage.policies.agent import Agent
from tutelage.policies.traced import traced_macs
from tutelage.types import Carry, Params


class Core(NamedTuple):
    """One agent's network, as `module:factory` returns it; called with `inputs` D, `width` H, `outputs` A and `gain`.

    Attributes:
        init: key -> parameters.
        think: (parameters, memory, input row (D,)) -> (memory, features (H,)).
        head: (parameters, features) -> logits or action values (A,); they are masked outside.
        carry: () -> the memory an episode starts with; `()` without memory.
    """

    init: Callable[[PRNGKeyArray], Params]
    think: Callable[[Params, Carry, Float[Array, " D"]], tuple[Carry, Float[Array, " H"]]]
    head: Callable[[Params, Float[Array, " H"]], Float[Array, " A"]]
    carry: Callable[[], Carry] = tuple


def is_own(core: str) -> bool:
    """Whether a core is named `module:factory`."""
    return ":" in core


def own_agent(name: str, inputs: int, width: int, outputs: int, gain: float, normalised: bool = False) -> Agent:
    """An agent with the network that `name` gives.

    Args:
        inputs, width, outputs: D, H and A. gain: that the weights of its head should begin with.
        normalised: normalise its input first.

    Raises:
        BadInput: it cannot be imported, raises, or gives something else than a Core of these widths.
    """
    factory, label = import_user_code(name), f"core {name}"
    given = {"inputs": inputs, "width": width, "outputs": outputs, "gain": gain}
    check_signature(label, factory, **given)
    with reports_user_error(label):
        core = factory(**given)
    if not isinstance(core, Core):
        raise BadInput(f"{label}: gives a {type(core).__name__}, must give a tutelage.Core")
    named: Any = lambda part, function: reports_user_error(f"{label}: {part}")(function)
    init, think, head = (named(part, getattr(core, part)) for part in ("init", "think", "head"))

    def encode(params: Params, x: Array) -> Array:
        raise BadInput(f"{label}: the output of its first layer is asked for, which only gru and mlp have")

    def masked(params: Params, features: Array, avail: Bool[Array, " A"]) -> Array:
        return mask_logits(head(params, features), avail)

    agent = Agent(name, inputs, width, outputs, init, core.carry, encode, think, masked)
    agent = agent._replace(layers=(("counted", *counted(label, agent), 0),))
    return with_own_normaliser(agent) if normalised else agent


def with_own_normaliser(agent: Agent) -> Agent:
    """An agent that normalises its row first; its parameters are {network, normaliser}."""
    read: Any = lambda params, x: params["normaliser"](x)
    return agent._replace(
        init=lambda key: {"network": agent.init(key), "normaliser": init_input_normaliser(agent.inputs)},
        encode=lambda params, x: agent.encode(params["network"], read(params, x)),
        think=lambda params, carry, x: agent.think(params["network"], carry, read(params, x)),
        head=lambda params, features, avail: agent.head(params["network"], features, avail),
        layers=(("normaliser", agent.inputs, 0, 0), *agent.layers),
    )


def counted(label: str, agent: Agent) -> tuple[int, int]:
    """Multiply-adds and parameters of a decision; raises BadInput where features, scores or memory are of other shapes.

    It is traced and not run.
    """
    row, mask = jnp.zeros(agent.inputs), jnp.ones(agent.n_actions, bool)
    params, memory = jax.eval_shape(agent.init, jax.random.key(0)), agent.carry()

    def decide(params: Params, memory: Carry) -> tuple[Carry, Array, Array]:
        following, features = agent.think(params, memory, row)
        return following, features, agent.head(params, features, mask)

    following, features, scores = jax.eval_shape(decide, params, memory)
    for part, found, shape in (("features", features, (agent.width,)), ("scores", scores, (agent.n_actions,))):
        if found.shape != shape:
            raise BadInput(f"{label}: {part} have shape {found.shape}, must be {shape}")
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(lambda: tree))
    if shapes(memory) != jax.tree.map(lambda x: (x.shape, x.dtype), following):
        raise BadInput(f"{label}: think gives a memory of another shape than carry")
    macs = traced_macs(jax.make_jaxpr(decide)(params, memory).jaxpr)
    return macs, sum(prod(leaf.shape) for leaf in jax.tree.leaves(params))
