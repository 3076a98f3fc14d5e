"""A trained team is data: blueprint and parameters alone open it, and nothing of it changes unnoticed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from conftest import ROOT
from helpers import make_steps, sign
from tutelage import BadInput, Fault, make
from tutelage.cli.main import exit_code
from tutelage.deploy.cost import cost_report
from tutelage.experiment.find_teacher import find_teacher, run_and_role
from tutelage.experiment.job import new_job
from tutelage.experiment.manifest import read_manifest, write_manifest
from tutelage.experiment.migrate import migrate
from tutelage.experiment.plain import from_plain, to_plain
from tutelage.experiment.read_roles import read_finished
from tutelage.experiment.role_files import blueprint_of
from tutelage.experiment.user_code import make_method
from tutelage.policies.blueprint import FusedTeam, HierarchicalTeam, Members, Network, OwnCode, Role, Team
from tutelage.policies.columns import Entities, OneHot, Slice, View, Zeros
from tutelage.policies.cost import team_cost
from tutelage.policies.critic import make_critic
from tutelage.policies.open import policy_of
from tutelage.policies.views import read_view
from tutelage.registry import METHODS, method_config

ZOO = ROOT / "zoo"
EXPERT = ZOO / "kd_marl" / "smax-2s3z"
DDN_MACS = 2 * 53 * 32 + 40 * 32 * 64 + 2 * 32 * 64 + 40 * 64 + 2 * 32 * 64 + 2 * (64 * 64 + 6 * 64**2 + 64 * 6)
"""Generator, matrices of the state, their sum for each agent, shared matrix, offsets; and the agents' networks."""
CENTRAL = {
    "hint/marine-hard": (HierarchicalTeam, 512_848),
    "ddn/smax-2s_vs_1sc": (FusedTeam, DDN_MACS),
    "ctds/marine-medium": (FusedTeam, 7 * (182 * 64 + 6 * 64**2 + 64 * 5)),
}
"""Runs with a central teacher: its kind, and multiply-adds of a joint decision."""


def as_read(role: Role) -> Role:
    """A role as it comes back from its file."""
    return from_plain(Role, json.loads(json.dumps(to_plain(role))))


# ---- data ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.teacher is None])
def test_every_role_of_every_method_comes_back_from_json_and_starts_alike(name):
    env = make("predator_prey/punish2" if name in ("hint",) else "fire_commander/easy")
    method = make_method(name, env, method_config(name), None)
    for role, policy in method.roles.items():
        stored = Role(role, "e", {}, env.spec, policy.blueprint, "greedy")
        assert as_read(stored) == stored
        again = policy_of(as_read(stored).made_of)
        assert jax.eval_shape(again.init, jax.random.key(0)) == jax.eval_shape(policy.init, jax.random.key(0))
        assert again.blueprint == policy.blueprint and len(again.groups) == len(policy.groups)
    if method.critic is not None:
        stored = Role("critic", "e", {}, env.spec, method.critic.blueprint, "greedy")
        assert as_read(stored) == stored
        assert make_critic(as_read(stored).made_of).blueprint == method.critic.blueprint


@pytest.mark.parametrize("name", ["ddn", "ptde_mappo"])
def test_a_central_team_computes_the_same_when_it_is_made_again(name):
    env = make("probe/memory")
    small = {"size": "width=4", "fusion_width": 3, "generator": 2}
    (policy, again) = (
        f(make_method(name, env, method_config(name, **small), None).roles["teacher"])
        for f in (lambda p: p, lambda p: policy_of(from_plain(FusedTeam, to_plain(p.blueprint))))
    )
    params, steps = policy.init(jax.random.key(1)), make_steps(env.spec, (3,))
    outs = [jax.jit(p.step)(params, p.carry(3), steps, jax.random.key(0))[1].scores for p in (policy, again)]
    assert np.std(outs[0]) > 0
    np.testing.assert_array_equal(*outs)


def test_a_view_is_read_column_by_column():
    view = View(
        "mixed",
        (
            Slice("obs", 1, 3),
            Zeros(2),
            OneHot("agent", 2),
            OneHot("action", 3),
            Slice("state", 0, 2, living=True),
            Entities((0, 3), 3, 1, radius=None, nearest=1, compact=True),
        ),
    )
    env = make("probe/action")
    steps = make_steps(env.spec, (1,))._replace(
        obs=jnp.asarray([[[9.0, 3, 4, 8, 1, 1], [7, 0, 1, 0, 0, 0]]]),
        state=jnp.asarray([[5.0, 6]]),
        action=jnp.asarray([[2, 0]]),
        first=jnp.asarray([False]),
        alive=jnp.asarray([[True, False]]),
    )
    expected = [
        [3, 4, 0, 0, 1, 0, 0, 0, 1, 5, 6, 8, 1, 1, 0, 1],  # the second entity is nearer
        [0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 7, 0, 1, 1, 0],  # a row of zeros is not seen
    ]
    np.testing.assert_array_equal(read_view(view, steps)[0], expected)
    assert view.width == 16 and not view.decentralised and replace(view, columns=view.columns[:4]).decentralised


NETWORK = Network("mlp", 3, 4, 2)
SEEN = View("row", (Slice("obs", 0, 3),))


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: Network("mlp", 0, 4, 2), "inputs = 0: must be at least 1"),
        (lambda: Network("mlp", 3, 4, 2, predicts=2, hears=1), "predicts = 2, hears = 1: one of them"),
        (lambda: Members((0,), replace(NETWORK, inputs=4), SEEN), "view has 3 columns, inputs = 4"),
        (lambda: Team((Members((0,), NETWORK, SEEN), Members((0,), NETWORK, SEEN))), r"agents \[0, 0\]: must have"),
        (lambda: from_plain(Team, {"groups": [{"agents": [0], "network": 5, "view": {}}]}), r"groups\[0\].network = 5"),
        (lambda: from_plain(Team, {"groups": 3}), "groups = 3: must be tuple"),
        (lambda: from_plain(View, {"name": "x", "columns": [{"kind": "slise"}]}), r"columns\[0\].kind 'slise'.*slice"),
        (lambda: from_plain(View, {"name": "x", "columns": [], "eech": 1}), "unknown field 'eech'"),
        (lambda: from_plain(View, {"name": "x", "columns": [{"kind": "zeros", "width": "y"}]}), r"columns\[0\].width"),
    ],
)
def test_a_blueprint_that_cannot_be_is_refused_by_name(make_it, message):
    with pytest.raises(BadInput, match=message):
        make_it()


def test_a_policy_that_a_user_changed_is_not_saved_as_what_it_was_made_of():
    env = make("probe/action")
    policy = make_method("mappo", env, method_config("mappo", "fast", size="width=4"), None).roles["student"]
    assert blueprint_of(policy, env, own_method=True) == policy.blueprint
    step = lambda *arguments: (arguments[1], policy.step(*arguments)[1]._replace(scores=jnp.ones((3, 2, 2))))
    assert blueprint_of(policy._replace(step=step), env, own_method=True) == OwnCode()
    assert blueprint_of(policy._replace(blueprint=None), env, own_method=False) == OwnCode()


# ---- opened without code ---------------------------------------------------------------------------------------------
def test_costs_are_read_without_jax_and_without_the_environment(tmp_path):
    shutil.copytree(EXPERT, tmp_path / "run")
    for name in ("config.json", "student.json", "teacher.json", "critic.json"):
        file = tmp_path / "run" / name
        file.write_text(file.read_text().replace('"battle/', '"long-gone/'))
    sign(tmp_path / "run")
    script = (
        "import sys\nfor name in ('jax', 'flax', 'jaxmarl', 'tutelage.envs'): sys.modules[name] = None\n"
        "from tutelage.cli.main import exit_code\nsys.exit(exit_code(['cost', 'run', '--no-latency', '--json']))"
    )
    paths = {"PYTHONPATH": str(Path(tutelage.__file__).parents[1])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ratio"]["flops"] == pytest.approx(29.2369, abs=1e-3)
    run = tutelage.load(tmp_path / "run")
    assert run.policy().groups and run.spec.n_agents == 5
    with pytest.raises(BadInput, match=r"version battle/\d now, the run was made on long-gone/"):
        run.env  # noqa: B018


@pytest.mark.parametrize("name", CENTRAL)
def test_central_teachers_are_opened_and_counted(name):
    run, (kind, macs) = tutelage.load(ZOO / name), CENTRAL[name]
    role, params = run.roles["teacher"], run.params("teacher")
    assert isinstance(role.made_of, kind) and "features" not in role.provides
    assert run.policy("teacher").goals == (kind is HierarchicalTeam)
    team = cost_report(run, latency=False)["teacher"]["team"]
    assert team["macs"] == macs and team["params"] == sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "provides"),
    [
        ("hint/fire_commander-medium@teacher", {"logits"}),
        ("hint/fire_commander-medium", {"logits", "features"}),
        ("ctds/marine-medium@teacher", set()),
        ("ptde_mappo/marine-medium@teacher", {"logits", "critic"}),
        ("ptde_mappo/marine-medium", {"logits", "features"}),
        ("kd_marl/smax-3m@teacher", {"logits", "features", "critic"}),
        ("kd_marl/smax-3m", {"logits", "features"}),
        ("mappo/marine-medium", {"logits", "features", "critic"}),
    ],
)
def test_any_role_of_a_run_teaches(name, provides):
    path, role = run_and_role(str(ZOO / name)) or (None, None)
    record = json.loads((path / "config.json").read_text())
    env = make(record["env"])
    frozen, entry = find_teacher(str(ZOO / name), record["env"], env, {})
    assert frozen.provides == provides and frozen.actor == (role or "student")
    assert (frozen.critic is not None) == ("critic" in provides) and entry["role"] == role
    assert set(frozen.params) == {frozen.actor, *(["critic"] if frozen.critic else [])}
    student = make_method("bc", env, method_config("bc", size="width=4"), frozen)
    assert student.roles["student"].groups
    test = json.loads((path / "eval.json").read_text())
    if role == "teacher":
        test = test["beside"]["teacher"] if "beside" in test else record["teacher"]["test"]
    assert frozen.provenance["success_rate"] == test["success_rate"]


@pytest.mark.parametrize("name", ["hint/fire_commander-medium@teacher", "ctds/marine-medium@teacher"])
def test_a_ratio_is_to_a_central_teachers_joint_decision(name):
    run = read_finished(ZOO / name.removesuffix("@teacher"))
    env, macs = make(run.record["env"]), run.roles["teacher"].macs
    frozen, entry = find_teacher(str(ZOO / name), run.record["env"], env, {})
    student = make_method("bc", env, method_config("bc", core="mlp", size="ratio=10"), frozen).roles["student"]
    wider = 1.1 * team_cost(student).macs
    assert team_cost(student).macs * 10 <= macs < wider * 10 and entry["kind"] == "run"


def test_a_teacher_too_small_for_a_ratio_says_how_another_is_named():
    frozen, _ = find_teacher(str(EXPERT), "smax/2s3z", make("smax/2s3z"), {})
    with pytest.raises(
        BadInput, match=r"size = 'ratio=100': cannot be met.*RUN@teacher names the teacher within a run"
    ):
        make_method("bc", make("smax/2s3z"), method_config("bc", size="ratio=100"), frozen)


def test_a_role_that_a_run_does_not_have_is_refused():
    with pytest.raises(BadInput, match=r"has no policy 'expert'; it has: student, teacher"):
        find_teacher(f"{EXPERT}@expert", "smax/2s3z", make("smax/2s3z"), {})
    with pytest.raises(BadInput, match=r"no such run directory; allowed are RUN, RUN@ROLE, scripted:NAME"):
        find_teacher(f"{EXPERT}s@teacher", "smax/2s3z", make("smax/2s3z"), {})


def test_students_are_taught_by_the_teacher_within_a_run(tmp_path):
    settings = dict(gather=2_000, envs=16, size="width=4", passes=1, quiet=True)
    fit = tutelage.FitConfig(evaluations=1, eval_episodes=8, test_episodes=8)
    teacher = f"{ZOO / 'ptde_mappo' / 'marine-medium'}@teacher"
    run = tutelage.train("kl", "marine/medium", teacher=teacher, out=tmp_path / "run", fit=fit, **settings)[0]
    assert isinstance(run.roles["teacher"].made_of, FusedTeam) and run.roles["teacher"].provides == ("logits",)
    assert run.record["teacher"]["name"] == teacher and run.record["teacher"]["role"] == "teacher"
    again = tutelage.load(run.path)
    for name in ("team", "fuse"):
        for a, b in zip(*(jax.tree.leaves(x.params("teacher")[name]) for x in (again, run)), strict=True):
            np.testing.assert_array_equal(a, b)


# ---- nothing changes unnoticed ---------------------------------------------------------------------------------------
def test_no_flipped_bit_is_silent(tmp_path):
    shutil.copytree(EXPERT, tmp_path / "run")
    files = sorted((tmp_path / "run").iterdir())
    assert {file.name for file in files} == {"manifest.json", *read_names(tmp_path / "run")}
    draw = random.Random(0)
    for _ in range(150):
        file = draw.choice(files)
        before = file.read_bytes()
        at, bit = draw.randrange(len(before)), draw.randrange(8)
        file.write_bytes(before[:at] + bytes([before[at] ^ (1 << bit)]) + before[at + 1 :])
        with pytest.raises((Fault, BadInput)):
            read_finished(tmp_path / "run")
        assert exit_code(["verify", str(tmp_path / "run")]) in (1, 2)
        file.write_bytes(before)
    assert exit_code(["verify", str(tmp_path / "run")]) == 0


def test_a_role_that_is_cut_out_of_the_manifest_is_missed(tmp_path):
    shutil.copytree(EXPERT, tmp_path / "run")
    file = tmp_path / "run" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["files"]["student.json"]
    file.write_text(json.dumps(manifest))
    with pytest.raises(Fault, match=r"manifest\.json is damaged: files are not as they were written"):
        tutelage.load(tmp_path / "run")


def read_names(run: Path) -> set[str]:
    return set(json.loads((run / "manifest.json").read_text())["files"])


def test_verify_names_what_is_damaged(tmp_path, capsys):
    shutil.copytree(EXPERT, tmp_path / "run")
    assert exit_code(["verify", str(tmp_path / "run")]) == 0
    assert "run: all 8 files are as they were written" in capsys.readouterr().out
    (tmp_path / "run" / "student.safetensors").write_bytes(b"")
    (tmp_path / "run" / "eval.json").unlink()
    assert exit_code(["verify", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "student.safetensors is damaged: it is not as it was written" in error
    assert "eval.json is missing" in error and error.count("\n") == 1


# ---- runs of an earlier version --------------------------------------------------------------------------------------
def of_format_1(run: Path) -> dict[str, bytes]:
    """Turns a run into what an earlier version wrote; gives back what it was."""
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    (run / "manifest.json").unlink()
    for name in read_names_of(before):
        (run / name).unlink()
    record = json.loads(before["config.json"])
    record["format"] = record["teacher"]["record"]["format"] = 1
    (run / "config.json").write_text(json.dumps(record))
    return before


def read_names_of(files: dict[str, bytes]) -> list[str]:
    return [name for name in files if name.removesuffix(".json") in ("student", "teacher", "critic")]


def test_a_run_of_an_earlier_version_is_refused_and_migrated(tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(EXPERT, run)
    before = of_format_1(run)
    for command in (["eval", str(run)], ["cost", str(run)], ["resume", str(run)], ["verify", str(run)]):
        assert exit_code(command) == 2
        error = capsys.readouterr().err
        assert f"is of format 1, which earlier versions wrote: `tutelage migrate {run}` rewrites it" in error
    (run / "manifest.json").write_bytes(before["manifest.json"])  # as if it had been killed before config.json
    assert exit_code(["migrate", str(run)]) == 0 and f"{run}: rewritten" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert migrate(run) == []


def test_what_an_earlier_version_has_not_finished_is_not_migrated(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(EXPERT, run)
    of_format_1(run)
    (run / "eval.json").unlink()
    before = sorted(file.name for file in run.iterdir())
    with pytest.raises(BadInput, match="is not finished, and is of an earlier version: train it again"):
        migrate(run)
    assert sorted(file.name for file in run.iterdir() if not file.name.startswith(".")) == before


def test_settled_settings_are_left_out_of_a_run(tmp_path, capsys):
    run, zoo = tmp_path / "run", ZOO / "hint" / "marine-hard"
    shutil.copytree(zoo, run)
    record = json.loads((zoo / "config.json").read_text())

    def write(**config):
        (run / "config.json").write_text(json.dumps(record | {"config": record["config"] | config}))
        write_manifest(run, read_manifest(run).roles)

    write(spread=1.0, margin=0.5)
    with pytest.raises(BadInput, match=r"hint: margin = 0.5: is always 0.0 now; train it again"):
        migrate(run)
    write(spread=1.0, margin=0.0)
    shutil.copy(zoo / "manifest.json", run)  # as if it had been killed before config.json
    assert exit_code(["migrate", str(run)]) == 0 and f"{run}: rewritten" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.name[0] != "."} == {
        file.name: file.read_bytes() for file in zoo.iterdir()
    }
    assert migrate(run) == []
    write(spread=1.0)
    (run / "manifest.json").unlink()
    with pytest.raises(BadInput, match="is not finished, and is of an earlier version: train it again"):
        migrate(run)


def test_a_moved_teacher_is_found_with_its_role(tmp_path):
    shutil.copytree(EXPERT, tmp_path / "teachers" / "expert")
    (tmp_path / "out").mkdir()
    job = new_job("bc", "smax/2s3z", 0, 1, None, f"{tmp_path}/gone/expert@teacher", None, False, None, None, {})
    moved = replace(job, teacher_paths=(f"{tmp_path}/gone/expert", "../teachers/expert"))
    found = run_and_role(moved.teacher_name(tmp_path / "out") or "")
    assert found is not None and found[0].samefile(tmp_path / "teachers" / "expert") and found[1] == "teacher"
