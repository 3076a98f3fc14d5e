"""Environments of one's own: those of the FAQ work, and what does not keep to its spec is refused in one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jax
import pytest

from tutelage import BadInput, evaluate, make
from tutelage.configs.hint import HintConfig
from tutelage.methods.hint import hint
from tutelage.policies.acting import random_policy, sample

FAQ = Path(__file__).parents[1] / "docs" / "faq.md"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The modules of the FAQ, to be imported by name."""
    for code in re.findall(r"```python\n(# (\w+)\.py\n.*?)```", FAQ.read_text(), re.DOTALL):
        (tmp_path / f"{code[1]}.py").write_text(code[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("lights", "aims", "mine", "wrong"):
        sys.modules.pop(name, None)


def test_the_environment_of_the_faq_plays(own):
    result = evaluate(make("lights:Lights"), random_policy(), (), 64, 0, sample)
    assert result.length_mean == 10
    assert result.return_mean == pytest.approx(1 / 9, abs=0.06)  # both of two press one of three by chance


def test_a_teacher_can_give_its_agents_goals(own):
    env = make("aims:Aims")
    policy = hint(env, HintConfig()).roles["teacher"]
    state, begun = env.reset(jax.random.key(0))
    timestep = jax.tree.map(lambda x: x[None], begun._replace(goals=env.goals(state)))
    given = policy.step(policy.init(jax.random.key(1)), policy.carry(1), timestep, jax.random.key(2))[1].extra.goal
    assert set(given[0].tolist()) <= {int(state.lit), 3}  # the lit button, or none


def with_goals(change):
    """The line that changes the goals."""
    return f"self.changed = lambda g: g._replace({change})"


WRONG = {
    "width": (
        "self.spec = replace(self.spec, obs_width=4)",
        r"obs of reset is float32 \(2, 3\), must be float \(2, 4\)",
    ),
    "links": ("self.spec = replace(self.spec, links=True)", r"links of reset is \(\), must be bool \(2, 2\)"),
    "state": (
        "self.of_state = lambda s: s._replace(t=1.0 * s.t)",
        r"step gives a state of .*float32 \(\), reset one of",
    ),
    "none": ("self.goals = None", "goals is None, must be a method"),
    "features": (with_goals("features=g.features[0]"), r"goals: features are \(3, 4\)"),
    "agents": (with_goals("features=jnp.repeat(g.features, 2, 0)"), r"goals: features are \(4, 3, 4\)"),
    "no goals": (with_goals("features=g.features[:, :0]"), r"goals: features are \(2, 0, 4\)"),
    "valid": (with_goals("valid=1.0 * g.valid"), r"goals: valid is float32 \(2, 3\), must be bool"),
    "thing": (with_goals("thing=g.thing[0]"), r"goals: thing is int32 \(3,\), must be int \(2, 3\)"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_does_not_keep_to_the_spec_is_refused(own, fault):
    does, says = WRONG[fault]
    (own / "wrong.py").write_text(f"""
from dataclasses import replace
import jax.numpy as jnp
from aims import Aims

class Wrong(Aims):
    changed = of_state = staticmethod(lambda same: same)
    def __init__(self):
        super().__init__()
        {does}
    def step(self, key, state, action):
        state, timestep = super().step(key, state, action)
        return self.of_state(state), timestep
    def goals(self, state):
        return self.changed(super().goals(state))
""")
    with pytest.raises(BadInput, match=f"wrong:Wrong: {says}"):
        make("wrong:Wrong")
