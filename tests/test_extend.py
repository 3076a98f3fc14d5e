"""The examples of docs/extend.md, as they stand."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK
from tutelage import BadInput, TermInput
from tutelage.methods import coma
from tutelage.types import Out

DOCS = Path(__file__).parents[1] / "docs" / "extend.md"
PPO = dict(steps=64, envs=4, rollout=8, core="mlp", size="width=8", critic_width=8)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The page's modules, to be imported by name, also by processes."""
    for code in re.findall(r"```python\n(# (\w+)\.py\n.*?)```", DOCS.read_text(), re.DOTALL):
        (tmp_path / f"{code[1]}.py").write_text(code[0])
    shutil.copy(coma.__file__, tmp_path / "mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("forage", "contrast", "mine", "attention"):
        sys.modules.pop(name, None)


def test_the_foragers_are_trained_and_taught(own):
    found = tutelage.check("forage:Forage", episodes=8)
    assert not found.faults and found.facts["n_agents"] == 3
    teacher = tutelage.train(
        "mappo", "forage:Forage", env_options={"cells": 5}, out=own / "t", fit=QUICK, chunk=1, **PPO
    )
    assert teacher[0].env.spec.obs_widths == (3, 3, 4) and "berries" in teacher[0].test["info"]
    small = dict(gather=100, envs=4, passes=1, core="mlp", size="width=8")
    given = dict(teacher=teacher[0].path, env_options={"cells": 5}, out=own / "s", fit=QUICK)
    assert tutelage.train("kd_marl", "forage:Forage", **given, **small)[0].test["length_mean"] == 25


def test_a_copied_method_is_trained_by_its_name(own):
    run = tutelage.train("mine:coma", "probe/action", out=own / "run", fit=QUICK, **PPO)[0]
    assert run.record["method"] == "mine:coma" and tutelage.load(own / "run", trust=True).actor == "student"


def test_the_attention_is_trained_and_opened(own):
    given = dict(PPO, size="width=16", chunk=1, core="attention:over_entities", fit=QUICK)
    run = tutelage.train("mappo", "mpe/simple_spread", out=own / "run", **given)[0]
    loaded = tutelage.load(own / "run", trust=True)
    assert jax.tree.map(jnp.shape, loaded.params("student")) == jax.tree.map(jnp.shape, run.params("student"))
    assert loaded.roles["student"].macs == 3 * (
        5 * 4 * 16 + 5 * 16 * 16 + 4 * 16 + 2 * 5 * 16 + (4 + 16 + 7) * 16 + 16 * 5
    )
    with pytest.raises(BadInput, match="names 'attention:over_entities', which is not of tutelage"):
        tutelage.load(own / "run").policy("student")


def test_the_contrastive_term_is_low_where_features_follow_the_action(own):
    import contrast

    actions = np.arange(24).reshape(2, 4, 3) % 3
    scores, features = jax.nn.one_hot(actions, 3), jax.nn.one_hot(actions, 5)
    real = np.ones((2, 4, 3), bool)
    term = lambda x: float(contrast.by_action(TermInput(None, actions, real, Out(scores, (x,)), scores)))
    # Eight rows of each action: of the 23 others 7 are alike, with a similarity of 1 against 0.
    expected = np.log(7 * np.exp(1 / 0.2) + 16) - 1 / 0.2
    assert term(features) == pytest.approx(expected, rel=1e-4) and term(jnp.ones_like(features)) > 3


def test_the_contrastive_term_is_learned_from(own):
    settings = dict(gather=64, envs=4, passes=1, core="mlp", size="width=8", share="team", term="contrast:by_action")
    given = dict(teacher="scripted:local", out=own / "run", fit=QUICK)
    assert tutelage.train("kd_marl", "probe/action", **given, **settings)[0].record["config"]["term_weight"] == 1.0
