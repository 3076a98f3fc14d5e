"""What every registered environment must do. Of a family those that differ in code really play by default."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same, rows
from played import B, build, compiled, play_of, played
from tutelage import BadInput, make
from tutelage.data.vector import make_vector_env
from tutelage.registry import ENVIRONMENTS, environment_options
from tutelage.types import TimeStep

PLAYED = [name for name in ENVIRONMENTS if name.split("/")[0] in ("mpe", "probe")] + [
    "predator_prey/punish2", "smax/2s3z", "smax/MMM2", "smax/2s_vs_1sc", "smax-jaxmarl/2s3z", "fire_commander/5x5",
    "fire_commander/easy", "marine/easy", "marine/medium_source", "marine/hard_raid"]  # fmt: skip
PLAYED = [name for name in PLAYED if name in ENVIRONMENTS]
ALL_PLAYED = rows(PLAYED, ["predator_prey/punish0", "fire_commander/medium"])
TRACED = [name for name in [*PLAYED, "smax/smacv2_5_units", "smax-jaxmarl/smacv2_5_units"] if name in ENVIRONMENTS]
TRACED = rows(TRACED, [name for name in ENVIRONMENTS if name not in TRACED])
"""The code of the other levels is the same."""
GAMES = [name for name in ENVIRONMENTS if name.startswith("smax-jaxmarl/") and name.split("/")[1] not in
         ("3m", "2s3z", "27m_vs_30m", "smacv2_5_units")]  # fmt: skip
ALL = rows([name for name in ENVIRONMENTS if name not in GAMES], GAMES)
"""All of our own; the games of jaxmarl go through one adapter."""


def shapes_of(spec: Any) -> TimeStep:
    """The shape and type of every field of one timestep."""
    n = spec.n_agents
    return TimeStep(
        obs=((n, spec.obs_width), "float32"),
        state=((spec.state_width,), "float32"),
        avail=((n, spec.n_actions), "bool"),
        alive=((n,), "bool"),
        action=((n,), "int32"),
        reward=((), "float32"),
        discount=((), "float32"),
        first=((), "bool"),
        last=((), "bool"),
        success=((), "bool"),
    )


def assert_fits(spec: Any, timestep: Any, lead: tuple[int, ...] = ()) -> None:
    assert timestep.goals == timestep.watch == timestep.info == ()  # of our own worlds nothing is looked at
    result = jax.tree.leaves(timestep.links)
    assert [x.shape for x in result] == ([(*lead, spec.n_agents, spec.n_agents)] if spec.links else [])
    for name, (shape, dtype), x in zip(TimeStep._fields[:-4], shapes_of(spec)[:-4], timestep[:-4], strict=True):
        assert (x.shape, str(x.dtype)) == ((*lead, *shape), dtype), name


@pytest.mark.parametrize("name", ALL)
def test_an_opening_has_the_shapes_that_the_spec_promises(name):
    env = build(name)
    assert_fits(env.spec, jax.eval_shape(env.reset, jax.random.key(0))[1])


@pytest.mark.parametrize("name", TRACED)
def test_reset_and_step_have_the_shapes_that_the_spec_promises(name):
    env = build(name)
    key = jax.random.key(0)
    state, opening = jax.eval_shape(env.reset, key)
    assert_fits(env.spec, opening)
    state_too, following = jax.eval_shape(env.step, key, state, opening.action)
    assert_fits(env.spec, following)
    like = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert like(state) == like(state_too), "a scan over steps needs a state of one shape"


@pytest.mark.parametrize("name", ALL)
def test_the_spec_is_consistent_and_unknown_options_and_scripts_are_refused(name):
    env = build(name)
    spec = env.spec
    n = spec.n_agents
    assert len(spec.agent_types) == len(spec.action_counts) == len(spec.obs_widths) == n
    assert max(spec.action_counts) == spec.n_actions and max(spec.obs_widths) == spec.obs_width
    assert spec.time_limit in ("terminal", "truncation") and spec.version and spec.max_steps >= 1
    stop = 0
    for block in spec.layout:
        assert block.start == stop < block.stop, "blocks follow one another"
        stop = block.stop
    assert stop == spec.obs_width
    assert len({block.name for block in spec.layout}) == len(spec.layout)
    with pytest.raises(BadInput, match=r"'loacl'.*local"):
        env.scripted("loacl")
    with pytest.raises(BadInput, match="nonsense"):
        make(name, nonsense=1)


@pytest.mark.parametrize("name", TRACED)
def test_the_local_script_fits(name):
    env = build(name)
    policy = env.scripted("local")
    key = jax.random.key(0)
    ts = jax.eval_shape(jax.vmap(env.reset), jax.random.split(key, B))[1]
    carry, out = jax.eval_shape(policy.step, (), policy.carry(B), ts, key)
    assert out.scores.shape == (B, env.spec.n_agents, env.spec.n_actions)
    like = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert like(carry) == like(jax.eval_shape(lambda: policy.carry(B)))


@pytest.mark.parametrize("name", rows(["smax/smacv2_5_units"], ["smax/3s_vs_5z", "smax/27m_vs_30m", "smax-jaxmarl/3m"]))
def test_a_large_battle_opens_properly(name):
    env = build(name)
    state, ts = jax.device_get(jax.jit(lambda key: jax.vmap(env.reset)(jax.random.split(key, 2)))(jax.random.key(0)))
    assert_fits(env.spec, ts, (2,))
    assert_opening(ts)
    assert ts.avail.any(-1).all() and ts.alive.all()
    assert_picture(env.draw(jax.tree.map(lambda x: x[0], state)))


def assert_opening(ts: TimeStep) -> None:
    """The conventions of a first step."""
    assert ts.first.all() and not ts.last.any() and not ts.success.any()
    assert (ts.action == 0).all() and (ts.reward == 0).all() and (ts.discount == 1).all()


def assert_picture(picture: np.ndarray) -> None:
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert min(picture.shape[:2]) >= 64 and picture.std() > 0, "something is drawn"


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_arrays_are_finite_and_fit_the_spec(name):
    steps = played(name).steps
    spec = build(name).spec
    assert_fits(spec, steps, (spec.max_steps + 1, B))
    for x in (steps.obs, steps.state, steps.reward):
        assert np.isfinite(x).all()


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_there_is_always_something_to_do_and_padding_is_empty(name):
    steps, spec = played(name).steps, build(name).spec
    assert steps.avail.any(-1).all()
    for agent, (count, width) in enumerate(zip(spec.action_counts, spec.obs_widths, strict=True)):
        assert not steps.avail[..., agent, count:].any()
        assert (steps.obs[..., agent, width:] == 0).all()


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_the_first_step_follows_the_conventions_and_no_other_is_first(name):
    steps = played(name).steps
    assert_opening(jax.tree.map(lambda x: x[0], steps))
    assert not steps.first[1:].any()


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_a_timestep_holds_what_the_state_alone_says(name):
    trip = played(name)
    for field, x in trip.sensed._asdict().items():
        np.testing.assert_allclose(getattr(trip.steps, field), x, rtol=1e-5, atol=1e-6, err_msg=field)


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_episodes_end_by_the_limit_with_the_discount_of_the_spec(name):
    trip, spec = played(name), build(name).spec
    steps, counts = trip.steps, trip.until_last()
    last = steps.last & counts
    assert (last.sum(0) == 1).all(), "every episode ends, once"
    assert (counts.sum(0) <= spec.max_steps + 1).all()
    assert (steps.discount[counts & ~last] == 1).all()
    at_limit = last[spec.max_steps]
    assert at_limit.any(), "some episode must reach the limit, or this test says nothing"
    assert (steps.discount[spec.max_steps][at_limit] == (0 if spec.time_limit == "terminal" else 1)).all()
    assert not (steps.success & ~last & counts).any(), "success is told at the end"


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_an_environment_is_a_function_of_its_keys(name):
    assert_same(jax.device_get(play_of(name)(jax.random.key(0)))[0], played(name))


@pytest.mark.parametrize("name", [n for n in PLAYED if not n.startswith("probe/")])
def test_resets_differ_between_keys(name):
    obs = played(name).steps.obs[0]
    assert (obs[0] != obs[1]).any()


@pytest.mark.parametrize("name", ALL_PLAYED)
def test_draw_gives_a_picture(name):
    assert_picture(build(name).draw(jax.tree.map(lambda x: x[-1, 0], played(name).states)))


def test_the_registry_names_existing_factories_and_configs():
    for name in ENVIRONMENTS:
        assert environment_options(name) is not None
        assert ENVIRONMENTS[name].about


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smax/3mm", "'smax/3mm'.*'smax/3m'"),
        ("nothing", "'nothing'"),
        ("helpers:no_such", "no 'no_such'"),
        ("no_such_module:make", "no_such_module"),
    ],
)
def test_unknown_environments_are_refused_by_name(name, message):
    with pytest.raises(BadInput, match=message):
        make(name)


def test_a_users_own_factory_is_accepted():
    assert make("helpers:my_probe").spec == make("probe/action").spec


@pytest.mark.parametrize("value", [0, -5])
@pytest.mark.parametrize("name", ["smax/3m", "mpe/simple_spread", "mpe/simple_reference"])
def test_impossible_limits_are_refused(name, value):
    with pytest.raises(BadInput, match=f"max_steps = {value}"):
        make(name, max_steps=value)


GOALS = rows(
    ["smax/MMM2", "mpe/simple_spread", "mpe/simple_tag", "mpe/simple_speaker_listener", "predator_prey/punish2",
     "fire_commander/easy", "marine/medium"],
    ["smax/2s3z", "smax/2s_vs_1sc", "fire_commander/medium"],
)  # fmt: skip


@pytest.mark.parametrize("name", GOALS)
def test_goals_have_their_shapes_and_are_the_same_one_by_one_and_in_a_batch(name):
    env = build(name)
    vector, n = make_vector_env(env, 4, goals=True), env.spec.n_agents

    @jax.jit
    def two_steps(key):
        state, opening = vector.reset(key)
        state, following = vector.step(key, state, opening, jnp.zeros((4, n), int))
        return opening.goals, following.goals, env.goals(jax.tree.map(lambda x: x[2], vector.pack(state)))

    goals, later, alone = jax.device_get(two_steps(jax.random.key(0)))
    m, f = goals.features.shape[2:]
    for x, shape in zip(goals, ((4, n, m, f), *[(4, n, m)] * 4), strict=True):
        assert x.shape == shape and np.isfinite(x).all()
    assert goals.valid.any()
    if name.split("/")[0] in ("smax", "predator_prey", "marine"):  # elsewhere a place can be held, a region seen again
        assert not (goals.valid & goals.reached).any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[2], b, rtol=1e-4, atol=1e-5), later, alone)


def opened(name, **options):
    """An environment and a state at the beginning, on the host."""
    env = compiled(name, **options)
    return env, jax.device_get(env.reset(jax.random.key(0))[0])


def changed(x, at, value):
    """A copy of an array with another value at an index."""
    x = np.array(x)
    x[at] = value
    return x


def test_goals_of_battles_and_hunts_are_whom_to_bring_down():
    env, state = opened("smax/2s_vs_1sc")
    health = state.health
    each = [env.goals(state._replace(health=changed(health, 2, share * health[2]))) for share in (1.0, 0.5, 0.0)]
    goals, hurt, dead = jax.device_get(each)
    assert goals.valid.shape == (2, 1) and goals.valid.all() and not goals.reached.any()
    assert (hurt.potential > goals.potential).all()
    assert dead.reached.all() and not dead.valid.any()
    env, state = opened("smax/MMM2")  # a marauder cannot hit the medivac, the medivac nobody
    valid, kinds = np.asarray(env.goals(state).valid), np.array(env.spec.agent_types)
    assert valid[kinds == "marine"].all() and not valid[kinds == "medivac"].any()
    assert (valid[kinds == "marauder"].sum(1) == valid.shape[1] - 1).all()
    env, state = opened("predator_prey/punish2")
    caught = jax.device_get(env.goals(state._replace(free=changed(state.free, [0, 8], False))))
    assert caught.reached[:, 0].all() and not caught.valid[:, 0].any() and not caught.valid[0].any()
    assert caught.valid[1:, 1:].all()


def test_goals_of_large_battles_are_the_nearest_enemies_that_stand():
    env, state = opened("smax/27m_vs_30m")
    state = state._replace(health=changed(state.health, 30, 0.0))
    goals = jax.device_get(env.goals(state))
    valid, far = goals.valid, goals.features[..., 2]
    assert (valid.sum(1) == 17).all() and not valid[:, 3].any()
    stands = np.arange(30) != 3
    for mine, distance in zip(valid, far, strict=True):
        assert distance[mine].max() <= distance[~mine & stands].min()
    few = env.goals(state._replace(health=changed(state.health, slice(37, None), 0.0)))
    assert (np.asarray(few.valid).sum(1) == 9).all()


def test_goals_in_a_hunt_are_the_predators_and_reached_by_a_catch():
    env, state = opened("mpe/simple_tag", prey="learns")
    far = np.array([[0.0, 0.12], [0.0, 0.9], [0.0, 0.5], [0.0, 0.0]], np.float32)
    state = state._replace(place=changed(state.place, slice(4), far))
    goals = jax.device_get(env.goals(state))
    assert goals.valid[:, 0].tolist() == [True, True, True, False]
    assert goals.reached[:, 0].tolist() == [True, False, False, False], "within 0.125 they touch"
    np.testing.assert_allclose(goals.features[:, 0, 3], 0.12, rtol=1e-5)
    assert jax.jit(env._remember)(state).caught
    listens, state = opened("mpe/simple_speaker_listener")
    assert listens.goals(state).valid.tolist() == [[False] * 3, [True] * 3]


def test_an_environment_without_goals_is_refused():
    with pytest.raises(BadInput, match="goals"):
        make_vector_env(make("probe/action"), 2, goals=True)
