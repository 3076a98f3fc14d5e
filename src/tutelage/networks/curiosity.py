"""The network of curiosity: what it predicts badly is new."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from tutelage.networks.cores import Net, dense, named_layers


def curiosity_net(state: int, width: int = 64) -> Net:
    """A small network of the state. A copy with random weights is the target, another one learns to predict its output.

    Reference:
        Burda et al. 2019 (random network distillation).
    """
    init, run = named_layers({"hidden": (dense(width), state), "out": (dense(width), width)})
    return Net(init, lambda params, s: run(params, "out", nn.relu(run(params, "hidden", jnp.clip(s, -5, 5)))))
