"""MARINE: each rule by itself, on seas set up by hand."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from played import compiled
from tutelage import BadInput, evaluate, make
from tutelage.cli.main import exit_code
from tutelage.envs.marine import rules as M
from tutelage.envs.marine.sea import EASY, HARD, Sea, levels, load_heights, recorded, synthetic
from tutelage.registry import stored_options

UP, RIGHT, DOWN, LEFT, STAY = range(5)
FLAT = M.Rules(size=10, routing=2, logistics=1, shared=False, bounds=EASY)


def calm(metres: float, size: int = 10) -> Sea:
    """A sea of one height everywhere."""
    return Sea(1, lambda luck, time: jnp.full((size * size, time.shape[0]), metres))


class Voyage:
    """Two routing ships and a logistics ship (and raiders) in given cells; destinations in rows 0 and 9."""

    def __init__(self, *cells, fuel=(10, 10), metres=0.0, goal=(0, 9), **changes):
        self.rules, self.sea = replace(FLAT, **changes), calm(metres)
        state = M.init_voyage(self.rules, self.sea, jnp.full((M.start_noise_size(self.rules, self.sea), 1), 0.5))
        at = lambda z: jnp.array(z, jnp.int32)[:, None]
        x, y = zip(*cells, strict=True)
        self.state = state._replace(x=at(x), y=at(y), fuel=at(fuel), gauge=at(fuel), goal=at(goal))

    def play(self, *action):
        self.state, self.outcome = M.advance(self.rules, self.sea, self.state, jnp.array(action)[:, None])
        return self

    def __getattr__(self, name):
        found = getattr(self.outcome, name) if name in M.Outcome._fields else getattr(self.state, name)
        return np.asarray(found)[..., 0].tolist()


def test_ships_move_up_right_down_left_and_stay_on_the_map():
    v = Voyage((4, 4), (5, 5), (0, 0)).play(UP, RIGHT, DOWN)
    assert (v.x, v.y) == ([4, 6, 0], [5, 5, 0])
    v.play(DOWN, LEFT, STAY)
    assert (v.x, v.y) == ([4, 5, 0], [4, 5, 0])


def test_a_tank_burns_one_a_step_also_at_rest_and_is_shown_a_step_late():
    v = Voyage((4, 4), (5, 5), (0, 0)).play(RIGHT, STAY, STAY)
    assert (v.fuel, v.gauge) == ([9, 9], [10, 10])
    v.play(RIGHT, STAY, STAY)
    assert (v.fuel, v.gauge) == ([8, 8], [9, 9])


def test_an_empty_tank_at_sea_ends_the_episode_and_costs_ten():
    v = Voyage((4, 4), (5, 5), (0, 0), fuel=(1, 9)).play(RIGHT, STAY, STAY)
    assert not v.over
    v.play(RIGHT, STAY, STAY)
    assert v.over and not v.won and v.reward == -10 and v.failed


def test_a_full_tank_is_enough_for_one_move_more_than_its_size_so_a_row_offset_above_two_forces_a_meeting():
    for offset, arrives in ((0, True), (2, True), (3, False)):
        v = Voyage((0, offset), (9, 9), (5, 5))
        while not v.state.arrived[0, 0] and not (hasattr(v, "outcome") and v.over):
            v.play(DOWN if v.state.y[0, 0] > 0 else RIGHT, STAY, STAY)
        assert v.arrived[0] == arrives and v.failed != arrives


def test_who_has_arrived_is_frozen_and_burns_nothing():
    v = Voyage((8, 0), (5, 5), (0, 0), fuel=(3, 9)).play(RIGHT, STAY, STAY)
    assert v.arrived == [True, False] and v.fuel == [3, 8]
    v.play(LEFT, STAY, STAY)
    assert v.x[0] == 9 and v.fuel == [3, 7]


def test_success_is_all_in_port_and_late_is_a_failure():
    v = Voyage((8, 0), (9, 8), (0, 0), fuel=(1, 1)).play(RIGHT, UP, STAY)
    assert v.over and v.won and np.isclose(v.reward, 0.05 * 2 - 0.05 + 0.1 * 2 + 5)
    v = Voyage((8, 0), (9, 8), (0, 0), limit=1).play(RIGHT, UP, STAY)
    assert v.over and not v.won
    v = Voyage((8, 0), (9, 8), (0, 0), limit=1, fuel=(0, 0)).play(STAY, STAY, STAY)
    assert v.over and not v.failed, "the limit comes first"


@pytest.mark.parametrize(
    ("size", "handed"), [(5, (0, 1, 2, 3)), (10, (0, 1, 3, 5)), (15, (0, 3, 5, 8)), (20, (0, 4, 7, 10))]
)
def test_fuel_handed_over_depends_on_the_size_of_the_map_and_the_sea(size, handed):
    assert M.HANDED[size] == handed
    for metres, level in ((0.0, 3), (1.0, 2), (3.0, 1), (5.0, 0)):
        v = Voyage((1, 1), (4, 4), (1, 1), fuel=(2, 2), size=size, bounds=HARD)
        v.sea = calm(metres, size)
        v.play(STAY, STAY, STAY)
        assert v.fuel == [min(1 + handed[level], size), 1]


def test_fuel_is_handed_over_by_the_sea_of_the_steps_beginning_in_the_cell_that_was_sailed_to():
    v = Voyage((1, 1), (9, 8), (2, 1), fuel=(2, 9), bounds=HARD)
    there, cells = 1 * 10 + 2, jnp.arange(100)[:, None]
    v.sea = Sea(1, lambda luck, time: jnp.where((cells == there) == (time == 0), 0.0, 9.0))  # elsewhere, later: storm
    assert v.play(RIGHT, STAY, STAY).fuel[0] == 2 - 1 + 5
    assert v.play(STAY, STAY, STAY).fuel[0] == 6 - 1, "a step later it storms there"


def test_a_tank_never_holds_more_than_its_size_and_each_logistics_ship_adds_its_own():
    assert Voyage((1, 1), (4, 4), (1, 1), fuel=(9, 2)).play(STAY, STAY, STAY).fuel == [10, 1]
    assert Voyage((1, 1), (4, 4), (1, 1), (1, 1), fuel=(1, 2), logistics=2).play(*[STAY] * 4).fuel == [10, 1]
    assert Voyage((1, 1), (4, 4), (1, 1), (1, 1), fuel=(1, 2), logistics=2, metres=3.0).play(*[STAY] * 4).fuel[0] == 6


def test_a_limited_supply_serves_the_two_emptiest_and_ends():
    v = Voyage((1, 1), (1, 1), (1, 1), (1, 1), fuel=(5, 3, 4), goal=(0, 9, 8), routing=3, supply=True)
    assert v.play(*[STAY] * 4).fuel == [4, 7, 8] and v.stock == [90]
    v.state = v.state._replace(stock=jnp.zeros((1, 1), jnp.int32))
    assert v.play(*[STAY] * 4).fuel == [3, 6, 7]
    v.state = v.state._replace(stock=jnp.full((1, 1), 4, jnp.int32))
    assert v.play(*[STAY] * 4).fuel == [6, 5, 6] and v.stock == [0], "the first takes the last four"


def test_the_rewards():
    v = Voyage((4, 0), (5, 9), (4, 0), fuel=(2, 9)).play(RIGHT, LEFT, STAY)
    assert np.isclose(v.reward, -0.05), "one gained a cell, one lost one"
    v = Voyage((4, 0), (5, 9), (5, 0), fuel=(2, 9), reward="source", metres=3.0).play(RIGHT, LEFT, STAY)
    assert np.isclose(v.reward, (-0.05 * 4 - 0.05 * 5 + 0.05 * 2 / 3) / 3)
    v = Voyage((8, 0), (5, 9), (5, 5), reward="source").play(RIGHT, STAY, STAY)
    assert np.isclose(v.reward, (0.1 - 0.05 * 4 - 0.05) / 3)


def test_raiders_chase_every_other_step_and_steal_from_ships_without_escort():
    v = Voyage((4, 4), (9, 8), (0, 0), (6, 4), raiders=1).play(STAY, STAY, STAY)
    assert v.x[3] == 6
    v.play(STAY, STAY, STAY)
    assert v.x[3] == 5 and v.fuel[0] == 8
    v.play(STAY, STAY, STAY).play(STAY, STAY, STAY)
    assert (v.x[3], v.y[3]) == (4, 4) and v.fuel[0] == 10 - 4 - 3
    v = Voyage((4, 4), (9, 8), (4, 4), (4, 4), raiders=1, metres=9.0, bounds=HARD).play(STAY, STAY, STAY)
    assert v.fuel[0] == 9, "escorted"


def test_new_episodes_begin_in_the_first_column_in_different_rows_with_full_tanks():
    for name, shared in (("easy", True), ("medium", False), ("medium_source", True)):
        state, _ = jax.jit(make(f"marine/{name}").vector(64).reset)(jax.random.key(0))
        r = state.goal.shape[0]
        assert (np.asarray(state.x[:r]) == 0).all() and (np.asarray(state.fuel) > 9).all()
        rows, goals = np.asarray(state.y[:r]).T, np.asarray(state.goal).T
        assert all(len(set(row)) == r for row in rows.tolist())
        assert all(len(set(g)) == (1 if shared else r) for g in goals.tolist())


def test_the_synthetic_sea_has_the_mean_deviation_and_correlations_it_claims():
    sea, n = synthetic(15), 4000
    luck = jax.random.uniform(jax.random.key(0), (sea.numbers, n))
    height_at = jax.jit(sea.height)
    at = lambda t: np.asarray(height_at(luck, np.full(n, t)))
    now, later = at(0), at(8)
    assert abs(now.mean() - 2) < 0.05 and abs(now.std() - 1) < 0.05
    correlation = lambda a, b: ((a - 2) * (b - 2)).mean()
    assert abs(correlation(now[:-2:15], now[2::15]) - np.exp(-(2**2) / (2 * 2.5**2))) < 0.12
    assert abs(correlation(now, later) - np.exp(-0.5)) < 0.12
    table = levels(sea, HARD, luck, jnp.zeros(n, jnp.int32))
    assert table.dtype == jnp.int32 and set(np.unique(table)) == {0, 1, 2, 3}
    height = now[7]
    assert (np.asarray(table[7]) == 3 - (height > 0) - 1 * (height > 2) - (height > 4)).all()


def test_a_record_of_waves_is_played_from_a_random_time(tmp_path):
    xarray = pytest.importorskip("xarray")
    heights = np.arange(4 * 30 * 20, dtype=np.float32).reshape(4, 30, 20) / 100
    path = tmp_path / "waves.nc"
    xarray.Dataset({"swh": (("time", "latitude", "longitude"), heights)}).to_netcdf(path)
    assert np.allclose(load_heights(path), heights)
    sea = recorded(load_heights(path), 10)
    found = np.asarray(sea.height(jnp.array([[0.3, 0.9]]), jnp.array([0, 1]))).reshape(10, 10, 2)
    assert np.allclose(found[0, 0], [heights[1, 0, 0], heights[0, 0, 0]])
    assert np.allclose(found[9, 9], [heights[1, 29, 19], heights[0, 29, 19]])
    env = make("marine/easy", waves=str(path))
    assert evaluate(env, env.scripted("full"), episodes=32).success_rate > 0.8
    with pytest.raises(BadInput, match="no variable 'x'"):
        load_heights(path, "x")
    with pytest.raises(BadInput, match="no such file"):
        make("marine/easy", waves=str(tmp_path / "none.nc"))
    (tmp_path / "bad.nc").write_text("no waves")
    with pytest.raises(BadInput, match="cannot be read"):
        make("marine/easy", waves=str(tmp_path / "bad.nc"))


def test_a_record_of_several_variables_is_read_by_name_and_from_the_south(tmp_path):
    xarray = pytest.importorskip("xarray")
    heights = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    kinds, path = ("time", "latitude", "longitude"), tmp_path / "waves.nc"

    def written(latitude, **variables):
        xarray.Dataset({k: (kinds, x) for k, x in variables.items()}, {"latitude": latitude}).to_netcdf(path)
        return path

    assert np.allclose(load_heights(written([10, 11, 12], mwd=100 * heights, swh=heights)), heights)
    assert np.allclose(load_heights(written([12, 11, 10], hs=heights)), heights[:, ::-1]), "the north came first"
    with pytest.raises(BadInput, match=r"no variable 'swh' .* it has: mwd \(time x latitude x longitude\), hs"):
        load_heights(written([10, 11, 12], mwd=100 * heights, hs=heights))
    assert np.allclose(load_heights(path, "hs"), heights)


@pytest.mark.parametrize("dims", [("latitude", "longitude", "time"), ("valid_time", "lon", "lat"), ("t", "y", "x")])
def test_a_record_is_read_by_the_names_of_its_dimensions(tmp_path, dims):
    xarray = pytest.importorskip("xarray")
    heights = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    written = {"t": (0, 1, 2), "latitude": (1, 2, 0), "valid_time": (0, 2, 1)}[dims[0]]
    xarray.Dataset({"swh": (dims, heights.transpose(written))}).to_netcdf(tmp_path / "waves.nc")
    assert np.allclose(load_heights(tmp_path / "waves.nc"), heights)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: 100 * x, "from 0 to 2300: must be metres from 0 to 40"),
        (lambda x: x - 5, "from -5 to 18: must be metres"),
        (lambda x: np.nan * x, "nothing but missing values"),
    ],
)
def test_what_are_no_wave_heights_is_refused(tmp_path, change, says):
    xarray = pytest.importorskip("xarray")
    heights = change(np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4))
    xarray.Dataset({"swh": (("time", "latitude", "longitude"), heights)}).to_netcdf(tmp_path / "waves.nc")
    with pytest.raises(BadInput, match=says):
        load_heights(tmp_path / "waves.nc")


def test_a_run_finds_its_record_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stored_options("marine/easy", {"waves": "sea.nc"}) == {"waves": str(tmp_path / "sea.nc")}


def test_the_observation_has_the_sources_width_and_says_where_one_is():
    env = compiled("marine/easy_source")
    assert env.spec.obs_width == 99
    state, _ = env.reset(jax.random.key(0))
    state = state._replace(x=jnp.array([3, 1, 1, 4, 9]), y=jnp.array([2, 1, 1, 2, 9]), goal=jnp.array([3, 3, 3]))
    obs = np.asarray(env.sense(state).obs)
    number = lambda digits: int((digits * 2 ** np.arange(len(digits))).sum())
    assert number(obs[0, :7]) == 23 and number(obs[0, 7:14]) == 39 and number(obs[0, 14:18]) == 10
    assert number(obs[3, :7]) == 24 and (obs[3, 7:18] == 0).all()
    window = obs[0, 18:].reshape(9, 3, 3)
    assert window[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]] and window[3, 1].tolist() == [0, 0, 1]
    assert window[5].sum() == 0 and window[6].sum() == 0, "no border, no destination"
    assert np.asarray(env.sense(state._replace(x=state.x.at[0].set(8))).obs)[0, 18:].reshape(9, 3, 3)[6].tolist() == [
        [0, 0, 0], [0, 0, 0], [0, 0, 1]], "the port in the last column, a row higher"  # fmt: skip
    corner = obs[4, 18:].reshape(9, 3, 3)
    assert corner[5].tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]


def test_the_window_shows_the_sea_that_the_last_step_was_made_in():
    env = make("marine/easy_source")
    state, _ = compiled("marine/easy_source").reset(jax.random.key(0))
    state = state._replace(x=jnp.array([4, 1, 1, 4, 9]), y=jnp.array([5, 1, 1, 2, 9]), time=jnp.asarray(3))
    # Levels 3 (up to 2 m), 2 and 1 by columns at step 2, and 1 everywhere at any other.
    by_column = jnp.array([1.0, 3.0, 5.0])[jnp.arange(100) % 10 % 3][:, None]
    env.sea = Sea(env.sea.numbers, lambda luck, time: jnp.where(time == 2, by_column, 5.0))
    low, high = np.asarray(jax.jit(env.sense)(state).obs)[0, 18:].reshape(9, 3, 3)[7:]
    assert (low + 2 * high).tolist() == [[3, 2, 1]] * 3, "columns 3, 4 and 5"


def test_raiders_are_seen_and_told_of():
    env = compiled("marine/easy_raid")
    state, _ = env.reset(jax.random.key(0))
    n = env.spec.n_agents
    state = state._replace(x=jnp.array([4, 0, 0, 8, 9, 5]), y=jnp.array([5, 0, 1, 8, 9, 5]))
    ts = np.asarray(env.sense(state).obs)[0]
    ais, window = (block for block in (env.spec.layout[1], env.spec.layout[-1]))
    assert ts[ais.start : ais.stop].tolist() == pytest.approx([1, 0.1, 0, -1, 0, 0])
    maps = ts[window.start : window.stop].reshape(-1, 3, 3)
    assert len(maps) == n + 5 and maps[-1].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert maps[:n].sum() == 1, "and itself"


def test_ais_tells_of_the_nearest_ships_within_a_quarter_of_the_map():
    env = compiled("marine/medium")
    state, _ = env.reset(jax.random.key(0))
    x, y = jnp.array([5, 6, 9, 5, 5, 14, 14]), jnp.array([5, 5, 5, 7, 5, 0, 14])
    fuel = jnp.array([9, 8, 7, 6])
    state = state._replace(x=x, y=y, gauge=fuel, goal=jnp.array([1, 2, 3, 4]))
    low = env.spec.layout[1].start
    result = np.asarray(env.sense(state).obs[0, low : low + 24]).reshape(4, 6)
    assert np.allclose(result[0], [1, 0, 0, 0, 0, 0]), "the logistics ship in the same cell"
    assert np.allclose(result[1], [1, 1 / 15, 0, 1, 8 / 15, 2 / 15])
    assert np.allclose(result[2], [1, 0, 2 / 15, 1, 6 / 15, 4 / 15])
    assert (result[3] == 0).all(), "4 > 15 / 4"


def test_the_better_ships_find_each_other_the_better_they_do():
    env = make("marine/medium")
    scores = [evaluate(env, env.scripted(n), episodes=128).success_rate for n in ("blind", "window", "local", "full")]
    assert scores[0] < 0.3 and scores == sorted(scores) and scores[2] > 0.75 and scores[3] > 0.95


def test_goals_are_the_own_port_and_meetings_of_ships_that_need_fuel():
    env = compiled("marine/medium")
    state, _ = env.reset(jax.random.key(0))
    at = lambda *z: jnp.array(z)
    state = state._replace(
        x=at(0, 0, 0, 14, 3, 5, 9), y=at(0, 3, 6, 9, 0, 5, 9), goal=at(9, 3, 6, 9),
        arrived=at(False, False, False, True), fuel=at(15, 15, 3, 5), gauge=at(15, 15, 3, 5),
    )  # fmt: skip
    valid = np.asarray(env.goals(state).valid)
    assert valid[:, 0].tolist() == [True, True, True, False, False, False, False]
    assert valid[0, 1:].tolist() == [False] * 4 + [True] * 3, "14 + 9 > 15: it needs fuel"
    assert valid[1, 1:].tolist() == [False] * 7 and valid[2, 1:].tolist() == [False] * 4 + [True] * 3
    assert valid[4].tolist() == [False, True, False, True, False, False, False, False]
    nearer = env.goals(state._replace(x=state.x.at[4].set(2)))
    assert nearer.potential[0, 5] > env.goals(state).potential[0, 5]
    full = env.goals(state._replace(fuel=at(30, 15, 3, 5), gauge=at(30, 15, 3, 5)))
    assert full.reached[0, 5] and not env.goals(state).reached[0, 5]


@pytest.mark.parametrize(
    ("option", "named"),
    [("--env.reward=gold", "'gold'"), ("--env.max-steps=0", "max_steps = 0"), ("--env.waves=/no/such.nc", "such.nc'")],
)
def test_bad_options_are_refused_by_name(option, named, capsys):
    assert exit_code(["eval", "marine/easy", option]) == 2
    message = capsys.readouterr().err
    assert named in message and "Unrecognized" not in message


@pytest.mark.parametrize(("before", "after"), [([], ["marine/easy"]), (["marine/easy"], [])])
def test_an_environment_is_evaluated_with_its_options_before_or_after_it(before, after, capsys):
    asked = ["--policy", "random", "--episodes", "4", "--env.max-steps", "3"]
    assert exit_code(["eval", *before, *asked, *after]) == 0 and "length 3.0" in capsys.readouterr().out
