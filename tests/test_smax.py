"""The battle engine: equal to jaxmarl step by step, and every addition by its rule."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import JAXMARL, rows
from oracle import STEPS, compare
from tutelage import BadInput, Map, Unit, make, smax
from tutelage.data.vector import make_vector_env
from tutelage.envs.battle.env import Smax
from tutelage.envs.battle.rules import TICKS
from tutelage.envs.battle.units import MAPS, TICK

STOP, UP, RIGHT, DOWN, ACT = 4, 0, 1, 2, 5
ROUNDING = 1e-4
NATIVE = [name for name, row in MAPS.items() if row.max_steps == 100 and name != "2s_vs_1sc"]
PLAYED = rows(
    ["smacv2_5_units"],  # drawn units, of all kinds
    ["3s_vs_5z", "3m", "2s3z", "5m_vs_6m", "27m_vs_30m", "3s5z_vs_3s6z", "6h_vs_8z"],
)
"""The others differ from the first in numbers alone, or draw nothing; once all 14 were compared, 6,400 steps each."""


# ---- jaxmarl's rules -------------------------------------------------------------------------------------------------
@JAXMARL
@pytest.mark.parametrize("name", NATIVE)
def test_a_map_has_jaxmarls_units(name):
    game, board = make(f"smax-jaxmarl/{name}").game, make(f"smax/{name}").rules.map
    assert (sum(board.allies.values()), sum(board.enemies.values())) == (game.num_allies, game.num_enemies)
    assert board.draws_units == game.smacv2_unit_type_generation == game.smacv2_position_generation
    units = [kind for team in (board.allies, board.enemies) for kind, n in team.items() for _ in range(n)]
    assert board.draws_units or units == [game.unit_type_names[kind] for kind in game.scenario]


@JAXMARL
@pytest.mark.parametrize("name", PLAYED)
def test_a_step_is_jaxmarls_step(name):
    """Under the same noise. A distance or cooldown that rounds to the other side of a threshold would show here; on
    other machines one may, on the one this was written on none did."""
    large = sum(MAPS[name].allies.values()) > 10
    battles = 16 if large else 64  # jaxmarl takes half a minute for more of the large ones
    result = compare(name, battles)
    gap = np.stack(result)
    differ = (gap > ROUNDING).any(0)
    assert differ.shape == (STEPS, battles)
    assert differ.sum() <= 1, dict(zip(result._fields, gap.max((1, 2)), strict=True))


@JAXMARL
@pytest.mark.parametrize("name", ["3s_vs_5z", "smacv2_5_units"])
def test_battles_begin_as_jaxmarls_do(name):
    """Means, spreads and correlations of places, and the shares of kinds, of 4000 battles each."""
    theirs, ours, n = make(f"smax-jaxmarl/{name}"), make(f"smax/{name}"), 4000
    raw = jax.jit(lambda key: jax.vmap(theirs.reset)(jax.random.split(key, n)))(jax.random.key(0))[0].state
    state = jax.jit(ours.vector(n).reset)(jax.random.key(1))[0]
    a = np.asarray(raw.unit_positions).reshape(n, -1)
    b = np.stack([state.x, state.y], 1).reshape(-1, n).T
    np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.6)
    np.testing.assert_allclose(a.std(0), b.std(0), atol=0.4)
    np.testing.assert_allclose(np.corrcoef(a.T), np.corrcoef(b.T), atol=0.1)
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        np.testing.assert_allclose(np.quantile(a, q, 0), np.quantile(b, q, 0), atol=1.5)
    if name.startswith("smacv2"):
        count = lambda kind: np.array([(np.asarray(kind) == k).mean() for k in range(6)])
        np.testing.assert_allclose(count(raw.unit_types), count(state.kind), atol=0.02)
        kind = np.asarray(state.kind)
        assert (kind[:5] == kind[5:]).all(), "the same units for both teams"


@JAXMARL
@pytest.mark.rows  # rules and controller are compared step by step
def test_the_script_wins_as_often_as_jaxmarls_does():
    results = []
    for name in ("smax/2s3z", "smax-jaxmarl/2s3z"):
        env = make(name)
        results.append(tutelage.evaluate(env, env.scripted("local"), (), 256))
    ours, theirs = results
    assert 0.35 <= theirs.success_rate <= 0.65 and theirs.episodes == 256 and theirs.length_mean < env.spec.max_steps
    assert abs(ours.success_rate - theirs.success_rate) < 0.12
    assert abs(ours.length_mean - theirs.length_mean) < 8


def test_the_local_script_never_wins_with_kiting_stalkers():
    env = make("smax/3s_vs_5z")
    result = tutelage.evaluate(env, env.scripted("local"), (), 64)
    assert result.success_rate == 0 and result.episodes == 64 and result.length_mean < env.spec.max_steps


# ---- many at once ----------------------------------------------------------------------------------------------------
def test_many_battles_at_once_follow_the_same_rules():
    env, n = make("smax/3m", max_steps=12), 32
    vector = make_vector_env(env, n)

    def body(carry: Any, key: Any) -> Any:
        state, ts = carry
        action = jnp.where(ts.avail, jax.random.uniform(key, ts.avail.shape), -1).argmax(-1)
        following = vector.step(key, state, ts, action)
        return following, (state, ts, action)

    go = jax.jit(lambda a, b: jax.lax.scan(body, vector.reset(a), jax.random.split(b, 60))[1])
    state, ts, action = jax.device_get(go(jax.random.key(0), jax.random.key(1)))
    last, first = ts.last[:-1], ts.first[1:]
    assert last.any() and (first == last).all(), "an opening step follows an ending one, and nothing else does"
    assert (state.time[1:][last] == 0).all() and (state.time[1:][~last] == state.time[:-1][~last] + 1).all()
    opening = jax.tree.map(lambda x: x[1:][last], ts)
    assert not opening.reward.any() and not opening.action.any() and (opening.discount == 1).all()
    assert opening.alive.all() and not opening.success.any()
    np.testing.assert_array_equal(ts.action[1:][~last], action[:-1][~last])
    flat = lambda x: np.moveaxis(x, -1, 1).reshape(60 * n, *x.shape[1:-1])
    one = jax.jit(jax.vmap(env.sense))(jax.tree.map(flat, state))
    np.testing.assert_allclose(one.obs, ts.obs.reshape(60 * n, *ts.obs.shape[2:]), atol=1e-6)


# ---- one battle by hand ----------------------------------------------------------------------------------------------
@cache
def rules_of(env: Smax) -> tuple[Any, Any, Any]:
    """Its compiled reset, step and sense."""
    return jax.jit(env.reset), jax.jit(env.step), jax.jit(env.sense)


class Table:
    """One battle set up by hand, on the host."""

    def __init__(self, env: Smax, **places: Any) -> None:
        reset, self.step, self.sense = rules_of(env)
        self.state, self.ts = jax.device_get(reset(jax.random.key(0)))
        self.set(**places)

    def set(self, **fields: Any) -> None:
        """Replace fields of the state, e.g. `x=[...]`."""
        like = {k: np.asarray(v, getattr(self.state, k).dtype) for k, v in fields.items()}
        self.state = self.state._replace(**like)
        self.ts = self.ts._replace(**jax.device_get(self.sense(self.state))._asdict())

    def play(self, *action: int, steps: int = 1) -> None:
        for i in range(steps):
            self.state, self.ts = jax.device_get(self.step(jax.random.key(i), self.state, np.array(action)))


of_map = cache(lambda **teams: smax(Map(*(dict(team) for team in teams.values()))))
"""The same environment for the same teams."""


def between(allies: dict[str, int], enemies: dict[str, int]) -> Smax:
    return of_map(allies=tuple(allies.items()), enemies=tuple(enemies.items()))


def hospital() -> Table:
    """A medivac between two marines; the enemies are far away and cannot see them."""
    env = between({"marine": 2, "medivac": 2}, {"zealot": 1})
    return Table(env, x=[10, 12, 11, 11, 31], y=[10, 10, 10.5, 14, 31])


def test_a_healer_heals_whom_it_is_told_from_its_energy():
    t = hospital()
    t.set(health=[20, 45, 150, 150, 150])
    t.play(STOP, STOP, ACT + 0, STOP)
    assert t.state.health[0] == pytest.approx(20 + 9 * TICKS * TICK)
    spent, back = 9 / 3 * TICKS * TICK, 0.5625 * TICKS * TICK
    assert t.state.cooldown[2] == pytest.approx(50 - spent + back) and t.state.cooldown[3] == pytest.approx(50 + back)
    assert t.ts.obs[2, -11 + 3] == pytest.approx(t.state.cooldown[2] / 200), "agents read the energy as their cooldown"


def test_healing_stops_at_full_health_and_costs_nothing_then():
    t = hospital()
    t.play(STOP, STOP, ACT + 1, STOP)
    assert t.state.health[1] == 45 and t.state.cooldown[2] > 50


def test_a_healer_needs_some_energy_to_begin_but_not_to_go_on():
    t = hospital()
    t.set(health=[20, 20, 150, 150, 150], cooldown=[0, 0, 3.0, 50, 0])
    t.play(STOP, STOP, ACT + 0, STOP)
    assert t.state.health[0] == 20, "4 points are too few to begin"
    t.set(patient=[0, -1])  # of the two medivacs
    t.play(STOP, STOP, ACT + 0, STOP)
    assert t.state.health[0] > 24, "but enough to go on with the same"
    t.play(STOP, STOP, ACT + 1, STOP)
    assert t.state.health[1] == 20, "another one is a new beginning"


def test_healers_heal_neither_themselves_nor_healers_nor_enemies_nor_the_dead():
    t = hospital()
    assert t.ts.avail.shape[-1] == ACT + 4
    np.testing.assert_array_equal(t.ts.avail[2, ACT:], [True, True, False, False])
    t.set(health=[0, 20, 100, 100, 100], x=[10, 17, 11, 11, 11])
    np.testing.assert_array_equal(t.ts.avail[2, ACT:], [False] * 4)
    np.testing.assert_array_equal(t.ts.avail[1, ACT:], [False] * 4), "a marine's action 0 is the enemy, far away"


def test_air_and_ground_do_not_push_each_other_and_some_cannot_hit_air():
    env = between({"marauder": 1, "marine": 1, "zealot": 1, "medivac": 1}, {"medivac": 1, "zealot": 1})
    t = Table(env, x=[10, 13, 10, 10, 10.5, 30], y=[10, 10, 13, 10, 10, 30])
    before = np.array([t.state.x, t.state.y])
    t.play(STOP, STOP, STOP, STOP)
    np.testing.assert_array_equal(np.array([t.state.x, t.state.y])[:, 0], before[:, 0])
    assert np.hypot(t.state.x[3] - 10, t.state.y[3] - 10) > 0.1, "medivacs do push each other"
    np.testing.assert_array_equal(t.ts.avail[:3, ACT], [False, True, False]), "marauder, marine, zealot on a medivac"


def test_a_team_of_healers_is_beaten():
    env = smax(Map({"marine": 1, "medivac": 1}, {"zealot": 1, "medivac": 1}))
    for health, success in (([0, 150, 150, 150], False), ([45, 150, 0, 150], True), ([0, 150, 0, 150], False)):
        t = Table(env, health=health, x=[5, 5, 28, 28])
        t.play(STOP, STOP)
        assert t.ts.last and bool(t.ts.success) is success and t.ts.discount == 0


def test_healing_enemies_is_not_paid_for():
    env = smax(Map({"marine": 1}, {"zealot": 1, "medivac": 1}))
    t = Table(env, health=[45, 50, 150], x=[2, 28, 28], y=[2, 28, 27])
    t.play(STOP)
    assert t.state.health[1] == pytest.approx(50 + 4.5) and t.ts.reward == 0


the_crawlers = cache(lambda: make("smax/2s_vs_1sc"))


def crawler() -> Table:
    """A shielded stalker beside a spine crawler."""
    return Table(the_crawlers(), x=[20, 4, 24], y=[16, 4, 16])


def test_damage_meets_armour_bonus_and_the_shield_first():
    t = crawler()
    t.play(ACT, STOP)
    assert t.state.health[2] == 300 - (13 + 5 - 2), "5 more against the armoured, 2 less for its armour"
    assert (t.state.shield[0], t.state.health[0]) == (80 - 25, 80)
    t.set(shield=[10, 80, 0], cooldown=[0, 0, 0])
    t.play(STOP, STOP)
    assert (t.state.shield[0], t.state.health[0]) == (0, 80 - 15), "what the shield does not hold goes through"


def test_a_shield_comes_back_after_ten_seconds_of_rest():
    t = crawler()
    t.set(x=[2, 4, 30], shield=[10, 80, 0], unhurt=[0, 0, 0])
    t.play(STOP, STOP, steps=20)
    assert t.state.shield[0] == 10, "ten seconds"
    t.play(STOP, STOP, steps=2)
    assert t.state.shield[0] == pytest.approx(12) and t.state.shield[1] == 80, "two per second, up to full"
    assert t.state.shield[2] == 0 and t.state.health[0] == 80


def test_what_cannot_move_is_not_pushed():
    t = crawler()
    t.set(x=[23.5, 4, 24], y=[16, 4, 16])
    t.play(STOP, STOP)
    assert (t.state.x[2], t.state.y[2]) == (24, 16)
    assert 24 - t.state.x[0] >= 0.99 * (0.625 + 1.125), "the other makes all the room"


def test_moves_go_where_they_say_and_the_border_kills():
    t = Table(smax(Map({"marine": 3}, {"marine": 3})), x=[8, 8, 8, 30, 30, 30], y=[4, 10, 1, 30, 28, 26])
    t.play(UP, RIGHT, DOWN)
    far = 3.15 * TICKS * TICK
    np.testing.assert_allclose(t.state.y[:2], [4 + far, 10], atol=1e-5)
    np.testing.assert_allclose(t.state.x[:2], [8, 8 + far], atol=1e-5)
    assert not t.ts.alive[2] and t.ts.alive[:2].all()
    kept = Table(smax(Map({"marine": 1}, {"marine": 1}), walls_cause_death=False), x=[8, 30], y=[1, 30])
    kept.play(DOWN)
    assert kept.ts.alive.all() and kept.state.y[0] == 0


def test_enemies_actions_can_be_hidden():
    shown, hidden = (Table(smax(Map({"marine": 1}, {"marine": 1}), see_enemy_actions=x)) for x in (True, False))
    for t in (shown, hidden):
        t.set(x=[16, 20], y=[16, 16], attack=[0, ACT], move_x=[0, 1])
    columns = slice(3, 6)
    assert shown.ts.obs[0, columns].any() and not hidden.ts.obs[0, columns].any()


# ---- maps of one's own -----------------------------------------------------------------------------------------------
def test_a_map_of_ones_own_is_a_few_lines():
    giant = Unit("G", health=400, speed=1.5, damage=30, range=1.5, sight=9, radius=1.0, period=2.0)
    env = smax(Map({"hydralisk": 3}, {"giant": 1}, units={"giant": giant}, max_steps=70), name="giant")
    assert env.spec.max_steps == 70 and env.spec.agent_types == ("hydralisk",) * 3
    result = tutelage.evaluate(env, env.scripted(), (), 64)
    assert result.success_rate > 0.9, "three hydralisks shoot one slow giant"
    assert env.draw(jax.jit(env.reset)(jax.random.key(0))[0]).shape == (384, 384, 3)


@pytest.mark.parametrize(
    ("teams", "why"),
    [
        (({"marin": 1}, {"marine": 1}), "'marin'.*'marine'"),
        (({"medivac": 1}, {"marine": 1}), "fight"),
        (({"marine": -1}, {"marine": 1}), "marine = -1"),
    ],
)
def test_impossible_maps_are_refused(teams, why):
    with pytest.raises(BadInput, match=why):
        Map(*teams)
    with pytest.raises(BadInput, match="same number"):
        Map({"marine": 2}, {"marine": 3}, draws_units=True)
