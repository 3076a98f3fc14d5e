"""Our environments for users of PettingZoo and Gymnasium."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import tutelage
from helpers import rows
from tutelage import BadInput, make
from tutelage.envs.host.gymnasium import TupleEnv
from tutelage.envs.host.pettingzoo import ParallelWorld
from tutelage.envs.host.world import Settings

with warnings.catch_warnings():  # PettingZoo's tests import its own games in a way that it warns of
    warnings.simplefilter("ignore")
    from pettingzoo.test import max_cycles_test, parallel_api_test, parallel_seed_test
    from pettingzoo.utils import parallel_to_aec

FAMILIES = rows(
    ["mpe/simple_spread", "predator_prey/punish2"],
    ["smax/3m", "fire_commander/easy", "marine/easy", "mpe/simple_speaker_listener", "probe/memory"],
)


@pytest.mark.filterwarnings("ignore")  # of PettingZoo's, on what is unusual
@pytest.mark.parametrize("env_id", FAMILIES)
def test_every_family_passes_pettingzoos_own_tests(env_id):
    parallel_api_test(tutelage.to_pettingzoo(make(env_id)), num_cycles=60)
    parallel_seed_test(lambda: tutelage.to_pettingzoo(make(env_id)), num_cycles=10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("env_id", [name for name in FAMILIES if "probe" not in str(name)])
def test_a_limit_of_steps_is_kept_to(env_id):
    made = lambda max_cycles: tutelage.to_pettingzoo(make(env_id, max_steps=max_cycles))
    max_cycles_test(SimpleNamespace(parallel_env=made, env=lambda max_cycles: parallel_to_aec(made(max_cycles))))


def play(env, steps, seed):
    """What the first agent sees, and the rewards, when everybody takes the first action it may take."""
    seen, _ = env.reset(seed=seed)
    found = []
    for _ in range(steps):
        actions = {name: int(x["action_mask"].argmax()) for name, x in seen.items()}
        seen, reward, terminated, truncated, infos = env.step(actions)
        found.append((seen[env.possible_agents[0]]["observation"].tolist(), *reward.values()))
        if not env.agents:
            return found, terminated, truncated, infos
    return found, {}, {}, {}


def test_an_episode_is_that_of_the_environment_and_ends_as_it_does():
    env = tutelage.to_pettingzoo(make("mpe/simple_spread", max_steps=4))
    first, terminated, truncated, _ = play(env, 10, 5)
    assert len(first) == 4 and all(truncated.values()) and not any(terminated.values())
    again, *_ = play(env, 10, 5)
    other, *_ = play(env, 10, 6)
    assert first == again and first != other
    assert env.state().shape == (make("mpe/simple_spread").spec.state_width,) and env.render().ndim == 3


def test_there_and_back_it_is_a_world_again():
    inner = make("mpe/simple_spread", max_steps=3)
    for world in (
        ParallelWorld(tutelage.to_pettingzoo(inner), "x", "1", Settings()),
        ParallelWorld(TupleEnv(tutelage.to_gymnasium(inner), "x"), "x", "1", Settings(max_steps=3)),
    ):
        assert world.facts.obs_widths == inner.spec.obs_widths and world.facts.action_counts == inner.spec.action_counts
        moment = world.reset(3)
        assert moment.avail.all() and moment.obs.shape == (3, inner.spec.obs_width)
        rewards = [world.step(np.zeros(3, int)) for _ in range(3)]
        assert rewards[-1].truncated and all(np.isfinite(m.reward) for m in rewards)


def test_what_runs_on_the_host_is_theirs_already():
    theirs = SimpleNamespace(on_host=True, spec=make("mpe/simple_spread").spec)
    for convert in (tutelage.to_pettingzoo, tutelage.to_gymnasium):
        with pytest.raises(BadInput, match="runs on the host; use it as it comes"):
            convert(theirs)
