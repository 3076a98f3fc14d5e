"""Training that starts from a run's weights: what is taken, with which network, what is refused, and what is kept."""

from __future__ import annotations

import shutil
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, Killed, Silent, assert_same, assert_same_run, build, kill_at, lines_of, make_spec, sign
from small import METHOD_CASES, World, teacher
from small import world as any_world
from tutelage import BadInput, Fault, make
from tutelage.cli.main import exit_code
from tutelage.experiment.fit import fit
from tutelage.experiment.init_source import drafted, find_init, network_settings, take, with_settings_of
from tutelage.experiment.role_files import save_role
from tutelage.experiment.train_run import INIT
from tutelage.policies.blueprint import FusedTeam, Members, Network, Team, ValueNet
from tutelage.policies.columns import Entities, OneHot, Slice, View
from tutelage.policies.fits import misfit, params_like
from tutelage.registry import METHODS, method_config

PLAY = {name: TINY[name] for name in ("envs", "rollout", "chunk", "epochs", "minibatches")}
SHORT = dict(steps=256, quiet=True, fit=QUICK, **PLAY)


def train(init, out, method="mappo", env="probe/action", **more):
    return tutelage.train(method, env, init=init, out=out, **{**SHORT, **more})


# ---- what fits -----------------------------------------------------------------------------------------------------
def team(*groups, core="mlp", actions=3, hears=0, obs=4, number=0, each=None):
    """A team of groups (agents, width) that read their observation, and a number where there is one."""
    columns = each or (Slice("obs", 0, obs), *([OneHot("agent", number)] if number else []))
    seen = View("local", columns)
    network = lambda width: Network(core, seen.width, width, actions, hears=hears)
    return Team(tuple(Members(agents, network(width), seen) for agents, width in groups))


PAIR, TRIO = ((0, 1), 8), ((0, 1, 2), 8)


@pytest.mark.parametrize(
    ("there", "here", "wrong"),
    [
        (team(PAIR), team(PAIR), ""),
        (team(PAIR), team(TRIO), ""),
        (team(PAIR), team(((0,), 8), ((1,), 8)), ""),
        (team(PAIR, hears=1), team(TRIO, hears=2), ""),
        (team(PAIR, each=(Slice("obs", 0, 2), Slice("obs", 2, 4))), team(PAIR), ""),
        (team(PAIR), team(((0, 1), 16)), "width is 8 there, 16 here; leave size out"),
        (team(PAIR), team(PAIR, core="gru"), "core is mlp there, gru here; leave core out"),
        (team(PAIR), team(PAIR, actions=5), "number of actions is 3 there, 5 here"),
        (team(PAIR), team(PAIR, hears=1), "talking is False there, True here"),
        (
            team(PAIR),
            team(PAIR, obs=6),
            "what is read is 4 columns (observation 4) there, 6 columns (observation 6) here",
        ),
        (
            team(PAIR, number=2),
            team(TRIO, number=3),
            "what is read is 6 columns (observation 4, agent number 2) there, 7 columns (observation 4, agent number "
            "3) here; a team that reads no agent number (actor_view = local-no-id) fits teams of other sizes",
        ),
        (
            team(PAIR, each=(Entities((0, 2, 4), 2, 0, None, 1, True),)),
            team(PAIR, obs=5),
            "what is read is 5 columns (nearest 1 of 3 5) there, 5 columns (observation 5) here",
        ),
        (
            team(((0,), 8), ((1,), 8)),
            team(((0,), 8), ((1,), 8), ((2,), 8)),
            "2 networks (agent 0; agent 1) there, 3 (agent 0; agent 1; agent 2) here; 1 or 3 can be taken",
        ),
        (
            team(((0,), 8), ((1,), 8)),
            team(((0,), 8), ((1,), 16)),
            "group 1 (agent 1): width is 8 there, 16 here; leave size out",
        ),
        (
            ValueNet(View("state", (Slice("state", 0, 4),)), 8, normalised=True),
            ValueNet(View("state", (Slice("state", 0, 4),)), 8),
            "whether it normalises its input is True there, False here",
        ),
        (
            ValueNet(View("state", (Slice("state", 0, 4),), each=False), 8),
            ValueNet(View("state", (Slice("state", 0, 4),)), 8),
            "what is read is 4 columns of the team (world state 4) there, 4 columns (world state 4) here",
        ),
        (
            FusedTeam(2, View("local", (Slice("obs", 0, 4),)), None, False, Network("mlp", 4, 8, 3)),
            team(PAIR),
            "kind is fused there, team here",
        ),
    ],
)  # fmt: skip
def test_what_keeps_one_networks_parameters_out_of_another_is_named(there, here, wrong):
    assert misfit(there, here) == wrong


def test_a_network_that_all_shared_is_every_groups():
    alone = team(((0,), 8), ((1,), 8))
    assert params_like(("shared",), team(PAIR), alone) == ("shared", "shared")
    assert params_like(("a", "b"), alone, alone) == ("a", "b")


# ---- what is taken -------------------------------------------------------------------------------------------------
NO_ID = dict(core="mlp", size="width=6", actor_view="local-no-id")
FACTS = dict(n_actions=4, obs_width=5, state_width=6)


def world(n_agents, **changes):
    return World(n_agents=n_agents, agent_types=("unit",) * n_agents, **{**FACTS, **changes})


def source(name, env, role=None, **settings):
    """The source that a run of a method would be, with shapes in place of parameters."""
    config = asdict(method_config(name, **settings))
    return drafted("RUN", role, name, build(name, env, **settings), config, env.spec)


def took(found, name, env, **settings):
    """What a method takes: its roles, and the notes about what is new."""
    method = build(name, env, **with_settings_of(found, name, settings))
    taken = take(found, name, method, env.spec)
    shapes = jax.eval_shape(lambda key: method.params(method.init(key)), jax.random.key(0))
    for role, params in taken.params.items():
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes[role]), role
    return set(taken.params), " ".join(taken.notes[1:])


def test_a_larger_team_with_rows_of_the_same_width_takes_shared_weights_and_a_new_critic():
    roles, said = took(source("mappo", world(2), **NO_ID), "mappo", world(3, state_width=7))
    assert roles == {"student"} and "a new critic (what is read is 6 columns" in said


def test_agents_with_networks_of_their_own_each_take_the_shared_one():
    assert took(source("mappo", world(3), **NO_ID), "happo", world(3)) == ({"student", "critic"}, "")


def test_moments_are_taken_and_are_of_the_rows_that_each_agent_reads_here():
    found = source("mappo", world(2), **NO_ID, normalise=True)
    settings = with_settings_of(found, "mappo", {"share": "agent"})
    method = build("mappo", world(3), **settings)
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert settings["normalise"]
    started = method.with_params(state, take(found, "mappo", method, world(3).spec).params)
    assert jax.tree.structure(started) == jax.tree.structure(state)
    assert {params["normaliser"].rows.agents for params in started.actor.params} == {(0,), (1,), (2,)}


def test_a_critic_of_another_kind_is_new():
    roles, said = took(source("ippo", world(2), **NO_ID), "mappo", world(2))
    assert roles == {"student"} and "a new critic (what is read is 5 columns (observation 5) there" not in said
    assert "a new critic" in said


@pytest.mark.parametrize(("name", "settings"), METHOD_CASES)
def test_every_method_takes_all_that_its_own_run_trained(name, settings):
    env = any_world()
    frozen = teacher(env) if METHODS[name].teacher else None
    method, config = build(name, env, frozen, **settings), asdict(method_config(name, **settings))
    found = drafted("RUN", None, name, method, config, env.spec)
    again = build(name, env, frozen, **with_settings_of(found, name, settings))
    taken = take(found, name, again, env.spec)
    critic = ["critic"] if method.critic and frozen is None else []  # a frozen teacher's stays
    assert set(taken.params) == {method.actor, *method.also_tested, *critic}
    assert len(taken.notes) == 1


OWN = dict(core="mlp", size="width=6", fusion_width=7, generator=9, envs=2, chunk=4, burn_in=0, capacity_steps=8)


@pytest.mark.parametrize(("role", "taken"), [(None, {"student", "teacher"}), ("student", {"student"})])
def test_a_teacher_that_learns_as_well_is_taken_unless_a_role_is_named(role, taken):
    assert took(source("ddn", world(2), role, **OWN), "ddn", world(2), **OWN)[0] == taken


def test_columns_and_actions_values_of_another_meaning_are_told():
    values = source("qmix", world(2), core="mlp", size="width=6")
    assert "its scores are action values, which they are not here" in took(values, "coma", world(2))[1]
    ours, theirs = (
        make_spec(layout=(tutelage.types.Block("ally 0", 0, 2, None, names),)) for names in (("a", "b"), "ac")
    )
    env = world(3, layout=ours.layout, obs_width=2)
    _, said = took(source("mappo", env, **NO_ID), "mappo", world(3, layout=theirs.layout, obs_width=2))
    assert "1 columns mean something else here, e.g. column 1: ally 0: b there, ally 0: c here" in said


def test_the_sources_network_decides_where_nothing_else_is_given():
    found = source(
        "mappo", world(3), core="mlp", size="tiers=0,1:4;2:8", share="type", critic_width=9, critic="per_agent"
    )
    assert network_settings(found) == {
        "core": "mlp", "size": "tiers=0,1:4;2:8", "capacity": "equal", "share": "type", "sight": "full",
        "hidden": "compact", "messages": "none", "actor_view": "local", "student_view": "local", "critic_width": 9,
        "normalise": False,
        "critic": "per_agent",
    }  # fmt: skip
    settings = with_settings_of(found, "mappo", dict(critic_width=5, steps=3000))
    assert settings["critic_width"] == 5 and settings["critic_warm_up"] == 600 and settings["core"] == "mlp"
    assert "critic_warm_up" not in with_settings_of(found, "qmix", {}) and "critic" not in with_settings_of(
        found, "ippo", {}
    )


# ---- a training ----------------------------------------------------------------------------------------------------
def test_training_starts_from_the_runs_team_with_its_network_and_its_critic(action_run, tmp_path):
    """Defaults are a GRU of width 128 and a critic of 128; the run has an MLP and a critic of 8."""
    (run,) = train(action_run.path, tmp_path / "run", critic_warm_up=255)  # the actor learns nothing
    assert_same(run.params("student"), action_run.params("student"))
    config = run.record["config"]
    assert (config["core"], config["size"], config["critic_width"]) == ("mlp", "width=8", 8)
    told = run.record["init"]
    assert told["name"] == str(action_run.path) and told["role"] == "student" and told["test"] == action_run.test
    assert told["taken"] == ["student", "critic"] and told["record"] == action_run.record
    assert not (run.path / INIT).exists()


def test_the_weights_that_it_starts_from_are_evaluated_first_and_may_be_the_best(action_run, tmp_path):
    (run,) = train(action_run.path, tmp_path / "run", lr=0.5, critic_warm_up=0, entropy=100.0)
    curve = [line for line in lines_of(run.path) if line["kind"] == "evaluation"]
    assert curve[0]["update"] == curve[0]["total_steps"] == 0 and curve[0]["success_rate"] == 1.0
    assert run.test["success_rate"] == 1.0


@pytest.mark.parametrize("name", ["mappo", "qmix"])
def test_fit_begins_with_the_given_parameters(name):
    env = make("probe/action")
    values = dict(core="mlp", size="width=8", warm_up=0, envs=4, chunk=8, burn_in=0, capacity_steps=32)
    method = build(name, env, **{**(TINY if name == "mappo" else values), "steps": 64})
    given = method.params(jax.jit(method.init)(jax.random.key(7)))
    nothing = lambda state, rollouts, key, progress: (state, {"none": jnp.zeros(())})
    still = method._replace(stages=(method.stages[0]._replace(update=nothing),))
    assert_same(fit(env, still, QUICK, 0, Silent(), given=given).params, given)


def test_every_seed_starts_from_its_own_run_also_together(action_run, tmp_path):
    for seed, factor in enumerate((1.0, 0.5)):
        run = tmp_path / "a" / f"seed-{seed}"
        shutil.copytree(action_run.path, run)
        save_role(run, "student", jax.tree.map(lambda x, factor=factor: factor * x, action_run.params("student")))
        sign(run)
    runs = train(tmp_path / "a", tmp_path / "b", seeds=2, together=True, critic_warm_up=255)
    for i, run in enumerate(runs):
        assert_same(run.params("student"), tutelage.load(tmp_path / "a" / f"seed-{i}").params("student"))
        assert run.record["init"]["name"].endswith(f"a/seed-{i}")
    with pytest.raises(BadInput, match=r"init .*a has no seed-2; it has seed-0, seed-1"):
        train(tmp_path / "a", tmp_path / "c", seed=2)


@pytest.mark.parametrize("save", [0, 3])
def test_a_run_is_resumed_without_what_it_started_from(action_run, tmp_path, monkeypatch, save):
    """Killed before the first checkpoint, or after one."""
    shutil.copytree(action_run.path, tmp_path / "source")
    (whole,) = train(tmp_path / "source", tmp_path / "whole")
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, save, 1)
        train(tmp_path / "source", out)
    shutil.rmtree(tmp_path / "source")
    (run,) = tutelage.resume(out, quiet=True)
    assert_same_run(run.path, whole.path)


def test_a_source_that_is_nowhere_is_named_and_one_that_moved_along_is_found(action_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(action_run.path, tmp_path / "p" / "source")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 0, 1)
        train("p/source@student", "p/run", seeds=2)
    (tmp_path / "p").rename(tmp_path / "q")
    shutil.move(tmp_path / "q" / "source", tmp_path / "away")
    with pytest.raises(Fault, match=f"its init is neither at {tmp_path}/p/source nor at q/run/../source"):
        tutelage.resume("q/run", quiet=True)
    shutil.move(tmp_path / "away", tmp_path / "q" / "source")
    runs = tutelage.resume("q/run", quiet=True)
    assert [run.record["init"]["name"] for run in runs] == ["p/source@student", "q/run/../source@student"]


# ---- what is refused -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--size", "width=128"), "student does not fit: width is 8 there, 128 here; leave size out"),
        (("--core=gru",), "student does not fit: core is mlp there, gru here; leave core out"),
        (("--init", "{run}@expert"), "unknown role of init {run}@expert 'expert'"),
        (("--init", "nowhere"), "init = 'nowhere': no such run directory; allowed are RUN and RUN@ROLE"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(action_run, tmp_path, capsys, more, message):
    """A setting counts as given also where it is the default."""
    run = str(action_run.path)
    words = ["--init", run, "--out", str(tmp_path / "out"), *(word.format(run=run) for word in more)]
    assert exit_code(["train", "mappo", "probe/action", *words]) == 2
    assert message.format(run=run) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_users_method_says_how_parameters_are_put_in(action_run, tmp_path):
    with pytest.raises(BadInput, match="helpers:counting has no with_params"):
        tutelage.train("helpers:counting", "probe/action", init=action_run.path, out=tmp_path / "run", quiet=True)


def test_weights_whose_network_is_code_are_read_only_on_the_users_word(tmp_path):
    (run,) = tutelage.train("helpers:counting", "probe/action", out=tmp_path / "a", quiet=True, fit=QUICK)
    with pytest.raises(BadInput, match="names 'helpers:counting', which is not of tutelage"):
        train(run.path, tmp_path / "b")
    with pytest.raises(BadInput, match=r"student does not fit: layer \['n'\] is \(\) there, missing here"):
        train(run.path, tmp_path / "b", trust=True)
    assert find_init(str(run.path), None, True)[1]["role"] == "student"
    assert np.asarray(find_init(str(run.path), None, True)[0].weights["student"].params["n"]).shape == ()


def test_a_network_of_the_users_own_is_taken_on_his_word_alone(tmp_path):
    name, env = "test_own_core:counter", make("probe/action")
    own = {**TINY, "core": name, "size": "width=2", "steps": 64}
    (run,) = tutelage.train("mappo", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **own)
    with pytest.raises(BadInput, match=f"names '{name}', which is not of tutelage"):
        with_settings_of(find_init(str(run.path), None)[0], "mappo", {})
    found = find_init(str(run.path), None, {name})[0]
    settings = with_settings_of(found, "mappo", {})
    assert (settings["core"], settings["size"]) == (name, "width=2")
    taken = take(found, "mappo", build("mappo", env, **settings), env.spec)
    assert_same(taken.params["student"], found.weights["student"].params)
