"""A user's own code that raises: one line that says where, and the traceback of his own lines."""

from __future__ import annotations

import re
import sys

import jax
import pytest

import tutelage
from helpers import QUICK, TINY
from tutelage import BadInput, evaluate, make
from tutelage.cli.main import exit_code
from tutelage.envs.user_env import UserEnv
from tutelage.policies.acting import random_policy, sample
from tutelage.report.render import render

WORLD = """
import numpy as np
from helpers import my_probe
from tutelage import BadInput


class World:
    def __init__(self):
        self.probe = my_probe()

    def __getattr__(self, part):
        return getattr(self.probe, part)


class Steps(World):
    def step(self, key, state, action):
        return self.deeper(1)

    def deeper(self, count):
        return count / 0


class Turns(World):
    def step(self, key, state, action):
        return self.step(key, state, action)


class Asks(World):
    def step(self, key, state, action):
        if state.t > 0:
            return None


class Senses(World):
    def sense(self, state):
        raise LookupError


class Draws(World):
    def draw(self, state):
        raise KeyError("colour")


class Guides(World):
    def scripted(self, name="local"):
        raise NotImplementedError("later")


class Refuses(World):
    def step(self, key, state, action):
        raise BadInput("wind: must be calm")


def broken():
    raise RuntimeError("no display")


def stops():
    raise SystemExit("licence")


def counts(env):
    return lambda timestep: np.asarray(timestep.obs).argmax(-1)


def unborn(env):
    raise OSError("no file")
"""
METHOD = """
from tutelage.configs.ppo import PpoConfig
from helpers import build


def method(env, config: PpoConfig, teacher=None):
    made = build("mappo", env)
    stage = made.stages[0]._replace(update=lambda state, rollouts, key, progress: rollouts["nobody"])
    return made._replace(stages=(stage,))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of the user's modules."""
    files = {
        "world": WORLD,
        "method": METHOD,
        "unread": "def x(:\n",
        "poor": "import nowhere_to_be_found\n",
        "leaves": "import sys\nsys.exit(3)\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in files:
        sys.modules.pop(name, None)


def frames_of(error):
    """(file, function) of the frames that are shown."""
    return re.findall(r'File ".*?(\w+\.py)", line \d+(?:, in (\S+))?', error.frames)


@pytest.mark.parametrize(
    "name, says, frames",
    [
        ("world:Steps", "step raised ZeroDivisionError: division by zero", ["step", "deeper"]),
        ("world:Senses", "sense raised LookupError", ["sense"]),
        ("world:broken", "making it raised RuntimeError: no display", ["broken"]),
        ("world:stops", "making it raised SystemExit: licence", ["stops"]),
        ("poor:X", "importing poor raised ModuleNotFoundError: No module named 'nowhere_to_be_found'", ["<module>"]),
        ("leaves:X", "importing leaves raised SystemExit: 3", ["<module>"]),
        ("unread:X", "importing unread raised SyntaxError: invalid syntax (unread.py, line 1)", [""]),
    ],
)
def test_what_raises_is_one_line_with_the_users_frames_alone(here, name, says, frames):
    with pytest.raises(BadInput) as caught:
        make(name)
    assert str(caught.value) == f"{name}: {says}"
    assert frames_of(caught.value) == [(f"{name.partition(':')[0]}.py", frame) for frame in frames]


def test_what_raised_is_the_cause_of_what_is_told(here):
    with pytest.raises(BadInput) as caught:
        make("world:Steps")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_code_without_an_end_is_told_in_a_few_frames(here):
    with pytest.raises(BadInput, match="world:Turns: step raised RecursionError: maximum recursion depth") as caught:
        make("world:Turns")
    assert "more times" in caught.value.frames and len(caught.value.frames.splitlines()) < 20


def test_python_on_arrays_that_are_compiled_says_what_to_use(here):
    with pytest.raises(BadInput, match=r"world:Asks: step raised Tracer.*; it is compiled: use jax.numpy, and jnp.wh"):
        make("world:Asks")


def test_a_refusal_of_his_own_is_told_as_it_is(here):
    with pytest.raises(BadInput) as caught:
        make("world:Refuses")
    assert str(caught.value) == "wind: must be calm"
    assert caught.value.frames == ""


def test_a_module_that_is_not_there_has_no_frames(here):
    with pytest.raises(
        BadInput, match=r"^cannot import 'nowhere' of 'nowhere:X': No module named 'nowhere'$"
    ) as caught:
        make("nowhere:X")
    assert caught.value.frames == ""


def test_a_picture_that_raises_is_told(here, tmp_path):
    with pytest.raises(BadInput, match=r"^world:Draws: draw raised KeyError: 'colour'$"):
        render("world:Draws", tmp_path / "a.png", "random")


def test_a_controller_that_raises_is_told(here):
    with pytest.raises(BadInput, match=r"^world:Guides: scripted raised NotImplementedError: later$"):
        make("world:Guides").scripted()


@pytest.mark.parametrize(
    "teacher, says",
    [
        (
            "world:counts",
            r"teacher 'world:counts' raised TracerArrayConversionError: .*; it is compiled: use jax.numpy",
        ),
        ("world:unborn", "teacher 'world:unborn': making it raised OSError: no file"),
    ],
)
def test_a_teacher_that_raises_is_told(here, tmp_path, teacher, says):
    with pytest.raises(BadInput, match=says):
        tutelage.train("bc", "probe/action", teacher=teacher, out=tmp_path / "run", quiet=True, fit=QUICK)
    assert not (tmp_path / "run").exists()


def test_a_method_that_raises_is_told(here, tmp_path):
    with pytest.raises(BadInput) as caught:
        tutelage.train("method:method", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **TINY)
    assert str(caught.value) == "method method:method: update of train raised KeyError: 'nobody'"
    assert frames_of(caught.value) == [("method.py", "<lambda>")]


def test_the_command_line_shows_the_line_then_the_frames(here, capsys):
    assert exit_code(["eval", "world:Steps", "--policy", "random"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "tutelage: world:Steps: step raised ZeroDivisionError: division by zero"
    assert lines[1] == "Your code, most recent call last:"
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_the_users_own_environment_is_read_through_one_wrapper(here):
    env = make("helpers:my_probe")
    assert isinstance(env, UserEnv) and env.name == "helpers:my_probe"
    ours = evaluate(make("probe/action"), random_policy(), (), 32, 0, sample)
    assert evaluate(env, random_policy(), (), 32, 0, sample) == ours
    state, timestep = env.reset(jax.random.key(0))
    assert bool(timestep.first) and not bool(env.step(jax.random.key(1), state, timestep.action)[1].first)
