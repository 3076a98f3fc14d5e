"""One agent's decision as a single function with explicit memory: what is deployed, counted and timed."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Array, Bool, Float, Int

from tutelage.policies.agent import Agent
from tutelage.types import Carry, Params

Step = Callable[[Params, Carry, "Float[Array, ' D']", "Bool[Array, ' A']"], tuple[Carry, "Int[Array, '']", Array]]


def agent_step(agent: Agent) -> Step:
    """The greedy step of one agent.

    Args:
        agent: the agent that acts.

    Returns:
        A function (params, carry, x (D,), avail (A,)) -> (carry, action, masked logits (A,)).
    """

    def step(
        params: Params, carry: Carry, x: Float[Array, " D"], avail: Bool[Array, " A"]
    ) -> tuple[Carry, Int[Array, ""], Float[Array, " A"]]:
        carry, features = agent.think(params, carry, x)
        logits = agent.head(params, features, avail)
        return carry, logits.argmax(-1), logits

    return step
