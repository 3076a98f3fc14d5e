"""A user's own environment in Python, as `module:factory`: played, drawn, logged; what is wrong with it is one line."""

from __future__ import annotations

import os

import numpy as np
import pytest

import tutelage
from helpers import QUICK
from tutelage import BadInput, Fault, make
from tutelage.envs.host import pool as pools
from tutelage.envs.host.build import Maker
from tutelage.envs.host.world import Settings
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.plan import read_plan
from tutelage.policies.acting import random_policy, sample
from tutelage.report.render import render

TESTS = os.path.dirname(__file__)


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """The processes find this folder's modules."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    yield
    pools.BROKEN_POOLS.clear()


WRONG = [
    ("nobody", "Foragers: possible_agents = \\[\\], must be names, each once, and at least one"),
    ("twins", "Foragers: possible_agents = \\['walker', 'walker'\\], must be names, each once"),
    ("continuous", "action space of 'walker_0' is Box; actions must be Discrete or MultiDiscrete"),
    ("old reset", "Foragers: reset gives a dict, must give \\(observations, infos\\)"),
    ("old step", "step gives a tuple of 4, must give \\(observations, rewards, terminations, truncations, infos\\)"),
    ("shape", "observation of 'carrier' has shape \\(1,\\), must be \\(3,\\)"),
    ("number", "observation of 'walker_0' is 7, must be from 0 to 3"),
    ("stranger", "reset: observations name 'carier'; possible agents are walker_0, walker_1, carrier"),
    ("blind", "reset: 'walker_1' is among its agents and has no observation; must have one"),
    ("no number", "step: reward of 'carrier' is \\[1.0, 2.0\\], must be a number"),
    ("mask", "action_mask of 'carrier' is int64 \\(3,\\), must be 4 of 0 or 1"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[wrong for wrong, _ in WRONG])
def test_what_is_wrong_is_one_line_before_anything_begins(wrong, message):
    with pytest.raises(BadInput, match=message) as raised:
        make("host_worlds:Foragers", wrong=wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("wrong", "message"), [
    ("rewards", "Pair: step gives rewards \\[1.0\\], must be a number, or 2 of them"),
    ("rows", "Pair: gives 3 observations, must give one for each of 2 agents"),
])  # fmt: skip
def test_the_same_of_tuples(wrong, message):
    with pytest.raises(BadInput, match=message):
        make("host_worlds:Pair", wrong=wrong)


def test_what_turns_out_wrong_later_names_field_and_step(tmp_path):
    env = make("host_worlds:Foragers", wrong="not finite")
    with pytest.raises(Fault, match="obs of host_worlds:Foragers is nan in step 2"):
        evaluate(env, random_policy(), episodes=2)


def test_its_options_and_those_of_the_team_are_told_apart():
    env = make("host_worlds:foragers", cells=5, reward="carrier", max_steps=4)
    assert env.spec.max_steps == 4 and env.spec.obs_widths == (2, 2, 3) and env.spec.action_counts == (3, 3, 4)
    with pytest.raises(BadInput, match="host_worlds:foragers: got an unexpected keyword argument 'colour'"):
        make("host_worlds:foragers", colour="red")
    with pytest.raises(BadInput, match="reward = 'cook': must be mean, sum, or one of walker_0, walker_1, carrier"):
        make("host_worlds:foragers", reward="cook")


def test_its_own_quantities_are_summed_over_episodes(tmp_path):
    result = evaluate(make("host_worlds:Foragers"), random_policy(), episodes=20, act=sample)
    assert result.info.keys() == {"berries"} and 0 < result.info["berries"] < 6
    # Everything that is paid comes of a berry, or of standing on one.
    assert result.info["berries"] <= result.return_mean <= result.info["berries"] + 6 * 0.1
    assert "info" not in evaluate(make("probe/value"), random_policy(), episodes=2).as_dict()


def test_it_is_trained_and_tells_of_its_own_quantities(tmp_path):
    settings = dict(steps=64, envs=4, rollout=8, chunk=1, core="mlp", size="width=8", critic_width=8)
    run = tutelage.train("mappo", "host_worlds:Foragers", out=tmp_path / "run", fit=QUICK, **settings)[0]
    assert run.test["info"].keys() == {"berries"} and run.spec.info == ("berries",)
    assert tutelage.load(tmp_path / "run", trust=True).test["info"] == run.test["info"]


def test_pictures_are_of_what_is_played(tmp_path):
    played = render("host_worlds:Pair", tmp_path / "pair.png", policy="random")[0]
    assert [int(frame[0, 0, 0]) for frame in played.frames] == [0, 40, 80, 120] and played.returns[-1] == 4.5
    with pytest.raises(BadInput, match="host_worlds:Foragers: has no render, so it draws no pictures"):
        render("host_worlds:Foragers", tmp_path / "none.png", policy="random")
    assert not (tmp_path / "none.png").exists()


def test_a_plan_gives_its_options(tmp_path):
    row = '[[row]]\nname = "a"\nmethod = "mappo"\nenv = "pettingzoo:host_worlds"\nenv_options = {reward = "sum"}\n'
    row += 'variant = "x"\nseeds = 1\npriority = 1\nminutes = 1\n'
    (tmp_path / "plan.toml").write_text(row)
    assert read_plan(tmp_path / "plan.toml")["a"].env_options == {"reward": "sum"}


def test_a_registered_id_of_pettingzoo_is_looked_up():
    with pytest.raises(BadInput, match="unknown environment of PettingZoo 'sisl/pursui-v5'; did you mean"):
        make("pettingzoo:sisl/pursui-v5")


def test_what_is_no_environment_is_told():
    with pytest.raises(BadInput, match="gives a dict, must be an environment with a `spec`"):
        make("host_worlds:Nothing")
    assert np.isfinite(make("host_worlds:Foragers").spec.reward_scale)


def test_agents_come_back_and_one_without_an_action_does_nothing():
    world = Maker("code", "host_worlds:Guests", (("n", 3),), Settings(reward="sum"))()
    moment, alive = world.reset(0), []
    for _ in range(4):
        alive.append(moment.alive.tolist())
        assert not moment.avail[0].any() and (moment.avail[1:] == moment.alive[1:, None]).all()
        moment = world.step(np.ones(3, int))
    assert alive == [[False, True, True], [True, True, False], [True, False, True], [False, True, True]]


@pytest.mark.parametrize("n", [1, 50])
def test_teams_of_one_and_of_fifty_play(n):
    env = make("host_worlds:Guests", n=n, reward="sum")
    result = evaluate(env, random_policy(), episodes=4, act=sample)
    assert env.spec.n_agents == n and result.length_mean == 6 and (n == 1) == (result.return_mean == 0)
