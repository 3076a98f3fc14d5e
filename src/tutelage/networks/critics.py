"""Critics of joint actions."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tutelage.networks.cores import Net, dense, named_layers
from tutelage.types import Params


def joint_action_critic_net(state: int, n_agents: int, n_actions: int, width: int) -> Net:
    """`apply(params, state (..., S), taken (..., N, A), own (..., N, A))` -> Q_i per agent (..., N).

    Agent i's critic reads the state, everybody's action (i's from `own`, the others' from `taken`; both one-hot) and
    i's number. One network for all; the first layer is computed once for the joint action, then corrected for the
    agent's own.
    """
    init, run = named_layers(
        {
            "world": (dense(width), state),
            "number": (dense(width, 1.0), n_agents),
            "actions": (nn.Dense(width, use_bias=False), n_agents * n_actions),
            "hidden": (dense(width), width),
            "head": (dense(1, 1.0), width),
        }
    )

    def apply(
        params: Params, state: Float[Array, "... S"], taken: Float[Array, "... N A"], own: Float[Array, "... N A"]
    ) -> Float[Array, "... N"]:
        joint = run(params, "world", state) + run(params, "actions", taken.reshape(*taken.shape[:-2], -1))
        kernel = params["actions"]["kernel"].reshape(n_agents, n_actions, width)
        correction = jnp.einsum("...na,nah->...nh", own - taken, kernel)
        x = nn.relu(joint[..., None, :] + correction + run(params, "number", jnp.eye(n_agents)))
        return run(params, "head", nn.relu(run(params, "hidden", x)))[..., 0]

    return Net(init, apply)


def action_values(
    critic: Net, params: Params, state: Float[Array, "... S"], taken: Float[Array, "... N A"]
) -> Float[Array, "... N A"]:
    """A critic's values of every action of each agent, with the others' actions as `taken` (one-hot)."""
    of = lambda own: critic.apply(params, state, taken, jnp.broadcast_to(own, taken.shape))
    return jax.vmap(of, out_axes=-1)(jnp.eye(taken.shape[-1]))
