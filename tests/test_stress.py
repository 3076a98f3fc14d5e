"""How a trained team fails: mixtures of teams, the ladder of levels, its table, picture and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import tutelage
from helpers import assert_same, make_spec, make_steps, make_tiered_team, random_params
from tutelage import BadInput
from tutelage.cli.main import exit_code
from tutelage.cli.stress import print_stress
from tutelage.configs.stress import StressLevels
from tutelage.envs.disturb import Amounts, Disturbed
from tutelage.experiment.stress import stress
from tutelage.experiment.stress_levels import LADDERS
from tutelage.policies.compose import with_teammates
from tutelage.report.stress import draw_stress
from tutelage.types import Out, Policy

ZOO = Path(__file__).parents[1] / "zoo"


# ---- mixtures ------------------------------------------------------------------------------------------------------
def test_each_agent_of_a_mixture_acts_as_its_own_team_and_both_teams_remember():
    spec = make_spec()
    teams = [make_tiered_team(spec, "gru", "local", (((0, 1, 2), width),)) for width in (8, 4)]
    params, steps = [random_params(team, i) for i, team in enumerate(teams)], make_steps(spec, (2,))
    mixed, key = with_teammates(*teams), jax.random.key(0)
    carry, out = mixed.step((jnp.array([False, True, False]), *params), mixed.carry(2), steps, key)
    alone = [team.step(p, team.carry(2), steps, key) for team, p in zip(teams, params, strict=True)]
    assert_same(out.scores[:, [0, 2]], alone[0][1].scores[:, [0, 2]])
    assert_same(out.scores[:, 1], alone[1][1].scores[:, 1])
    assert_same(carry, tuple(memory for memory, _ in alone))
    assert jax.tree.map(jnp.shape, mixed.init(key)) == jax.tree.map(jnp.shape, (jnp.zeros(3, bool), *params))


def test_no_team_of_a_mixture_hears_what_the_other_ones_agents_would_have_said():
    heard = []

    def listener():
        def step(params, carry, timestep, key):
            heard.append(timestep.links)
            return carry, Out(jnp.zeros(timestep.avail.shape))

        return Policy(lambda key: (), lambda n: (), step)

    links = jnp.ones((1, 3, 3), bool)
    steps = make_steps(make_spec(links=True), (1,))._replace(links=links)
    with_teammates(listener(), listener()).step((jnp.array([False, True, False]), (), ()), ((), ()), steps, None)
    assert heard[0][0].tolist() == [[True, False, True]] * 3 and heard[1][0].tolist() == [[False, True, False]] * 3


# ---- levels --------------------------------------------------------------------------------------------------------
def test_the_usual_levels_of_a_team():
    spec = make_spec(n_agents=5)
    ladder = lambda kind, levels=StressLevels(): LADDERS[kind](levels, spec, 17)
    assert [level.amounts for level in ladder("noise")] == [Amounts(noise=x) for x in (0.05, 0.1, 0.2, 0.4)]
    assert [level.value for level in ladder("delay")] == [1, 2, 4], "an episode has 5 steps"
    assert [(x.amounts.lost, x.amounts.lost_from) for x in ladder("lost")] == [(i, t) for t in (0, 5) for i in range(5)]
    assert [level.replaced for level in ladder("teammates")] == [(0,), (1,), (2,), (3,), (4,), (1, 3)]
    few = StressLevels(lost=(2,), lost_from=(0, 9), teammates=(4,))
    assert [level.label for level in ladder("lost", few)] == ["agent 2 from step 0", "agent 2 from step 9"]
    assert [level.value for level in ladder("teammates", few)] == [[4]]


# ---- playing -------------------------------------------------------------------------------------------------------
def test_the_scores_are_those_of_evaluations_and_what_decides_is_told(action_run):
    """Both agents must press 1: one of them alone never succeeds, and earns half."""
    found = tutelage.stress(action_run, episodes=64, kinds=("lost", "noise"), lost=(1,), lost_from=(0, 1), noise=(0.1,))
    assert found.undisturbed == tutelage.evaluate(action_run.env, action_run.policy(), action_run.params(), 64)
    assert [(level.kind, level.value) for level in found.levels] == [
        ("noise", 0.1), ("lost", {"agent": 1, "from": 0}), ("lost", {"agent": 1, "from": 1})]  # fmt: skip
    noise, early, late = found.levels
    assert noise.evaluation.success_rate == late.evaluation.success_rate == 1 and found.measure == "success"
    assert not (noise.differences["success"].decides or late.differences["success"].decides)
    assert early.evaluation.success_rate == 0 and early.evaluation.return_mean == 0.5
    lost = early.differences
    assert lost["success"].mean == -1 and lost["success"].decides and lost["success"].ci95[1] < -0.9
    assert lost["return"].mean == -0.5 and lost["return"].decides and lost["return"].ci95 == (-0.5, -0.5)
    assert late.differences["success"] == (0, pytest.approx((-0.0297, 0.0297), abs=1e-4))
    assert found.left_out == {
        "delay": "an episode has one step",
        "lost_messages": "these agents do not talk",
        "teammates": "there is no teacher beside them",
    }


def test_levels_of_a_kind_share_a_program(action_run, monkeypatch):
    made, original = [], Disturbed.__init__
    monkeypatch.setattr(Disturbed, "__init__", lambda self, *args: (made.append(args), original(self, *args))[1])
    stress(action_run, episodes=4, kinds=("noise", "lost"))
    assert len(made) == 2, "it is traced once for each kind"


def test_a_level_is_an_evaluation_of_the_environment_with_that_disturbance(memory_run):
    found = tutelage.stress(memory_run, episodes=64, kinds=("dropout", "delay"), dropout=(0.5,), delay=(2,))
    envs, team = [memory_run.env_with(**{x.kind: x.value}) for x in found.levels], memory_run.policy()
    played = [tutelage.evaluate(env, team, memory_run.params(), 64) for env in envs]
    assert [level.evaluation for level in found.levels] == played and found.levels[0].differences["success"].decides


def test_a_team_that_never_succeeds_is_judged_by_its_return(action_run):
    """Trained to press 1 in a game that pays for 0."""
    env, options = "probe/coordination", {}
    run = replace(action_run, record=action_run.record | {"env": env, "env_options": options})
    found = stress(run, episodes=4, kinds=("lost",), lost=(0,), lost_from=(0,))
    assert found.undisturbed.success_rate == 0 and found.measure == "return"
    assert found.levels[0].differences["return"].mean == pytest.approx(-0.6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(role="nobody"), "nobody"),
        (dict(episodes=1), "episodes = 1: must be at least 2"),
        (dict(seed=-1), "seed = -1"),
        (dict(act="guess"), "'guess'"),
        (dict(kinds=("noies",)), "'noies'; did you mean 'noise'"),
        (dict(kinds=("teammates",)), "kind = 'teammates': there is no teacher beside them"),
        (dict(kinds=("lost_messages",)), "kind = 'lost_messages': these agents do not talk"),
        (dict(noise=(-1.0,)), "noise = -1.0: must not be negative"),
        (dict(noise=()), r"noise = \(\): must be at least one level"),
        (dict(teammates=(-1,)), "teammates = -1: must not be negative"),
        (dict(lost=(5,)), "lost = 5: probe/memory has the agents 0 to 1"),
        (dict(delay=(3,)), "delay = 3: must be less than the 3 steps"),
        (dict(noisy=(0.1,)), "'noisy'"),
    ],
)
def test_what_cannot_be_played_is_refused(memory_run, arguments, message):
    with pytest.raises(BadInput, match=message):
        stress(memory_run, **arguments)


# ---- the command ---------------------------------------------------------------------------------------------------
def test_the_command_prints_json_and_draws(capsys, tmp_path):
    run, picture = str(ZOO / "kd_marl" / "smax-3m"), tmp_path / "picture.png"
    words = ["--episodes", "32", "--kinds", "lost", "teammates", "--lost", "0", "--lost-from", "0", "--teammates", "1"]
    assert exit_code(["stress", run, *words, "--json", "-o", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert " ".join(found) == "run env env_options method role measure act episodes seed left_out undisturbed levels"
    assert [(x["kind"], x["level"]) for x in found["levels"]] == [("lost", {"agent": 0, "from": 0}), ("teammates", [1])]
    lost, mates = found["levels"]
    assert found["undisturbed"]["success_rate"] > 0.7 and lost["success_rate"] < 0.2
    assert lost["success_decides"] and lost["return_decides"]
    for name, key in (("success", "success_rate"), ("return", "return_mean")):
        assert lost[f"{name}_difference"] == pytest.approx(lost[key] - found["undisturbed"][key], abs=1e-6)
    assert mates["episodes"] == 32 and mates["success_rate"] > 0.6
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_table_has_a_line_for_each_level_and_tells_what_decides(action_run, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # one block, however wide the terminal is
    found = stress(action_run, episodes=32, kinds=("lost",), lost=(0,), lost_from=(0,))
    print_stress("runs/x", found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "runs/x student (greedy), 32 episodes at each level"
    assert [" ".join(line.split()) for line in lines[4:6]] == [
        "undisturbed 1.000 [0.893, 1.000] 1.00 1.0",
        "lost agent 0 from step 0 0.000 [0.000, 0.107] 0.50 1.0 -1.000 [-1.000, -0.843] yes",
    ]
    by_return = replace(found, measure="return")
    print_stress("runs/x", by_return)
    assert "1.00 [1.00, 1.00]" in capsys.readouterr().out
    draw_stress(by_return, tmp_path / "picture.svg")
    assert b"agent" in (tmp_path / "picture.svg").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--kinds", "noies"], "noies"),
        (["--noise", "-1"], "noise = -1.0: must not be negative"),
        (["--lost", "9", "--kinds", "lost"], "lost = 9"),
        (["--role", "teacher"], "'teacher'"),
        (["-o", "picture.gif"], "picture.gif"),
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_one_line_and_nothing_is_written(action_run, words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exit_code(["stress", str(action_run.path), *words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and says in told.err
    assert not list(tmp_path.iterdir())


def test_a_run_is_evaluated_under_disturbances_alone(action_run, capsys):
    run = str(action_run.path)
    assert exit_code(["eval", run, "--env.lost", "0", "--episodes", "32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["return_mean"] == 0.5
    assert exit_code(["eval", run, "--env.lost", "7"]) == 2
    assert "lost = 7: probe/action has the agents 0 to 1" in capsys.readouterr().err
    assert exit_code(["eval", run, "--env.max-steps", "7"]) == 2
    assert "--env.max-steps" in capsys.readouterr().err
