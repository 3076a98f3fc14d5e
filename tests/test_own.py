"""Environments of one's own: those of the FAQ work, and what does not keep to its spec is refused in one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jax
import pytest

from tutelage import BadInput, evaluate, make
from tutelage.configs.hint import HintConfig
from tutelage.methods.hint.method import hint
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

    @jax.jit
    def go(keys):
        state, begun = env.reset(keys[0])
        timestep = jax.tree.map(lambda x: x[None], begun._replace(goals=env.goals(state)))
        return policy.step(policy.init(keys[1]), policy.carry(1), timestep, keys[2])[1].extra.goal, state.lit

    given, lit = go(jax.random.split(jax.random.key(0), 3))
    assert set(given[0].tolist()) <= {int(lit), 3}  # the lit button, or none


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
    "no method": ("self.goals = 7", "goals is 7, must be a method"),
    "features": (with_goals("features=g.features[0]"), r"goals: features are \(3, 4\)"),
    "agents": (with_goals("features=jnp.repeat(g.features, 2, 0)"), r"goals: features are \(4, 3, 4\)"),
    "no goals": (with_goals("features=g.features[:, :0]"), r"goals: features are \(2, 0, 4\)"),
    "valid": (with_goals("valid=1.0 * g.valid"), r"goals: valid is float32 \(2, 3\), must be bool"),
    "thing": (with_goals("thing=g.thing[0]"), r"goals: thing is int32 \(3,\), must be int \(2, 3\)"),
}


def facts(**changes):
    """The line that changes facts of the spec."""
    return f"self.spec = replace(self.spec, {', '.join(f'{k}={v!r}' for k, v in changes.items())})".replace(
        "inf", "1e999"
    )


COUNT = "a whole number from 1 to 2147483647"
WRONG |= {
    "no steps": (facts(max_steps=0), f"spec.max_steps is 0, must be {COUNT}"),
    "negative": (facts(max_steps=-3), f"spec.max_steps is -3, must be {COUNT}"),
    "no end": (facts(max_steps=2**31), f"spec.max_steps is 2147483648, must be {COUNT}"),
    "half a step": (facts(max_steps=7.5), f"spec.max_steps is 7.5, must be {COUNT}"),
    "nobody": (facts(n_agents=0), f"spec.n_agents is 0, must be {COUNT}"),
    "types": (facts(agent_types=("a",)), r"spec.agent_types is \('a',\), must be n_agents = 2 names"),
    "counts": (
        facts(action_counts=(3, 4)),
        r"spec.action_counts is \(3, 4\), must be n_agents = 2 whole numbers from 1 t",
    ),
    "few counts": (
        facts(action_counts=(3,)),
        r"spec.action_counts is \(3,\), must be n_agents = 2 whole numbers from 1 t",
    ),
    "widths": (
        facts(obs_widths=(3, 0)),
        r"spec.obs_widths is \(3, 0\), must be n_agents = 2 whole numbers from 1 to 3",
    ),
    "limit": (facts(time_limit="never"), "spec.time_limit is 'never', must be 'terminal' or 'truncation'"),
    "measure": (facts(measure="speed"), "spec.measure is 'speed', must be 'success' or 'return'"),
    "scale": (facts(reward_scale=float("1e999")), "spec.reward_scale is inf, must be greater than 0"),
    "layout": (facts(layout=((0, 1, 9),)), r"spec.layout has \(0, 1, 9\), must be a Block within obs_width = 3"),
    "no pair": ("self.reset = lambda key: jnp.zeros(2)", r"reset gives \(.*\), must be \(state, tutelage.TimeStep\)"),
    "complex": (
        "self.reset = lambda key: (lambda s, t: (s, t._replace(reward=t.reward * 1j)))(*Aims.reset(self, key))",
        r"reward of reset is complex64 \(\), must be float \(\)",
    ),
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


KINDS = """
import jax.numpy as jnp
from lights import Lights


class Kinds(Lights):
    def reset(self, key):
        return self.changed(*super().reset(key))

    def step(self, key, state, action):
        return self.changed(*super().step(key, state, action))

    def changed(self, state, ts):
        small = dict(obs=(255 * ts.obs).astype(jnp.uint8), state=ts.state.astype(jnp.float16))
        bits = dict(avail=ts.avail.astype(jnp.int8), last=ts.last.astype(jnp.int32), action=ts.action.astype(jnp.int8))
        return state, ts._replace(**small, **bits, reward=(10 * ts.reward).astype(jnp.int32))

    def sense(self, state):
        return super().sense(state)._replace(alive=jnp.array([True, False]))


class Dead(Kinds):
    def sense(self, state):
        sensed = super().sense(state)
        return sensed._replace(obs=sensed.obs.at[1].set(jnp.nan), alive=jnp.array([True, False]))

    def changed(self, state, ts):
        return state, ts._replace(**self.sense(state)._asdict())
"""


def test_numbers_of_other_kinds_are_read_as_the_kinds_that_learners_take(own):
    (own / "wrong.py").write_text(KINDS)
    _, timestep = make("wrong:Kinds").reset(jax.random.key(0))
    kinds = {name: x.dtype.name for name, x in timestep._asdict().items() if hasattr(x, "dtype")}
    floats, bools = (
        dict.fromkeys(("obs", "state", "reward", "discount"), "float32"),
        ("avail", "alive", "first", "last"),
    )
    assert kinds == floats | dict.fromkeys((*bools, "success"), "bool") | {"action": "int32"}
    assert timestep.obs.max() == 255 and bool(timestep.avail.all())


def test_what_a_dead_agent_senses_is_zero_wherever_it_is_read(own):
    (own / "wrong.py").write_text(KINDS)
    env = make("wrong:Dead")
    state, timestep = env.reset(jax.random.key(0))
    after = env.step(jax.random.key(1), state, timestep.action)[1]
    for result in (timestep, after, env.sense(state)):
        assert result.obs[1].tolist() == [0.0, 0.0, 0.0] and result.obs[0].sum() == 1
