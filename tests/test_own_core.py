"""Agents' networks of the user's own."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK
from tutelage import BadInput, make
from tutelage.configs.ddn import DdnConfig
from tutelage.configs.ppo import MappoConfig
from tutelage.policies.build import build_team
from tutelage.policies.cost import Cost, agent_cost, team_cost
from tutelage.policies.own_core import Core, own_agent
from tutelage.policies.views import view


def counter(inputs: int, width: int, outputs: int, gain: float) -> Core:
    """Counts its steps; its scores are the count for action 0, and twice its first weight for the others."""
    return Core(
        init=lambda key: {"w": jnp.ones((inputs, width))},
        think=lambda params, n, row: (n + 1, row @ params["w"] + n),
        head=lambda params, features: jnp.full(outputs, 2 * params["w"][0, 0]).at[0].set(features[0]),
        carry=lambda: jnp.zeros(()),
    )


def narrow(inputs: int, width: int, outputs: int, gain: float) -> Core:
    return counter(inputs, width + 1, outputs, gain)


def forgetful(inputs: int, width: int, outputs: int, gain: float) -> Core:
    think = lambda params, n, row: (jnp.zeros(3), row @ params["w"])
    return counter(inputs, width, outputs, gain)._replace(think=think)


def number(inputs: int, width: int, outputs: int, gain: float) -> int:
    return 3


def positional(widths: int) -> None:
    return None


NAME = "test_own_core:counter"


def test_its_memory_and_scores_are_used_and_masked():
    team = build_team(make("probe/memory").spec, MappoConfig(core=NAME, size="width=2"), local())
    _, timestep = jax.vmap(make("probe/memory").reset)(jax.random.split(jax.random.key(0), 1))
    timestep = timestep._replace(obs=jnp.zeros((1, 2, 1)), avail=timestep.avail.at[:, :, 2].set(False))
    params, memory = team.init(jax.random.key(0)), team.carry(1)
    found = []
    for _ in range(2):
        memory, out = team.step(params, memory, timestep, jax.random.key(0))
        found.append(out.scores[0, 0].tolist())
    # The one-hot of the agent's number adds 1 to the features.
    assert found == [[1.0, 2.0, pytest.approx(-1e9)], [2.0, 2.0, pytest.approx(-1e9)]]
    assert np.array_equal(memory[0], [[2.0, 2.0]]) and team.blueprint is None


def local():
    return view("local", make("probe/memory").spec)


def test_its_cost_is_counted_in_its_traced_step():
    agent = own_agent(NAME, 5, 3, 2, 0.01)
    assert agent_cost(agent) == Cost(15, 0, 15)
    team = build_team(make("probe/memory").spec, MappoConfig(core=NAME, size="width=2"), local())
    assert team_cost(team) == Cost(2 * 3 * 2, 0, 2 * 3 * 2)


@pytest.mark.parametrize(("name", "message"), [
    ("test_own_core:narrow", "core test_own_core:narrow: features have shape \\(3,\\), must be \\(2,\\)"),
    ("test_own_core:forgetful", "core test_own_core:forgetful: think gives a memory of another shape than carry"),
    ("test_own_core:number", "core test_own_core:number: gives a int, must give a tutelage.Core"),
    ("test_own_core:positional", "core test_own_core:positional: got an unexpected keyword|missing a required"),
    ("test_own_core:none", "'test_own_core' has no 'none'"),
    ("lstm", "unknown core 'lstm'; allowed: gru, mlp, module:name"),
])  # fmt: skip
def test_what_is_wrong_with_it_is_one_line(name, message):
    with pytest.raises(BadInput, match=message):
        build_team(make("probe/memory").spec, MappoConfig(core=name, size="width=2"), local())


def test_sizes_that_need_a_formula_are_refused():
    with pytest.raises(BadInput, match="size = 'ratio=4': core = 'test_own_core:counter' has no formula of its cost"):
        build_team(make("probe/memory").spec, MappoConfig(core=NAME, size="ratio=4"), local())


def test_methods_that_build_on_the_network_refuse_it(tmp_path):
    with pytest.raises(BadInput, match="core = 'test_own_core:counter': here agents must be gru or mlp"):
        tutelage.train("ddn", "probe/action", out=tmp_path / "run", core=NAME, size="width=4", fit=QUICK)
    assert DdnConfig(core=NAME).core == NAME and not (tmp_path / "run").exists()


def test_it_reads_normalised_rows_where_that_is_asked_for():
    plain, agent = (own_agent(NAME, 2, 3, 4, 1.0, normalised=on) for on in (False, True))
    params = agent.init(jax.random.key(0))
    seen = replace(params["normaliser"], mean=jnp.array([4.0, 0.0]), count=jnp.array([1.0, 0.0]))
    row, n = jnp.array([10.0, 7.0]), jnp.ones(())
    found = agent.think({**params, "normaliser": seen}, n, row)
    expected = plain.think(params["network"], n, jnp.array([1.8, 7.0]))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected)
    assert agent_cost(agent) == agent_cost(plain) + Cost(0, 8, 6)
