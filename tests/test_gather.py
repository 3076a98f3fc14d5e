"""Distillation and replay of long episodes: what is asked for is gathered, and advice about memory works."""

from __future__ import annotations

import re
from functools import cache

import jax
import jax.numpy as jnp
import pytest

from helpers import build, run_stage
from tutelage import BadInput, make
from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.collect import settled
from tutelage.methods.kd_marl.components import coverage_notes, rollout_lengths
from tutelage.registry import method_config
from tutelage.types import Frozen


@pytest.mark.parametrize(
    "gather, envs, limit, steps, rollouts",
    [
        (150_000, 256, 180, 180, 3),  # whole episodes, as ever
        (150_000, 256, 256, 256, 2),
        (1, 256, 100, 100, 1),
        (150_000, 256, 5_000, 117, 5),  # 149,760 steps
        (150_000, 16, 5_000, 127, 74),  # 150,368
        (15_000, 256, 100_000, 59, 1),  # 15,104
        (1, 256, 5_000, 1, 1),
    ],
)
def test_as_many_steps_are_gathered_as_were_asked_for(gather, envs, limit, steps, rollouts):
    assert rollout_lengths(KdMarlConfig(gather=gather, envs=envs), limit) == (steps, rollouts)


def test_who_does_not_see_the_end_of_episodes_is_told_what_helps():
    config = KdMarlConfig(gather=150_000, envs=256)
    (note,) = coverage_notes(config, 5_000, 4_000.0)
    assert note == (
        "gather = 150,000 steps in envs = 256 environments are the first 585 of episodes of about 4,000: envs = 37 "
        "reaches their ends"
    )
    assert coverage_notes(KdMarlConfig(gather=150_000, envs=37), 5_000, 4_000.0) == ()
    assert coverage_notes(config, 5_000, 300.0) == coverage_notes(config, 200, 200.0) == ()


def test_memory_that_was_not_the_readers_own_settles():
    first = jnp.zeros((10, 2), bool).at[3, 1].set(True)
    assert settled(first, jnp.zeros(2))[..., 0].T.tolist() == [[False] * 8 + [True] * 2, [False] * 3 + [True] * 7]
    assert bool(settled(first, ()).all())


def teacher(env):
    return Frozen({"teacher": env.scripted()}, {"teacher": ()}, frozenset(), {})


@cache
def gathered(data, core="gru"):
    """The method, and its state after the first stage in a world of long episodes: three rollouts of 100 steps."""
    env = make("worlds:long")
    settings = dict(core=core, size="width=8", envs=2, gather=600, passes=1, batch=2, data=data, beta=0.0)
    method = build("bc", env, teacher(env), **settings)
    return method, run_stage(env, method, longest=3)[0]


def test_sequences_of_a_long_episode_go_on_from_each_other():
    memory = gathered("offline")[1].memory
    assert memory.action.shape == (100, 6, 2)
    assert memory.inputs.first[0].tolist() == [True, True, False, False, False, False]
    assert not bool(memory.inputs.first[1:].any())
    assert memory.alive[:8].all((0, 2)).tolist() == [True, True, False, False, False, False]
    assert bool(memory.alive[8:].all()) and not bool(memory.alive[:8, 2:].any())
    assert memory.carry == ()


def test_students_without_memory_need_no_steps_to_settle():
    assert bool(gathered("offline", "mlp")[1].memory.alive.all())


def test_students_memory_is_kept_where_they_played():
    (carry,) = gathered("dagger")[1].memory.carry
    assert carry.shape == (6, 2, 8)
    assert bool((carry[:2] == 0).all()) and bool((carry[2:] != 0).any((1, 2)).all())


def test_students_learn_a_long_episode():
    method, state = gathered("offline")
    before = state.student.params["net"]
    after, metrics = run_stage(make("worlds:long"), method, 1, state)
    assert float(metrics["ce"][-1]) > 0
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before, after.student.params["net"])
    assert any(jax.tree.leaves(moved))


# ---- advice --------------------------------------------------------------------------------------------------------
def refused(method, world, guide=None, **settings):
    """What is said where it does not fit; None where it does."""
    env = make(world)
    try:
        jax.eval_shape(build(method, env, guide and guide(env), **settings).init, jax.random.key(0))
    except BadInput as error:
        return str(error)
    return None


def advised(said):
    """The settings that a message names behind its semicolon."""
    return {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", said.partition(";")[2])}


KD = dict(core="mlp", size="width=8", passes=1)
OFF = dict(core="gru", size="width=8", chunk=16, burn_in=2, batch=2, warm_up=16)


@pytest.mark.parametrize(
    "method, world, settings, names",
    [
        ("bc", "worlds:fine", dict(KD, gather=100_000, envs=64, memory_gb=1e-3), {"gather"}),
        ("bc", "worlds:fine", dict(KD, gather=1_000, envs=4096, memory_gb=1e-3), {"gather", "envs"}),
        ("bc", "worlds:long", dict(KD, gather=100_000, envs=64, memory_gb=1e-3), {"gather"}),
        ("bc", "worlds:long", dict(KD, gather=1_000, envs=40_960, memory_gb=1e-3), {"gather", "envs"}),
        ("qmix", "worlds:long", dict(OFF, capacity_steps=100_000, memory_gb=1e-3), {"capacity_steps"}),
        ("qmix", "worlds:long", dict(OFF, envs=512, memory_gb=1e-4), {"capacity_steps", "envs"}),
        (
            "vdn",
            "worlds:long",
            dict(OFF, replay="episode", capacity_episodes=500, memory_gb=0.01),
            {"capacity_episodes"},
        ),
        ("vdn", "worlds:long", dict(OFF, replay="episode", batch=500, memory_gb=0.01), {"batch"}),
        ("maddpg", "worlds:long", dict(OFF, chunk=4_096, batch=1, memory_gb=3e-4), {"chunk"}),
    ],
)
def test_what_is_advised_where_memory_is_short_fits(method, world, settings, names):
    guide = teacher if method == "bc" else None
    said = refused(method, world, guide, **settings)
    assert "allowed are memory_gb" in said
    advice = advised(said)
    assert advice.keys() == names, said
    left = refused(method, world, guide, **settings | advice)
    for _ in range(2):  # where two things are too large, each is named in its turn
        if left:
            left = refused(method, world, guide, **settings | advice | (advice := advice | advised(left)))
    assert left is None


def test_an_episode_that_does_not_fit_is_kept_in_pieces_as_advised():
    settings = dict(OFF, replay="episode", memory_gb=1e-4)
    said = refused("vdn", "worlds:long", **settings)
    assert said.endswith("; replay = stream keeps shorter ones")
    assert refused("vdn", "worlds:long", **settings | dict(replay="stream", capacity_steps=256, envs=4)) is None


def test_whole_episodes_of_replay_are_still_kept_where_they_fit():
    assert refused("vdn", "worlds:long", **OFF, replay="episode", capacity_episodes=32, memory_gb=1.0) is None
    assert method_config("vdn").replay == "stream"
