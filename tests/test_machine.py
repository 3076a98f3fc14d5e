"""What a machine cannot do is one line before anything is made: settings of jax, platforms, memory, odd packages."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import tutelage
from helpers import QUICK, TINY, build
from tutelage import BadInput, Fault, machine
from tutelage.cli.main import exit_code
from tutelage.experiment import make_record, memory_check, stage_loop
from tutelage.experiment.fork import forks
from tutelage.experiment.memory_check import check_fits, check_training, collector_bytes
from tutelage.experiment.stage_loop import LoopState, StageLoop
from tutelage.machine import check_machine, memory

COMMAND = Path(sys.executable).with_name("tutelage")


# ---- settings of jax -------------------------------------------------------------------------------------------------
def test_64_bits_are_refused_wherever_a_command_begins(action_run, tmp_path):
    begins = [
        lambda: tutelage.make("smax/3m"),
        lambda: tutelage.load(action_run.path),
        lambda: tutelage.train("mappo", "probe/action", out=tmp_path / "run", **TINY),
        lambda: tutelage.resume(action_run.path),
    ]
    with jax.enable_x64(True):
        for begin in begins:
            with pytest.raises(BadInput, match="JAX_ENABLE_X64 is set: tutelage computes with 32 bits"):
                begin()
    assert not (tmp_path / "run").exists()


def test_training_without_compilation_is_refused_at_once_and_playing_is_not(tmp_path):
    with jax.disable_jit():
        with pytest.raises(BadInput, match="JAX_DISABLE_JIT is set: training is compiled"):
            tutelage.train("mappo", "probe/action", out=tmp_path / "run", **TINY)
        with pytest.raises(BadInput, match="JAX_DISABLE_JIT"):
            tutelage.resume(tmp_path)
        env = tutelage.make("probe/action")
        assert tutelage.evaluate(env, env.scripted(), (), 4).success_rate == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [(RuntimeError("Unable to initialize\n 'cuda' (set JAX_PLATFORMS='')"), ": Unable to initialize 'cuda'$"),
     (AssertionError(), "cpu always works$")],
)  # fmt: skip
def test_a_platform_that_cannot_be_had_is_named(error, message, monkeypatch):
    def fails():
        raise error

    monkeypatch.setattr(machine.jax, "devices", fails)
    with pytest.raises(BadInput, match=f"JAX_PLATFORMS = 'cpu': jax cannot use it here; .*{message}"):
        check_machine()


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_command_on_a_platform_that_is_not_there_is_one_line(platform, tmp_path):
    done = subprocess.run([COMMAND, "render", "mpe/simple_spread", "-o", tmp_path / "x.png"], capture_output=True,
                          env={**os.environ, "JAX_PLATFORMS": platform}, text=True, check=False)  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"tutelage: JAX_PLATFORMS = '{platform}': jax cannot use it here")


# ---- memory ----------------------------------------------------------------------------------------------------------
def test_memory_is_what_the_machine_has_at_most():
    assert 1e8 < memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_more_than_there_is_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(memory_check, "memory", lambda: 8e9)
    check_fits({"a": 3e9, "b": 1e9}, seeds=2)
    message = r"at least 12.0 GB of memory for 3 seeds together, and this machine has 8.0: 9.0 GB are for a; "
    with pytest.raises(BadInput, match=message):
        check_fits({"a": 3e9, "b": 1e9}, seeds=3)


def test_what_is_estimated_is_never_more_than_the_program_takes():
    """And not much less: a training is refused only where it cannot run."""
    env = tutelage.make("probe/action")
    method = build("mappo", env, **{**TINY, "envs": 512, "rollout": 32})
    runner, key = StageLoop(env, method.stages[0], 0, 1), jax.random.key(0)
    state, zero = jax.eval_shape(method.init, key), jax.ShapeDtypeStruct((), jnp.int32)
    loop = LoopState(state, jax.eval_shape(runner.init_collectors, key), zero, zero)
    true = jax.jit(runner._chunk, donate_argnums=0).lower(loop, key, zero).compile().memory_analysis()
    here, step = collector_bytes(env, method.roles["student"], 512)
    guess, taken = here + 33 * step, true.argument_size_in_bytes + true.temp_size_in_bytes
    assert 0.1 * taken < guess < taken


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (dict(envs=100_000_000), r"100,000,000 environments x 4 steps"),
        (dict(envs=2**31 - 16), r"environments side by side \(envs\)|environments x 4 steps"),
        (dict(rollout=1_000_000_000), r"16 environments x 1,000,000,000 steps"),
        (dict(critic_width=100_000_000), r"120,0\d\d,\d\d\d\.\d GB are for networks"),
        (dict(fit=tutelage.FitConfig(eval_episodes=1_000_000_000)), r"1,000,000,000 evaluation episodes"),
        (dict(seeds=100_000_000, together=True), r"for 100,000,000 seeds together"),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_made(more, message, tmp_path):
    settings = {**TINY, "fit": QUICK, "quiet": True, **more}
    with pytest.raises(BadInput, match=f"this takes at least .* GB of memory.*{message}"):
        tutelage.train("mappo", "probe/action", out=tmp_path / "run", **settings)
    assert not list(tmp_path.iterdir())


def test_a_teacher_that_cannot_fit_is_refused_before_it_is_trained(tmp_path):
    with pytest.raises(BadInput, match=r"this takes at least .* GB"):
        tutelage.train("bc", "probe/action", out=tmp_path / "run", quiet=True, teacher_config={"critic_width": 10**8})
    assert not list(tmp_path.iterdir())


def test_replay_counts(monkeypatch):
    env = tutelage.make("probe/action")
    method = build("vdn", env, capacity_steps=10**9, memory_gb=1e6)
    with pytest.raises(BadInput, match="GB are for networks and what is kept to learn from"):
        check_training(env, method, QUICK)


def test_a_program_that_cannot_fit_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(stage_loop, "memory", lambda: 1.0)
    settings = {**TINY, "entropy": 0.02}  # a program that no other test has made
    with pytest.raises(Fault, match=r"the program of stage train takes 0\.0 GB of memory, this machine has 0\.0"):
        tutelage.train("mappo", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **settings)


def test_episodes_beyond_what_is_counted_are_refused(capsys):
    assert exit_code(["eval", "probe/action", "--episodes", "1e12"]) == 2
    assert "episodes = 1000000000000: must be at least 1 and less than 2147483648" in capsys.readouterr().err


def test_forks_that_cannot_fit_are_refused():
    env = tutelage.make("probe/action")
    both = (env.scripted(), ())
    with pytest.raises(BadInput, match=r"1,000,000,000,000 environments side by side \(episodes\)"):
        forks(env, both, both, episodes=10**12)


def test_memory_that_numpy_does_not_get_is_one_line(monkeypatch, capsys):
    from tutelage.cli import main

    def fails(argv):
        raise MemoryError

    monkeypatch.setattr(main, "run", fails)
    assert exit_code(["eval"]) == 1 and capsys.readouterr().err.startswith("tutelage: out of memory;")


# ---- packages --------------------------------------------------------------------------------------------------------
def test_sources_without_metadata_tell_their_versions(monkeypatch):
    def fails(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(make_record, "version", fails)
    result = make_record.versions()
    assert result["tutelage"] == tutelage.__version__ and result["jax"] == jax.__version__
    assert all(isinstance(version, str) for version in result.values())


def test_without_jaxmarl_its_environments_are_not_listed_and_refused_in_one_line():
    code = (
        "import importlib.util as util, sys\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'jaxmarl' else found(name, *more)\n"
        "sys.modules['jaxmarl'] = None\n"  # whoever imports it fails
        "from tutelage.cli.main import exit_code\n"
        "codes = [exit_code(argv.split()) for argv in ('list', 'eval smax-jaxmarl/3m --env.max-steps 5',\n"
        "    'train ippo smax-jaxmarl/3m', 'eval mpe/simple_tag --episodes 2 --policy scripted')]\n"
        "sys.exit(codes != [0, 2, 2, 0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mpe/simple_tag" in done.stdout and "smax-jaxmarl" not in done.stdout
    line = "smax-jaxmarl/3m needs the package jaxmarl: pip install 'tutelage[jaxmarl]'"
    assert [result.partition(": ")[2] for result in done.stderr.splitlines()] == [line] * 2
