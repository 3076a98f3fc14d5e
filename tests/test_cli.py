"""The command line: what it prints, its exit codes, and that help needs no jax."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import TINY
from tutelage import __version__
from tutelage.cli.main import VERBS, exit_code
from tutelage.cli.parsing import parse
from tutelage.configs.checks import parse_whole
from tutelage.configs.ppo import PpoConfig
from tutelage.errors import BadInput
from tutelage.registry import ENVIRONMENTS, METHODS, method_config

KEYS = [
    "env", "env_version", "measure", "method", "policy", "act", "seed", "episodes", "success_rate", "ci95",
    "return_mean", "return_ci95", "length_mean",
]  # fmt: skip
SMALL = [word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", str(value))]
FIT = ["--evaluations", "2", "--eval-episodes", "16", "--test-episodes", "32"]
COMMAND = Path(sys.executable).with_name("tutelage")


@dataclass(frozen=True)
class Numbers:
    """Fields as commands have them."""

    teacher: PpoConfig
    run: int = 1
    maybe: int | None = None


def words(value):
    """How a command line is called in the list of tests."""
    return " ".join(value) if isinstance(value, list) else ""


@pytest.fixture
def run(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def go(*argv):
        try:
            code = exit_code([str(word) for word in argv])
        except SystemExit as stop:
            code = stop.code or 0
        return (code, *capsys.readouterr())

    return go


# ---- what is printed -----------------------------------------------------------------------------------------------
def test_list_names_every_method_and_environment(run):
    code, out, err = run("list")
    assert (code, err) == (0, "")
    for name in (*METHODS, *ENVIRONMENTS, "published", "module:factory"):
        assert name in out


def test_list_as_json_is_the_registry(run):
    code, out, err = run("list", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert set(result["methods"]) == set(METHODS) and set(result["environments"]) == set(ENVIRONMENTS)
    assert result["methods"]["kd_marl"]["teacher"] == "mappo" and "fast" in result["methods"]["mappo"]["presets"]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(run, argv):
    code, out, _ = run(*argv)
    assert code == 0 and all(verb in out for verb in VERBS)


def test_the_version_is_printed(run):
    assert run("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_explains_itself(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0 and "usage" in out.lower() and len(out) > 80


def test_help_of_a_training_shows_the_options_of_method_and_environment(run):
    code, out, _ = run("train", "kd_marl", "smax/3m", "--help")
    assert code == 0
    for option in (
        "--teacher",
        "--kl",
        "--passes",
        "--seeds",
        "--evaluations",
        "--env.max-steps",
        "--teacher-config.lr",
    ):
        assert option in out, option


# ---- training and evaluating ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    assert exit_code(["train", "mappo", "probe/action", "--out", str(out), "--quiet", *SMALL, *FIT]) == 0
    return out


def test_train_reports_where_the_run_is_and_how_good(run, tmp_path):
    out = tmp_path / "run"
    code, out_text, said = run("train", "mappo", "probe/action", "--out", out, *SMALL, *FIT, "--seed", 4)
    assert code == 0 and out_text.count("\n") == 1
    assert str(out) in out_text and "success 1.000" in out_text and "32 episodes" in out_text
    assert "success" in said, "progress goes to standard error"
    record = json.loads((out / "config.json").read_text())
    assert record["seed"] == 4 and record["config"]["envs"] == TINY["envs"] and record["fit"]["eval_episodes"] == 16


def test_quiet_is_quiet(run, tmp_path):
    code, _, said = run("train", "mappo", "probe/action", "--out", tmp_path / "run", "--quiet", *SMALL, *FIT)
    assert (code, said) == (0, "")


def test_the_default_directory_is_named_after_the_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("train", "bc", "probe/action", "--teacher", "scripted:local", "--quiet", "--core", "mlp", "--size",
               "width=4", "--gather", 32, "--envs", 16, "--passes", 2, *FIT)[0] == 0  # fmt: skip
    assert (tmp_path / "runs" / "bc-probe-action-seed0" / "eval.json").exists()


def test_python_and_the_command_line_train_the_same_team(trained, action_run):
    assert (trained / "student.safetensors").read_bytes() == (action_run.path / "student.safetensors").read_bytes()


def test_eval_as_json_has_exactly_the_documented_keys(run, trained):
    code, out, err = run("eval", trained, "--json", "--episodes", 20, "--seed", 3)
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert list(result) == KEYS
    assert result["episodes"] == 20 and result["seed"] == 3 and result["success_rate"] == 1
    assert (result["env"], result["method"], result["policy"]) == ("probe/action", "mappo", "student")
    assert len(result["ci95"]) == len(result["return_ci95"]) == 2


@pytest.mark.parametrize(
    ("target", "policy", "named"),
    [
        ("probe/action", None, "scripted"),
        ("probe/action", "scripted:local", "scripted:local"),
        ("probe/action", "random", "random"),
        ("run", "random", "random"),
        ("run", "scripted", "scripted"),
    ],
)
def test_eval_of_environments_and_floors(run, trained, target, policy, named):
    argv = ["eval", trained if target == "run" else target, "--json", "--episodes", 64]
    code, out, _ = run(*argv, *(["--policy", policy] if policy else []))
    result = json.loads(out)
    assert code == 0 and list(result) == KEYS and result["policy"] == named
    assert (result["success_rate"] == 1) == (named != "random")
    assert result["method"] == ("mappo" if target == "run" else None)


def test_eval_prints_one_line_for_people(run, trained):
    code, out, _ = run("eval", trained, "--episodes", 16)
    assert code == 0 and out.count("\n") == 1 and "success 1.000" in out and "16 episodes" in out


def test_resume_of_a_finished_run_reports_it(run, trained):
    code, out, _ = run("resume", trained)
    assert code == 0 and str(trained) in out and "success 1.000" in out


# ---- bad input -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["trian"], "'trian'"),
        (["train"], "METHOD"),
        (["train", "mappo"], "mappo"),
        (["train", "mapo", "probe/action"], "'mapo'"),
        (["train", "mappo", "probe/acton"], "'probe/acton'"),
        (["train", "mappo", "smax/99m"], "'smax/99m'"),
        (["train", "mappo", "probe/action", "--preset", "fats"], "'fats'"),
        (["train", "mappo", "probe/action", "--stepz", "3"], "--stepz"),
        (["train", "mappo", "probe/action", "--steps", "many"], "many"),
        (["train", "mappo", "probe/action", "--steps", "-5"], "-5"),
        (["train", "mappo", "probe/action", "--steps", "1.5"], "'1.5' is no whole number"),
        (["train", "mappo", "probe/action", "--steps", "1e999999999"], "'1e999999999' is no whole number"),
        (["train", "mappo", "probe/action", "--steps", "x" * 200], "x" * 200),
        (["train", "mappo", "probe/action", "--lr", "quick"], "quick"),
        (["train", "mappo", "probe/action", "--core", "lstm"], "lstm"),
        (["train", "mappo", "probe/action", "--actor-view", "global"], "global"),
        (["train", "mappo", "probe/action", "--size", "width=0"], "width=0"),
        (["train", "mappo", "probe/action", "--size", "wide"], "wide"),
        (["train", "mappo", "probe/action", "--rollout", "10", "--chunk", "3"], "tutelage: chunk = 3"),
        (["train", "mappo", "probe/action", "--evaluations", "0"], "evaluations = 0"),
        (["train", "mappo", "probe/action", "--seeds", "0"], "seeds = 0"),
        (["train", "mappo", "probe/action", "--teacher", "scripted:local"], "scripted:local"),
        (["train", "mappo", "probe/action", "extra"], "extra"),
        (["eval", "prob/action"], "(probe/action is an environment)"),
        (["cost", "probe/action"], "(probe/action is an environment)"),
        (["train", "mappo", "smax/3m", "--env.max-steps", "0"], "max_steps = 0"),
        (["train", "mappo", "no_such_module:make"], "no_such_module"),
        (["train", "kd_marl", "probe/action", "--teacher", "runs/nowhere"], "runs/nowhere"),
        (["train", "kd_marl", "probe/action", "--teacher", "scripted:nobody"], "nobody"),
        (["train", "kl", "probe/action", "--teacher", "scripted:local"], "logits"),
        (["train", "kd_marl", "probe/action", "--student-view", "local+state"], "local+state"),
        (["train", "kd_marl", "probe/action", "--kl", "-1"], "-1"),
        (["eval", "runs/nowhere"], "runs/nowhere"),
        (["eval", "probe/acton"], "probe/acton"),
        (["eval", "probe/action", "--policy", "student"], "'student'"),
        (["eval", "probe/action", "--policy", "scripted:nobody"], "'nobody'"),
        (["eval", "probe/action", "--episodes", "0"], "episodes = 0"),
        (["eval", "probe/action", "--episodes", "some"], "some"),
        (["eval"], "required"),
        (["resume", "runs/nowhere"], "runs/nowhere"),
        (["resume"], "run"),
        (["list", "--jsn"], "--jsn"),
    ],
    ids=words,
)
def test_bad_input_is_one_line_that_names_it_and_exit_code_2(run, tmp_path, monkeypatch, argv, names):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*argv)
    assert code == 2, err
    assert err.count("\n") == 1 and err.startswith("tutelage: ") and names.lower() in err.lower(), err
    assert "---" not in err and "──" not in err, "no remains of a box"
    assert out == "" and not list(tmp_path.iterdir())


def test_a_run_without_a_teacher_has_no_teacher_policy(run, trained):
    code, _, err = run("eval", trained, "--policy", "teacher")
    assert code == 2 and "'teacher'" in err and err.count("\n") == 1


def test_an_existing_directory_is_refused(run, trained):
    code, _, err = run("train", "mappo", "probe/action", "--out", trained)
    assert code == 2 and str(trained) in err and "resume" in err and err.count("\n") == 1


def test_a_fault_is_one_line_and_exit_code_1(run, trained, tmp_path):
    (tmp_path / "config.json").write_text("{")
    code, _, err = run("eval", tmp_path)
    assert code == 1 and err.count("\n") == 1 and "config.json" in err


def test_ctrl_c_is_exit_code_130(run, monkeypatch):
    import tutelage.cli.list as command

    def stop(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "main", stop)
    assert run("list")[0] == 130


# ---- numbers and help -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["4096", "4_096", "4.096e3", "4096.0"])
def test_whole_numbers_are_understood_as_people_write_them(text):
    assert parse_whole(text) == 4096 and isinstance(parse_whole(text), int)


@pytest.mark.parametrize("text", ["1.5", "1e-3", "nan", "inf", "1e999999999", "many", ""])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match=f"'{text}' is no whole number"):
        parse_whole(text)


def test_numbers_of_a_teacher_and_of_options_are_read_the_same_way():
    argv = ["--run", "1e2", "--teacher.steps", "2_000", "--maybe", "3e0"]
    args = parse(Numbers, "test", argv, "")
    assert (args.run, args.teacher.steps, args.maybe) == (100, 2000, 3)
    assert all(type(n) is int for n in (args.run, args.teacher.steps, args.maybe))


def test_python_takes_1e6_for_a_whole_number():
    assert type(method_config("mappo", steps=1e6).steps) is int and method_config("mappo", lr=1.0).lr == 1.0
    with pytest.raises(BadInput, match=r"steps = 1.5: must be int"):
        method_config("mappo", steps=1.5)


@pytest.mark.parametrize(
    "argv", [[verb] for verb in VERBS] + [["train", name, "marine/easy"] for name in METHODS], ids=words
)
def test_help_names_a_default_once(run, argv, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    message = run(*argv, "--help")[1]
    assert not re.search(r"((?<!\()[Dd]efault|\(default [^:])[^\n|│]*\(default: None\)", message)


# ---- start-up ------------------------------------------------------------------------------------------------------
def test_help_takes_less_than_half_a_second():
    def seconds():
        began = time.perf_counter()
        subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["list"], ["list", "--json"], ["train", "--help"], ["train", "kd_marl", "smax/3m", "--help"],
     ["eval", "--help"], ["resume", "--help"], ["train", "mappo", "smax/9m"],
     ["train", "mappo", "smax/3m", "--lr", "x"]],
    ids=words,
)  # fmt: skip
def test_help_listing_and_typing_errors_need_no_jax(argv):
    code = (
        "import sys\nfrom tutelage.cli.main import exit_code, prepare\nprepare()\n"
        "try:\n    exit_code(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'jax', 'jaxmarl', 'flax', 'optax', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_is_quick_and_its_names_are_there():
    code = (
        "import sys, tutelage\nassert 'jax' not in sys.modules\n"
        "assert all(getattr(tutelage, name) is not None for name in tutelage.__all__)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=os.environ)


def test_a_closed_pipe_is_not_an_error():
    done = subprocess.run(f"{COMMAND} list | head -1", shell=True, capture_output=True, text=True)
    assert done.stdout == "methods\n" and done.stderr == ""


def test_of_several_presets_the_last_one_counts(tmp_path, capsys):
    argv = [
        "train",
        "mappo",
        "probe/action",
        "--out",
        str(tmp_path / "run"),
        "--preset",
        "fast",
        "--preset=nonsense",
    ]
    assert exit_code(argv) == 2
    assert "unknown preset of mappo 'nonsense'" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ("train mappo probe/action --out notes.txt/run", "notes.txt/run"),
        ("demo --out notes.txt/demo", "notes.txt/demo/expert"),
        ("demo --out notes.txt", "notes.txt/expert"),
        ("render probe/action -o notes.txt/a.png", "notes.txt/a.png"),
    ],
)
def test_nothing_can_be_written_below_a_file(tmp_path, monkeypatch, capsys, words, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert exit_code(words.split()) == 2
    assert capsys.readouterr().err == f"tutelage: out = {out}: notes.txt is a file, must be a directory\n"
