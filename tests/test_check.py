"""`tutelage check`: an environment with one thing wrong has the one finding, a good one has none."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import rows
from tutelage import BadInput, Environment, check, make
from tutelage.cli.main import run_and_flush
from tutelage.data.vector import vmap_env
from tutelage.envs.user_env import UserEnv
from tutelage.experiment.check_findings import findings_of
from tutelage.experiment.check_play import play_env
from tutelage.experiment.check_start import start_warnings
from tutelage.policies.acting import random_policy, sample
from worlds import World

TESTS = str(Path(__file__).parent)


class Changed(World):
    """A world without a controller, whose timesteps are changed by `wrong`."""

    def scripted(self, name="local"):
        raise BadInput("nobody plays here")

    def reset(self, key):
        state, timestep = super().reset(key)
        return state, self.wrong(timestep, state, key)

    def step(self, key, state, action):
        state, timestep = super().step(key, state, action)
        return state, self.wrong(timestep, state, key)

    def sense(self, state):
        return self.blurred(super().sense(state))

    def wrong(self, timestep, state, key):
        return timestep

    def blurred(self, sensed):
        return sensed


def changed(wrong=None, blurred=None, **settings):
    """A world with one function replaced."""
    own = {name: staticmethod(f) for name, f in (("wrong", wrong), ("blurred", blurred)) if f}
    return type("Own", (Changed,), own)(**settings)


class Batched(Changed):
    """A world with a VectorEnv of its own, whose later timesteps are changed by `later`."""

    def vector(self, n):
        plain = vmap_env(World(), n)

        def step(*args):
            state, timestep = plain.step(*args)
            return state, self.later(timestep)

        return plain._replace(step=step)


def batched(later):
    return type("Own", (Batched,), {"later": lambda self, timestep: later(timestep)})()


class Still(Changed):
    """Begins the same, whatever the seed."""

    def reset(self, key):
        return super().reset(jax.random.key(0))


class Auto(Changed):
    """Begins anew by itself in the last step."""

    def step(self, key, state, action):
        state, timestep = super().step(key, state, action)
        begun = World.reset(self, key)[0]
        state = jax.tree.map(lambda new, old: jnp.where(timestep.last, new, old), begun, state)
        return state, timestep._replace(**self.sense(state)._replace(links=())._asdict())


class Baked(Changed):
    """Draws with NumPy while it is compiled."""

    def step(self, key, state, action):
        state, timestep = super().step(key, state, action)
        return state, timestep._replace(reward=timestep.reward + np.float32(DRAWN.random()))


DRAWN = np.random.default_rng()
COUNTER = itertools.count()


def counted(timestep, state, key):
    """A reward that counts calls."""
    extra = jax.pure_callback(lambda t: np.float32(next(COUNTER) % 7), jax.ShapeDtypeStruct((), jnp.float32), state.t,
                              vmap_method="sequential")  # fmt: skip
    return timestep._replace(reward=jnp.where(timestep.first, 0.0, timestep.reward + extra))


def stretched(timestep):
    return timestep._replace(state=timestep.state.at[:, 6].add(jnp.where(timestep.first, 5.0, 0.0)))


def without(agent, action):
    return lambda sensed: sensed._replace(avail=sensed.avail.at[agent, action].set(False))


ONE_WRONG = {
    "nan": (World(bad="reward"), "fault", "reward of me is nan in step 2 of an episode; must be finite"),
    "discount": (World(bad="discount", value=1.5), "fault", "discount of me is out of range in step 2 of an episode"),
    "endless": (World(steps=10**6, limit=5), "fault", "last of me is still false at spec.max_steps in step 5"),
    "action": (changed(lambda t, s, k: t._replace(action=(t.action + 1) % 3)), "fault", "action is another than"),
    "paid": (changed(lambda t, s, k: t._replace(reward=t.reward + 1)), "fault", "reward is 1 on a first step; must"),
    "limit": (changed(lambda t, s, k: t._replace(discount=t.discount * 0 + 1)), "fault", "discount is 1 where max_st"),
    "early": (changed(lambda t, s, k: t._replace(discount=t.discount * 0)), "warning", "discount is not 1 on"),
    "order": (batched(lambda t: t._replace(first=t.first & False)), "fault", "first is false on"),
    "leak": (batched(stretched), "fault", "state column 6 is 5 to 5; after a reset 0 to 0"),
    "auto": (Auto(), "warning", "last steps look like a reset: state column 6 is 0 to 0, the step before"),
    "baked": (Baked(), "fault", "step: another program each time it is compiled"),
    "unlike": (changed(counted), "fault", "reward: other values when the same seed is played again; must be the same"),
    "still": (Still(), "advice", "every episode begins the same, whatever the seed"),
    "raw": (World(scale=1e4), "warning", "columns 0, 1, 2: up to 1e+04"),
    "blind": (World(scale=0.0), "warning", "nothing but zeros was observed by all agents"),
    "idle": (changed(blurred=without(1, slice(None))), "warning", "agent 1 never had an available action"),
    "masked": (changed(blurred=without(0, 2)), "advice", "never available: action 2 of agent 0"),
    "unpaid": (changed(lambda t, s, k: t._replace(reward=t.reward * 0)), "warning", "reward was 0 in all"),
    "large": (changed(lambda t, s, k: t._replace(reward=t.reward * 1e4)), "advice", "spec.reward_scale is 1; 0.0003"),
    "lost": (changed(lambda t, s, k: t._replace(success=t.success & False)), "advice", "random play never succeeded"),
}  # fmt: skip


FEW = ["nan", "endless", "leak", "auto", "baked", "unlike"]


@pytest.mark.parametrize("what", rows(FEW, sorted(ONE_WRONG.keys() - set(FEW))))
def test_one_wrong_thing_is_one_finding(what):
    world, level, text = ONE_WRONG[what]
    found = check(UserEnv("me", world))
    assert [x for x in found.findings if x.level == level and text in x.text], found.findings
    serious = [x for x in found.findings if x.level in ("fault", "warning")]
    # Where first is wrong, ages and what is done at an episode's end are wrong as well.
    assert len(serious) == (3 if what == "order" else level != "advice"), serious


def test_a_good_one_has_no_fault_and_its_card_has_all():
    found = check("probe/memory", seed=3)
    assert not [x for x in found.findings if x.level in ("fault", "warning")]
    assert found.random.episodes == found.scripted.episodes == 64 and found.scripted.success_rate == 1
    assert found.random.length_mean == 3 and found.steps_per_second > 0 and found.envs == 32
    assert found.columns["obs"]["min"] == [[-1], [-1]] and found.available == [[1.0] * 3] * 2
    again = check("probe/memory", seed=3)
    assert again.findings == found.findings and again.random == found.random


@pytest.fixture(scope="module")
def seen():
    """A good play, to be spoilt."""
    from tutelage.experiment.check_play import Seen

    env = make("probe/memory")
    return Seen("me", env.spec, play_env(env, "me", random_policy(), sample, 64, 0), None, ())


def told(seen, **flow):
    """Findings with fields of the play replaced."""
    random = seen.random._replace(flow=seen.random.flow._replace(**flow))
    return {x.text for x in findings_of(seen._replace(random=random)) if x.level in ("fault", "warning")}


def test_what_is_wrong_with_the_order_of_steps_is_told(seen):
    flow = seen.random.flow
    assert told(seen) == set()
    assert "first is false after a reset; must be true" in told(seen, first=flow.first & False)
    extra = flow.first.copy()
    extra[1, 0] = True
    assert told(seen, first=extra) == {"first is true on 1 steps that follow no last one; must be false"}


def test_dead_agents_observe_zeros_after_the_step_of_their_death(seen):
    alive = seen.random.flow.alive.copy()
    alive[2, 0, 1], blind = False, seen.random.flow.blind & False
    assert told(seen, alive=alive, blind=blind) == set()
    alive[3, 0, 1] = False
    (line,) = told(seen, alive=alive, blind=blind)
    assert line == "obs: rows of dead agents are not zeros, 1 times; must be zeros"


def test_a_training_begins_with_two_lines_at_most():
    idle = changed(blurred=without(1, slice(None)))
    said = start_warnings(UserEnv("me", idle))
    assert said == ("warning: avail: agent 1 never had an available action; must have one at some time "
                    "(more: tutelage check me)",)  # fmt: skip
    both = changed(lambda t, s, k: t._replace(reward=t.reward + 1), without(1, slice(None)), scale=1e4)
    assert len(start_warnings(UserEnv("me", both))) == 2


def test_options_go_with_a_name_only():
    with pytest.raises(BadInput, match="options noise: only used where the environment is given by its name"):
        check(UserEnv("me", World()), noise=0.1)
    with pytest.raises(BadInput, match="episodes = 0: must be at least 1"):
        check("probe/value", 0)
    assert isinstance(UserEnv("me", World()), Environment)


# ---- the command -----------------------------------------------------------------------------------------------------
def test_the_command_prints_a_card_and_json(capsys):
    assert run_and_flush(["check", "probe/memory", "--episodes", "8"]) == 0
    out = capsys.readouterr().out
    assert "scripted" in out and "steps per second" in out and "fine    determinism" in out
    assert run_and_flush(["check", "probe/memory", "--episodes", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == 0 and found["random"]["episodes"] == 8 and found["facts"]["n_agents"] == 2
    assert {x["about"] for x in found["findings"]} >= {"values", "masks", "ends", "determinism", "reward", "success"}


def test_a_fault_is_exit_code_1(capsys):
    assert run_and_flush(["check", "worlds:nan_obs", "--episodes", "8", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == 1 and found["findings"][0]["level"] == "fault"


def test_environments_of_other_packages_with_options_of_their_own(capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setattr(sys, "path", [TESTS, *sys.path])
    words = ["check", "pettingzoo:host_worlds", "--env.reward", "sum", "--env.workers", "1", "--episodes", "32"]
    assert run_and_flush([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scripted"] is None and found["random"]["length_mean"] == 4
    assert any("never available: action 0 of agent 1" in x["text"] for x in found["findings"])
