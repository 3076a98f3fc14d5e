"""Values of a user's world and teachers are looked at in every step: what is wrong is told by field, name and step."""

from __future__ import annotations

import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, make_spec, make_steps, rows
from tutelage import BadInput, evaluate, make
from tutelage.cli.main import exit_code as command
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import fault_codes, raise_first_fault, watch_timestep
from tutelage.envs.user_env import UserEnv
from tutelage.errors import NonFinite
from tutelage.experiment.check_start import start_warnings
from tutelage.experiment.find_teacher import find_teacher
from tutelage.experiment.fork import forks
from tutelage.experiment.job import Job
from tutelage.experiment.nonfinite import first_bad_metric
from tutelage.experiment.sinks import Display
from tutelage.experiment.teachers import callable_teacher
from tutelage.experiment.user_code import checked_policy, checked_team
from tutelage.policies.acting import random_policy, sample
from tutelage.registry import method_config
from tutelage.report.render import render
from tutelage.types import Frozen, Out, Policy
from worlds import World, pressed

NAN = float("nan")
FAULTS = {
    "nan_reward": "reward of worlds:nan_reward is nan in step 2 of an episode",
    "nan_obs": "obs of worlds:nan_obs is nan in step 2 of an episode",
    "inf_state": "state of worlds:inf_state is infinite in step 2 of an episode",
    "late_discount": "discount of worlds:late_discount is out of range in step 2 of an episode",
    "strange_action": "action of worlds:strange_action is out of range in step 2 of an episode",
    "endless": "last of worlds:endless is still false at spec.max_steps in step 5 of an episode",
}


@pytest.mark.parametrize(
    "world", rows(["nan_reward", "nan_obs", "endless"], ["inf_state", "late_discount", "strange_action"])
)
def test_an_evaluation_names_what_is_wrong(world):
    with pytest.raises(NonFinite) as caught:
        evaluate(make(f"worlds:{world}"), random_policy(), (), 4, 0, sample)
    assert str(caught.value) == FAULTS[world]


def test_what_a_dead_agent_senses_is_not_looked_at():
    assert evaluate(make("worlds:dead"), random_policy(), (), 4, 0, sample).length_mean == 4


def test_a_world_that_plays_many_instances_by_itself_is_looked_at_too():
    with pytest.raises(NonFinite, match=r"^reward of worlds:wide_nan is nan in step 2 of an episode$"):
        evaluate(make("worlds:wide_nan"), random_policy(), (), 4, 0, sample)
    vector = make_vector_env(make("worlds:wide_dead"), 3)

    @jax.jit
    def go():
        state, timestep = vector.reset(jax.random.key(0))
        state, after = vector.step(jax.random.key(1), state, timestep, timestep.action)
        return after, vector.sense(vector.pack(state))

    after, sensed = jax.device_get(go())
    assert (after.obs[:, 1] == 0).all() and (sensed.obs[:, 1] == 0).all()
    assert after.watch.age.tolist() == [1, 1, 1]


@pytest.mark.parametrize("together", rows([False], [True]))
def test_training_names_what_is_wrong_before_a_loss_is_blamed(tmp_path, together):
    seeds = dict(seeds=2, together=True) if together else {}
    with pytest.raises(NonFinite) as caught:
        tutelage.train("mappo", "worlds:nan_reward", out=tmp_path / "run", quiet=True, fit=QUICK, **TINY, **seeds)
    said = f"{FAULTS['nan_reward']}, in update 1 of stage train"
    assert str(caught.value) == (f"seed 1 of 2: {said}; seed 2 of 2: {said}" if together else said)


def test_a_picture_names_what_is_wrong(tmp_path):
    with pytest.raises(NonFinite) as caught:
        render("worlds:nan_reward", tmp_path / "a.png", "random")
    assert str(caught.value) == FAULTS["nan_reward"] and not (tmp_path / "a.png").exists()


def test_an_episode_without_an_end_is_not_drawn_for_ever(tmp_path):
    with pytest.raises(NonFinite) as caught:
        render("worlds:endless", tmp_path / "a.png", "random")
    assert str(caught.value) == FAULTS["endless"]


@pytest.mark.parametrize("world", rows(["nan_reward"], ["inf_state"]))
def test_a_fork_names_what_is_wrong(world):
    pair = random_policy(), ()
    with pytest.raises(NonFinite) as caught:
        forks(make(f"worlds:{world}"), pair, pair, 4, 1, act=sample)
    assert str(caught.value) == FAULTS[world]


def test_a_teacher_on_a_world_that_is_wrong_is_refused_by_what_is_wrong():
    with pytest.raises(BadInput) as caught:
        find_teacher("worlds:good", "worlds:nan_reward", make("worlds:nan_reward"), {})
    assert str(caught.value) == f"teacher 'worlds:good' on worlds:nan_reward: {FAULTS['nan_reward']}"


def test_the_command_line_ends_in_one_line(capsys):
    assert command(["eval", "worlds:nan_reward", "--policy", "random", "--episodes", "4", "--json"]) == 1
    message = capsys.readouterr()
    assert message.out == "" and message.err == f"tutelage: {FAULTS['nan_reward']}\n"


def test_environments_of_the_package_are_not_looked_at():
    assert make("probe/action").reset(jax.random.key(0))[1].watch == ()
    assert make("probe/action").watched is None


@pytest.mark.parametrize(
    "field, value, says",
    [
        ("reward", float("-inf"), "reward of me is infinite in step 7 of an episode"),
        ("discount", -0.1, "discount of me is out of range in step 7 of an episode"),
        ("action", -1, "action of me is out of range in step 7 of an episode"),
    ],
)
def test_one_bad_number_among_many_is_found(field, value, says):
    timesteps, age = make_steps(make_spec(max_steps=9), (5,)), jnp.full(5, 7)
    with pytest.raises(NonFinite, match=says):
        at = (3, 0) if field == "action" else 3
        bad = timesteps._replace(**{field: getattr(timesteps, field).at[at].set(value)})
        raise_first_fault(fault_codes(watch_timestep("me", make_spec(max_steps=9), bad, age)))
    raise_first_fault(fault_codes(watch_timestep("me", make_spec(max_steps=9), timesteps, age)))


@pytest.mark.parametrize(
    "age, when", [(-1, ""), (0, " in step 0 of an episode"), (3_000_001, " after step 2000000 of an")]
)
def test_a_fault_says_when_it_was(age, when):
    bad = make_steps(make_spec(max_steps=2**30), (1,))._replace(reward=jnp.array([NAN]))
    with pytest.raises(NonFinite, match=f"^reward of me is nan{when}"):
        raise_first_fault(fault_codes(watch_timestep("me", make_spec(max_steps=2**30), bad, jnp.array([age]))))


def test_an_episode_that_is_over_before_it_began_is_found():
    timesteps = make_steps(make_spec(), (1,))._replace(first=jnp.ones(1, bool), last=jnp.ones(1, bool))
    with pytest.raises(NonFinite, match=r"^last of me is true at once in step 0 of an episode$"):
        raise_first_fault(fault_codes(watch_timestep("me", make_spec(), timesteps, jnp.zeros(1, int))))


# ---- which of many is blamed ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rows, blamed",
    [
        ({"approx_kl": [0, NAN], "policy": [0, NAN], "reward": [1, NAN]}, (1, "reward became nan")),
        ({"approx_kl": [0, NAN], "policy": [0, NAN], "target": [1, NAN]}, (1, "target became nan")),
        ({"approx_kl": [0, NAN], "policy": [0, NAN], "reward": [1, 1]}, (1, "policy became nan")),
        ({"approx_kl": [NAN, NAN], "policy": [0, NAN]}, (0, "approx_kl became nan")),
        ({"policy": [0, NAN], "?obs of me": [0, 9.0]}, (1, "obs of me is nan in step 0 of an episode,")),
        ({"policy": [0, float("inf")], "?obs of me": [0, 0]}, (1, "policy became inf")),
        ({"policy": [0, 1]}, None),
    ],
)
def test_what_comes_first_and_causes_the_rest_is_blamed(rows, blamed):
    assert first_bad_metric({name: np.array(values) for name, values in rows.items()}) == blamed


# ---- size ----------------------------------------------------------------------------------------------------------
ABOUT = "networks learn from numbers of about 1: divide each by its usual size, or train with --normalise"


@pytest.mark.parametrize(
    "world, says",
    [
        (World(), ()),
        (World(scale=1e4), (f"warning: obs of me reaches 1e+04 (column 0); {ABOUT}",)),
        (World(scale=1e-4), (f"warning: obs of me is at most 0.0001 (column 0); {ABOUT}",)),
        (World(bad="state", value=500.0), (f"warning: state of me reaches 500 (column 0); {ABOUT}",)),
        (World(bad="obs"), ()),
    ],
)
def test_what_is_far_from_unit_size_is_told(world, says):
    assert start_warnings(UserEnv("me", world)) == says


def test_a_training_begins_with_it(tmp_path, capsys):
    job = Job("mappo", "worlds:raw", {}, asdict(method_config("mappo", **TINY)), asdict(QUICK), 0, 1, None, {})
    job.make(None, Display())
    assert capsys.readouterr().err == f"warning: obs of worlds:raw reaches 1e+04 (column 0); {ABOUT}\n"


def test_environments_of_the_package_are_not_measured():
    assert start_warnings(make("probe/action")) == ()


# ---- teachers ------------------------------------------------------------------------------------------------------
MUST = "must give whole numbers from 0 to 2 of shape (environments, agents = 2), here (3, 2)"


@pytest.mark.parametrize(
    "name, gives",
    [
        ("transposed", "int32 (2, 3)"),
        ("flat", "int32 (6,)"),
        ("shared", "int32 (3,)"),
        ("floats", "float32 (3, 2)"),
        ("nothing", "None"),
        ("pairs", "a tuple"),
        ("scores", "float32 (3, 2, 3)"),
    ],
)
def test_a_teacher_that_gives_something_else_is_refused_at_once(name, gives):
    with pytest.raises(BadInput) as caught:
        callable_teacher(f"worlds:{name}", make("worlds:fine"))
    assert str(caught.value) == f"teacher 'worlds:{name}': gives {gives}, {MUST}"


@pytest.mark.parametrize("name", ["beyond", "negative"])
def test_a_teacher_whose_actions_do_not_exist_is_refused(name):
    with pytest.raises(BadInput) as caught:
        find_teacher(f"worlds:{name}", "worlds:fine", make("worlds:fine"), {})
    message = f"an action of teacher 'worlds:{name}' (allowed: 0 to 2) is out of range in step 0 of an episode"
    assert str(caught.value) == f"teacher 'worlds:{name}' on worlds:fine: {message}"


def test_on_an_environment_of_the_package_the_step_is_not_counted():
    with pytest.raises(BadInput, match=r"\(allowed: 0 to 2\) is out of range$"):
        find_teacher("worlds:beyond", "probe/action", make("probe/action"), {})


def test_an_action_that_does_not_exist_is_never_taken():
    env = make("worlds:fine")
    policy = callable_teacher("worlds:beyond", env).roles["teacher"]
    timesteps = make_steps(make_spec(2, 3, 3), (4,))
    out = policy.step((), (), timesteps, jax.random.key(0))[1]
    assert out.scores.argmax(-1).max() < 3
    (wrong,) = out.watch.wrong.values()
    assert wrong.tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(("data", "stage"), rows([("offline", "gather")], [("dagger", "dagger")]))
def test_training_names_a_teacher_that_goes_wrong_later(tmp_path, monkeypatch, data, stage):
    monkeypatch.setattr("tutelage.experiment.find_teacher.evaluate", lambda *given: tutelage.Evaluation(*no_faults()))
    with pytest.raises(NonFinite) as caught:
        tutelage.train(
            "bc", "worlds:fine", teacher="worlds:beyond", out=tmp_path / "run", quiet=True, fit=QUICK,
            core="mlp", size="width=8", envs=4, gather=16, passes=1, data=data,
        )  # fmt: skip
    message = "an action of teacher 'worlds:beyond' (allowed: 0 to 2) is out of range in step 0 of an episode"
    assert str(caught.value) == f"{message}, in update 1 of stage {stage}"


def no_faults():
    return 4, 1.0, (0.5, 1.0), 1.0, (1.0, 1.0), 4.0


def team(step, carry=lambda n: ()):
    """A user's Frozen whose teacher takes such steps."""
    return Frozen({"teacher": Policy(lambda key: (), carry, step)}, {"teacher": ()}, frozenset({"logits"}), {})


def test_a_team_of_the_users_may_mask_by_minus_infinity():
    env = make("worlds:fine")
    seen = checked_team("mine", team(lambda params, carry, ts, key: (carry, Out(pressed(ts)))), env)
    assert evaluate(env, seen.roles["teacher"], (), 8).return_mean == 4


@pytest.mark.parametrize(
    "score, says",
    [
        (lambda ts: jnp.full(ts.avail.shape, NAN), "a score of mine (teacher) is nan in step 0 of an episode"),
        (lambda ts: pressed(ts).at[0].set(jnp.inf), "a score of mine (teacher) is infinite in step 0 of an episode"),
    ],
)
def test_scores_of_a_team_of_the_users_are_looked_at(score, says):
    env = make("worlds:fine")
    seen = checked_team("mine", team(lambda params, carry, ts, key: (carry, Out(score(ts)))), env)
    with pytest.raises(NonFinite) as caught:
        evaluate(env, seen.roles["teacher"], (), 8)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    "made, says",
    [
        (
            team(lambda p, c, ts, k: (c, Out(pressed(ts)[..., :2]))),
            r"gives float32 \(3, 2, 2\), must give float scores",
        ),
        (team(lambda p, c, ts, k: (c, Out(ts.action))), r"gives int32 \(3, 2\), must give float scores of shape"),
        (team(lambda p, c, ts, k: Out(pressed(ts))), "step gives a Out, must give"),
        (team(lambda p, c, ts, k: (c + 1.5, Out(pressed(ts))), lambda n: jnp.zeros(n, int)), "its memory is int32 .*f"),
        (team(None)._replace(roles={"boss": 1}), "roles and params must be dicts with a 'teacher' or a 'student'"),
        (team(None)._replace(params={}), "params of teacher are missing"),
        (team(None)._replace(provides={"sense"}), r"provides \['sense'\], allowed are critic, features, logits"),
    ],
)
def test_a_team_of_the_users_that_does_not_fit_is_refused(made, says):
    with pytest.raises(BadInput, match=f"^mine.*{says}"):
        checked_team("mine", made, make("worlds:fine"))


def test_a_controller_of_the_users_environment_is_looked_at():
    policy = Policy(lambda key: (), lambda n: (), lambda p, c, ts, k: (c, Out(jnp.full(ts.avail.shape, NAN))))
    seen = checked_policy("controller 'x' of me", policy, (), make("worlds:fine"))
    with pytest.raises(NonFinite, match=r"^a score of controller 'x' of me is nan in step 0 of an episode$"):
        evaluate(make("worlds:fine"), seen, (), 4)


def test_a_good_teacher_teaches_and_no_metrics_are_kept_of_what_is_looked_at(tmp_path):
    (run,) = tutelage.train(
        "bc", "worlds:fine", teacher="worlds:good", out=tmp_path / "run", quiet=True, fit=QUICK,
        core="mlp", size="width=8", envs=8, gather=512, passes=20, batch=8,
    )  # fmt: skip
    assert run.test["return_mean"] > 3.5
    assert json.loads((tmp_path / "run" / "config.json").read_text())["teacher"]["test"]["return_mean"] == 4
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "entropy" in metrics and "?" not in metrics
