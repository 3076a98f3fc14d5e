"""An agent that predicts a personalised state of what it observes, and acts on the prediction (PTDE's student)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.networks.cores import Core, make_core
from tutelage.policies.agent import Agent
from tutelage.policies.blueprint import Network
from tutelage.policies.cost import network_layers
from tutelage.policies.normalising import with_normaliser
from tutelage.types import Carry, Params


def predictor_core(network: Network) -> Core:
    """The predictor alone: its scores are the prediction."""
    return make_core(network.core, network.inputs, network.width, network.predicts, gain=1.0)


def make_predicting_agent(network: Network) -> Agent:
    """An agent that predicts its personalised state (parameters `guess`) and acts on it (parameters `act`)."""
    core, inputs, width, fused = network.core, network.inputs, network.width, network.predicts
    predictor, act = predictor_core(network), make_core(core, inputs + fused, width, network.outputs, network.gain)

    def think(params: Params, carry: Carry, x: Float[Array, " D"]) -> tuple[Carry, Float[Array, " H"]]:
        predictor_before, act_before = carry or ((), ())
        predictor_memory, h = predictor.think(params["guess"], predictor_before, x)
        z = predictor.head(params["guess"], h, jnp.ones(fused, bool))
        act_memory, features = act.think(params["act"], act_before, jnp.concatenate([x, z]))
        return (predictor_memory, act_memory), features

    def head(params: Params, features: Array, avail: Bool[Array, " A"]) -> Array:
        return act.head(params["act"], features, avail)

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key)
        return {"guess": predictor.init(keys[0]), "act": act.init(keys[1])}

    agent = Agent(
        kind=network.label,
        inputs=inputs,
        width=width,
        n_actions=network.outputs,
        init=init,
        carry=lambda: (predictor.carry(), act.carry()),
        encode=lambda params, x: predictor.encode(params["guess"], x),
        think=think,
        head=head,
        layers=network_layers(network),
        network=network,
    )
    return with_normaliser(agent)
