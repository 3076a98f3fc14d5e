"""Environments of other packages: their spaces, their agents, and the processes that play them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import tutelage
from helpers import QUICK
from tutelage import BadInput, Fault, make
from tutelage.cli.main import run_and_flush
from tutelage.data.collect import CollectorState
from tutelage.data.vector import make_vector_env
from tutelage.envs.host import pool as pools
from tutelage.envs.host.build import Maker
from tutelage.envs.host.pettingzoo import ParallelWorld
from tutelage.envs.host.spaces import flatten, numbered
from tutelage.envs.host.worker import episode_seed
from tutelage.envs.host.world import Settings
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.fork import forks
from tutelage.experiment.train_run import with_ended_episodes
from tutelage.policies.acting import random_policy, sample

TESTS = str(Path(__file__).parent)


# ---- spaces ----------------------------------------------------------------------------------------------------------
def row_of(space, value):
    flat = flatten(space, "", "space")
    row = np.full(flat.width, np.nan, np.float32)
    flat.write(value, row)
    assert len(flat.names) == flat.width
    return row.tolist()


def test_every_kind_of_space_becomes_a_row():
    pixels = spaces.Box(0, 255, (2, 2), np.uint8)
    assert row_of(pixels, np.array([[0, 51], [255, 102]])) == pytest.approx([0, 0.2, 1, 0.4])
    assert row_of(spaces.Box(-1, 1, (2,), np.float64), np.array([0.5, -1])) == [0.5, -1]
    assert row_of(spaces.Discrete(3, start=5), 6) == [0, 1, 0]
    assert row_of(spaces.MultiDiscrete([2, 3]), np.array([1, 2])) == [0, 1, 0, 0, 1]
    assert row_of(spaces.MultiBinary(3), np.array([1, 0, 1])) == [1, 0, 1]
    both = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 9, (1,))))})
    assert row_of(both, {"a": 0, "b": (1, np.array([3.0]))}) == [1, 0, 0, 1, 3]


def test_actions_are_numbered():
    assert numbered(spaces.Discrete(3, start=2), "x").action(1) == 3
    both = numbered(spaces.MultiDiscrete([2, 3]), "x")
    assert both.count == 6 and [both.action(i).tolist() for i in (0, 2, 3, 5)] == [[0, 0], [0, 2], [1, 0], [1, 2]]


@pytest.mark.parametrize(("space", "message"), [
    (spaces.Box(-1, 1, (2,)), "action space of a is Box; actions must be Discrete or MultiDiscrete"),
    (spaces.MultiDiscrete([100, 100]), "10000 joint choices; at most 4096 are allowed"),
])  # fmt: skip
def test_actions_that_cannot_be_numbered_are_refused(space, message):
    with pytest.raises(BadInput, match=message):
        numbered(space, "action space of a")


# ---- agents ----------------------------------------------------------------------------------------------------------
def crew(**settings):
    from host_worlds import Crew

    return ParallelWorld(Crew(), "crew", "1", Settings(**settings))


def test_unequal_agents_are_padded_and_those_that_leave_do_nothing():
    world = crew(reward="sum")
    assert (world.facts.obs_widths, world.facts.action_counts, world.facts.max_steps) == ((2, 2, 3), (3, 4, 3), 10)
    moment = world.reset(1005)
    assert moment.obs.tolist() == [[0, 5, 0], [0, 5, 0], [0, 5, 7]] and moment.state.tolist() == [0, 5, 0, 5, 0, 5, 7]
    assert moment.avail.tolist() == [[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0]]
    moment = world.step(np.array([2, 3, 1]))
    assert moment.reward == 6 and moment.alive.all()
    moment = world.step(np.array([2, 3, 1]))  # agent a leaves
    assert moment.alive.tolist() == [False, True, True] and not moment.avail[0].any() and not moment.terminated
    moment = world.step(np.array([0, 3, 1]))  # what a does is ignored
    assert moment.reward == 4 and moment.alive.tolist() == [False, False, True]
    moment = world.step(np.array([0, 0, 2]))
    assert moment.reward == 2 and moment.terminated and not moment.truncated and not moment.success


def test_settings_say_what_the_team_is_paid_and_when_it_succeeds():
    def last(world, actions=(1, 1, 1)):
        world.reset(0)
        for _ in range(world.facts.max_steps):
            moment = world.step(np.array(actions))
            if moment.terminated or moment.truncated:
                return moment
        return None

    assert crew().step is not None and last(crew()).reward == 1.0  # the mean of those that are left
    assert last(crew(reward="c"), (2, 2, 1)).reward == 1.0
    assert last(crew(success="done_well")).success and crew(success="done_well").facts.measure == "success"
    assert last(crew(success="return>=4")).success and not last(crew(success="return >= 4.5")).success
    cut = last(crew(max_steps=2))
    assert cut.truncated and not cut.terminated
    with pytest.raises(BadInput, match="reward = 'd': must be mean, sum, or one of a, b, c"):
        crew(reward="d")
    with pytest.raises(BadInput, match="success = 'return>=much': must be an info key, or return>=X"):
        crew(success="return>=much")


# ---- processes -------------------------------------------------------------------------------------------------------
@pytest.fixture
def found(monkeypatch):
    """The processes find this folder's modules."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    yield
    pools.BROKEN_POOLS.clear()


def test_instances_have_seeds_and_episodes_of_their_own(found):
    vector = make_vector_env(make("pettingzoo:host_worlds", workers=2), 3)
    key = jax.random.key(0)
    state, first = jax.jit(vector.reset)(key)
    base = int(jax.random.bits(key, (1,), jnp.uint32)[0])
    assert first.first.all() and first.obs[:, 0, 1].tolist() == [episode_seed(base, i, 0) % 1000 for i in range(3)]
    step, at = jax.jit(vector.step), first
    lengths = []
    for _ in range(6):
        state, at = step(key, state, at, jnp.ones((3, 3), jnp.int32))
        lengths.append((at.first.tolist()[0], at.last.tolist()[0], float(at.discount[0])))
    assert lengths[3] == (False, True, 0.0) and lengths[4] == (True, False, 1.0)  # the step after the last is the first
    assert at.obs[:, 0, 1].tolist() == [episode_seed(base, i, 1) % 1000 for i in range(3)]
    assert at.reward.tolist() == [1.0] * 3 and jnp.array_equal(vector.sense(vector.pack(state)).obs, at.obs)


def test_what_is_taken_up_again_begins_new_episodes(found):
    key, action = jax.random.key(0), jnp.ones((2, 3), jnp.int32)
    before, after = (make_vector_env(make("pettingzoo:host_worlds", workers=1), 2) for _ in range(2))
    state, at = before.step(key, *before.reset(key), action)
    loop = SimpleNamespace(collectors={"": CollectorState(state, at, ())})
    loop._replace = lambda collectors: SimpleNamespace(collectors=collectors)
    status = SimpleNamespace(loop=loop, _replace=lambda loop: SimpleNamespace(loop=loop))
    kept = with_ended_episodes(status).loop.collectors[""].timestep
    assert kept.last.all() and (kept.discount == 1).all()  # cut off, not ended
    following = after.step(key, state, kept, action)[1]
    assert following.first.all() and (following.obs[:, 0, 0] == 0).all()


def test_the_same_seed_gives_the_same_episodes(found):
    results = [evaluate(make("pettingzoo:host_worlds", workers=w), random_policy(), (), 8, 3, sample) for w in (1, 2)]
    assert results[0] == results[1] and results[0].length_mean == 4


@pytest.mark.parametrize(("fails", "message"), [
    ("raises", r"pettingzoo:host_worlds: raised RuntimeError: the crew is on strike \(the traceback is in (.*)\)"),
    ("dies", "pettingzoo:host_worlds: process 0 that plays it died"),
    ("hangs", "pettingzoo:host_worlds: it did not answer within 2 seconds"),
])  # fmt: skip
def test_a_process_that_fails_ends_in_one_line(found, monkeypatch, fails, message):
    monkeypatch.setattr(pools, "TIMEOUT", 2.0 if fails == "hangs" else 60.0)
    env = make("pettingzoo:host_worlds", fails=fails, workers=1)
    if fails == "hangs":  # starting takes longer than the steps do
        monkeypatch.setattr(pools.Pool, "_start", patient(pools.Pool._start, monkeypatch))
    with pytest.raises(Fault, match=message) as fault:
        evaluate(env, random_policy(), (), 2, 0, sample)
    if fails == "raises":
        file = Path(str(fault.value).partition("is in ")[2].rstrip(")"))
        assert "host_worlds.py" in file.read_text()
        file.unlink()


def patient(start, monkeypatch):
    def slowly(self):
        monkeypatch.setattr(pools, "TIMEOUT", 60.0)
        start(self)
        monkeypatch.setattr(pools, "TIMEOUT", 2.0)

    return slowly


def test_no_process_is_left_behind_when_the_parent_is_killed(found, tmp_path):
    script = tmp_path / "script.py"  # without `if __name__ == "__main__"`
    script.write_text("""
import time, jax, tutelage
from tutelage.data.collect import CollectorState
from tutelage.data.vector import make_vector_env
vector = make_vector_env(tutelage.make("pettingzoo:host_worlds", workers=2), 2)
vector.reset(jax.random.key(0))
print("ready", flush=True)
time.sleep(60)
""")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        children = lambda: subprocess.run(
            ["pgrep", "-P", str(parent.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        workers = children()
        assert len(workers) >= 2
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.1)
    assert not [worker for worker in workers if Path(f"/proc/{worker}/cmdline").exists()]


def test_a_team_is_trained_and_opened(found, tmp_path):
    settings = {"core": "mlp", "size": "width=8", "critic_width": 8, "envs": 4, "rollout": 8, "chunk": 1, "steps": 512}
    (run,) = tutelage.train(
        "mappo", "pettingzoo:host_worlds", out=tmp_path / "run", fit=QUICK, quiet=True,
        env_options={"success": "done_well", "workers": 1}, **settings,
    )  # fmt: skip
    assert run.test["success_rate"] == 1.0 and run.spec.obs_widths == (2, 2, 3)
    assert run.record["env_options"] == {"success": "done_well", "workers": 1}
    loaded = tutelage.load(tmp_path / "run", trust=True)
    assert evaluate(loaded.env, loaded.policy(), loaded.params(), 4).length_mean == 4
    with pytest.raises(BadInput, match="fork: this environment runs on the host"):
        forks(loaded.env, (loaded.policy(), loaded.params()), (loaded.policy(), loaded.params()))
    with pytest.raises(BadInput, match="together = True: pettingzoo:host_worlds runs on the host"):
        tutelage.train("mappo", "pettingzoo:host_worlds", out=tmp_path / "two", seeds=2, together=True, **settings)


@pytest.mark.parametrize(("env_id", "message"), [
    ("pettingzoo:no_such", "pettingzoo:no_such: cannot import no_such: pip install no_such"),
    ("pettingzoo:json", "pettingzoo:json: json has no parallel_env and no env"),
])  # fmt: skip
def test_what_cannot_be_imported_is_named(env_id, message):
    with pytest.raises(BadInput, match=message):
        make(env_id)


@pytest.mark.parametrize("env_id", ["pettingzoo:mpe2.simple_spread_v3", "gymnasium:lbforaging:Foraging-8x8-2p-3f-v3"])
def test_packages_of_others_play(env_id):
    maker = Maker(*env_id.split(":", 1), (), Settings())
    world = maker()
    moment = world.reset(0)
    assert np.isfinite(moment.obs).all() and moment.avail.all() and moment.alive.all()
    for _ in range(world.facts.max_steps):
        moment = world.step(np.zeros(len(world.facts.agents), int))
        if moment.truncated or moment.terminated:
            break
    assert moment.truncated or moment.terminated
    assert world.facts.max_steps in (25, 50)


def test_options_are_given_on_the_command_line(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--steps", "64", "--envs", "4", "--rollout", "8", "--core", "mlp", "--chunk", "1", "--size", "width=8"]
    words += ["--env.success", "return>=4", "--env.max-steps", "3", "--env.workers", "1", "--test-episodes", "4"]
    words += ["--evaluations", "1", "--eval-episodes", "4", "--quiet", "--out", "run"]
    assert run_and_flush(["train", "mappo", "pettingzoo:host_worlds", *words]) == 0
    run = tutelage.load(tmp_path / "run", trust=True)
    assert run.record["env_options"] == {"success": "return>=4", "max_steps": 3, "workers": 1}
    assert run.spec.max_steps == 3 and run.test["length_mean"] == 3
    with pytest.raises(BadInput, match="pettingzoo:host_worlds"):
        run_and_flush(["train", "mappo", "pettingzoo:host_worlds", "--env.colour", "red", "--out", "other"])
    assert not (tmp_path / "other").exists()
