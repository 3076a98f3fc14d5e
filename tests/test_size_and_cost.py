"""Sizes solved from a budget, and cost formulas against the networks themselves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import make_spec, make_tiered_team
from tutelage import BadInput
from tutelage.policies.agent import make_agent
from tutelage.policies.blueprint import Network
from tutelage.policies.cost import agent_cost, layer_cost, team_cost
from tutelage.policies.size import Shape, reference_macs, shares, solve, split
from tutelage.policies.traced import traced_macs
from tutelage.policies.views import view

SPEC = make_spec(n_agents=5)
ALL = (0, 1, 2, 3, 4)
SHAPES = {kind: Shape(kind, (30,) * 5, 9, (1.0,) * 5) for kind in ("gru", "mlp")}
REFERENCE = reference_macs(5, 30, 9)


# ---- cost ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("inputs", "width", "actions"), [(7, 5, 3), (30, 16, 9), (1, 1, 2), (100, 64, 17)])
@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_cost_formulas_equal_the_network_itself(kind, inputs, width, actions):
    agent = make_agent(Network(kind, inputs, width, actions))
    cost = agent_cost(agent)
    params = jax.eval_shape(agent.init, jax.random.key(0))
    assert cost.params == sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))

    def decide(params, carry, row, avail):
        carry, h = agent.think(params, carry, row)
        return carry, agent.head(params, h, avail)

    row, avail = jnp.zeros(inputs), jnp.ones(actions, bool)
    jaxpr = jax.make_jaxpr(decide)(jax.tree.map(lambda x: jnp.zeros(x.shape), params), agent.carry(), row, avail)
    assert cost.macs == traced_macs(jaxpr.jaxpr)
    assert cost.products == 2 * cost.macs and cost.flops == cost.products + cost.elementwise
    assert 0 < cost.elementwise < 40 * width + 2 * actions


def test_a_team_costs_the_sum_of_its_agents_each_with_a_copy_of_its_weights():
    tiers = (((0, 2, 4), 8), ((1, 3), 16))
    policy = make_tiered_team(SPEC, "gru", "local", tiers)
    total = team_cost(policy)
    each = {width: layer_cost("gru", view("local", SPEC).width, width, SPEC.n_actions) for width in (8, 16)}
    assert total.macs == 3 * each[8].macs + 2 * each[16].macs
    assert total.elementwise == 3 * each[8].elementwise + 2 * each[16].elementwise
    assert total.params == 3 * each[8].params + 2 * each[16].params
    params = jax.eval_shape(policy.init, jax.random.key(0))
    assert each[8].params + each[16].params == sum(x.size for x in jax.tree.leaves(params))


def test_a_policy_without_networks_has_no_cost():
    from tutelage import make

    assert team_cost(make("probe/action").scripted()) is None


# ---- size ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [1, 16, 1024])
def test_a_width_is_taken_as_it_is(width):
    assert solve(f"width={width}", SHAPES["gru"], REFERENCE) == ((ALL, width),)


WITHIN = {
    "ratio": lambda cost, x: cost.macs * x <= REFERENCE,
    "flops": lambda cost, x: cost.products <= 5 * x,
    "params": lambda cost, x: cost.params <= 5 * x,
}


@pytest.mark.parametrize("kind", ["gru", "mlp"])
@pytest.mark.parametrize(
    ("budget", "amount"),
    [("ratio", 28.6), ("ratio", 1), ("ratio", 2.5), ("flops", 5000), ("flops", 123_456), ("params", 2000)],
)
def test_a_budget_gives_the_widest_network_within_it(budget, amount, kind):
    shape = SHAPES[kind]
    ((agents, width),) = solve(f"{budget}={amount}", shape, REFERENCE)
    assert agents == ALL
    assert WITHIN[budget](shape.cost(width), amount) and not WITHIN[budget](shape.cost(width + 1), amount)


def test_ratio_1_of_the_same_network_is_the_reference():
    assert 5 * layer_cost("gru", 30, 128, 9).macs == REFERENCE
    assert solve("ratio=1", SHAPES["gru"], REFERENCE) == ((ALL, 128),)
    assert solve("ratio=1", SHAPES["mlp"], SHAPES["mlp"].cost(20).macs) == ((ALL, 20),)


def test_a_ratio_refers_to_the_teacher_that_is_given():
    macs = 5 * layer_cost("gru", 200, 64, 9).macs
    ((_, width),) = solve("ratio=10", SHAPES["gru"], macs)
    assert SHAPES["gru"].cost(width).macs * 10 <= macs < SHAPES["gru"].cost(width + 1).macs * 10


@pytest.mark.parametrize(
    ("size", "tiers"),
    [
        ("tiers=0-4:16", ((ALL, 16),)),
        ("tiers=0,1:16;2-4:32", (((0, 1), 16), ((2, 3, 4), 32))),
        ("tiers=4,0-1:8;3:4;2:4", (((4, 0, 1), 8), ((3,), 4), ((2,), 4))),
    ],
)
def test_tiers_are_read_as_written(size, tiers):
    assert solve(size, SHAPES["gru"], REFERENCE) == tiers


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ("width=0", "greater than 0"),
        ("width=1025", "from 1 to 1024"),
        ("width=1.5", "whole number"),
        ("width=wide", "'wide'"),
        ("width=", "not a number"),
        ("width=nan", "greater than 0"),
        ("ratio=0", "greater than 0"),
        ("ratio=-3", "greater than 0"),
        ("ratio=inf", "greater than 0"),
        ("ratio=100000", "cannot be met"),
        ("flops=10", "cannot be met"),
        ("params=10", "cannot be met"),
        ("big", "width=W"),
        ("depth=3", "width=W"),
        ("tiers=0-3:16", r"0\.\.4"),
        ("tiers=0-4:16;2:8", r"0\.\.4"),
        ("tiers=0-5:16", r"0\.\.4"),
        ("tiers=a:16", "'a:16'"),
        ("tiers=0-4", "'0-4'"),
        ("tiers=", "''"),
        ("tiers=0-4:0", "from 1 to 1024"),
    ],
)
def test_impossible_sizes_are_refused_by_name(size, names):
    with pytest.raises(BadInput, match=names) as refusal:
        solve(size, SHAPES["gru"], REFERENCE)
    assert f"size = {size!r}" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_refused_budget_says_what_the_smallest_network_has():
    least = layer_cost("gru", 30, 1, 9)
    with pytest.raises(BadInput, match=f"{least.params} parameters"):
        solve("params=10", SHAPES["gru"], REFERENCE)
    with pytest.raises(BadInput, match=f"ratio {REFERENCE / 5 / least.macs:.1f}"):
        solve("ratio=100000", SHAPES["gru"], REFERENCE)


def test_in_an_unequal_team_nobody_is_left_without_a_network():
    shape = Shape("mlp", (100, 10, 40), 5, shares("inputs", "abc", (100, 10, 40)))
    assert shape.widths(32) == (32, 8, 13) and shape.widths(100) == (100, 10, 40) and shape.widths(6) == (6, 6, 6)


def test_tiers_split_by_type_keep_width_and_separate_types():
    types = ("stalker", "stalker", "zealot", "zealot", "zealot")
    assert split(((ALL, 16),), types) == (((0, 1), 16), ((2, 3, 4), 16))
    both = split((((0, 2), 8), ((1, 3, 4), 16)), types)
    assert sorted(both) == [((0,), 8), ((1,), 16), ((2,), 8), ((3, 4), 16)]
    assert split(((ALL, 16),), ("same",) * 5) == ((ALL, 16),)
