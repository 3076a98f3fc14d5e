"""Environments of jaxmarl's form: `jaxmarl:NAME`, and a user's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tutelage import BadInput, make
from tutelage.experiment.evaluate import evaluate
from tutelage.policies.acting import random_policy, sample

KEY = jax.random.key(0)


def played(env, *joint):
    """The timesteps of joint actions."""
    state, timestep = env.reset(KEY)
    found = [timestep]
    for action in joint:
        state, timestep = env.step(KEY, state, jnp.array(action))
        found.append(timestep)
    return found


def test_rows_are_padded_and_masks_are_its_own():
    first = played(make("jaxmarl_worlds:Counting"))[0]
    assert first.obs.tolist() == [[0, 0], [0, 7]] and first.state.tolist() == [0, 0, 7]
    assert first.avail.tolist() == [[False, True, False], [True, True, True]]


@pytest.mark.parametrize(("reward", "paid"), [("mean", 2.0), ("sum", 4.0), ("b", 3.0)])
def test_the_team_is_paid_as_asked(reward, paid):
    assert float(played(make("jaxmarl_worlds:Counting", reward=reward), (1, 1))[1].reward) == paid


def test_shaping_is_added_and_what_was_earned_without_it_is_told():
    timestep = played(make("jaxmarl_worlds:Counting", shaped=0.5), (1, 1))[1]
    assert float(timestep.reward) == 2.0 + 0.5 * 1.5
    assert {k: float(v) for k, v in timestep.info.items()} == {
        "shaped_reward": 1.5, "level": 1.0, "reward without shaping": 2.0
    }  # fmt: skip
    assert "reward without shaping" not in make("jaxmarl_worlds:Counting").spec.info


def test_an_end_by_itself_is_told_from_one_by_the_limit():
    by_limit = played(make("jaxmarl_worlds:Counting"), *[(1, 1)] * 4)[-1]
    assert by_limit.last and by_limit.discount == 1
    by_itself = played(make("jaxmarl_worlds:Counting"), (1, 1), (1, 2))[-1]
    assert by_itself.last and by_itself.discount == 0


def test_success_is_a_threshold_or_an_info():
    won = lambda success, *joint: bool(played(make("jaxmarl_worlds:Counting", success=success), *joint)[-1].success)
    assert won("return>=4", (1, 1), (1, 1)) and not won("return>=4.5", (1, 1), (1, 1))
    assert make("jaxmarl_worlds:Counting", success="level").spec.measure == "success"
    with pytest.raises(BadInput, match="success = 'won': must be return>=X, or one of level, shaped_reward"):
        make("jaxmarl_worlds:Counting", success="won")


def test_whole_episodes_sum_what_it_tells():
    result = evaluate(make("jaxmarl_worlds:Counting"), random_policy(), episodes=8, act=sample)
    assert result.info.keys() == {"shaped_reward", "level"} and result.length_mean <= 4


def test_an_environment_of_the_package_is_that_of_the_package():
    import jaxmarl

    ours, theirs = make("jaxmarl:switch_riddle"), jaxmarl.make("switch_riddle")
    state, timestep = ours.reset(KEY)
    obs, their_state = theirs.reset(KEY)
    for t in range(3):
        assert np.array_equal(timestep.obs, np.stack([obs[a] for a in theirs.agents]))
        key, action = jax.random.key(t), jnp.array([t % 3, 0, 1])
        state, timestep = ours.step(key, state, action)
        obs, their_state, rewards, _, _ = theirs.step_env(
            key, their_state, {a: action[i] for i, a in enumerate(theirs.agents)}
        )
        assert float(timestep.reward) == np.mean([rewards[a] for a in theirs.agents])


@pytest.mark.parametrize(("name", "options", "message"), [
    ("overcookd", {}, "unknown environment of jaxmarl 'overcookd'; did you mean 'overcooked'"),
    ("overcooked", {"layout": "ring"}, "unknown layout of jaxmarl:overcooked 'ring'; did you mean 'coord_ring'"),
    ("MPE_simple_spread_v3", {"shaped": 1.0}, "shaped = 1.0: jaxmarl:MPE_simple_spread_v3 has no shaped_reward"),
    ("MPE_simple_spread_v3", {"reward": "x"}, "reward = 'x': must be mean, sum, or one of agent_0, agent_1, agent_2"),
    ("storm", {}, "jaxmarl:storm: observations are no dict of"),
])  # fmt: skip
def test_what_is_not_offered_is_one_line(name, options, message):
    with pytest.raises(BadInput, match=message):
        make(f"jaxmarl:{name}", **options)
