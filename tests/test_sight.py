"""Restricted sight: what is hidden changes nothing, what is shown stays, what is always hidden needs no column."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import build, make_spec, make_steps, random_params
from played import played
from tutelage import BadInput, make
from tutelage.envs.parts import blocks, entity_columns
from tutelage.policies.sight import Sight, blocks_by_group, parse_sight, restrict, sights
from tutelage.policies.views import read_view, view
from tutelage.registry import method_config

LAYOUT = blocks(*entity_columns("ally", 1, 4, 1), *entity_columns("enemy", 3, 4, 1), ("heard", 2), ("own", 3))
SPEC = make_spec(
    n_agents=4, n_actions=6, obs_width=21, layout=LAYOUT, agent_types=("a", "a", "b", "b"), obs_widths=(21,) * 4
)
ALLY, ENEMIES, HEARD, OWN = slice(0, 4), [slice(4 * i, 4 * i + 4) for i in (1, 2, 3)], slice(16, 18), slice(18, 21)
DISTANCES = ((ALLY, 0.3), (ENEMIES[0], 0.9), (ENEMIES[1], 0.2), (ENEMIES[2], 0.5))


def row() -> np.ndarray:
    """An observation whose entities stand at `DISTANCES`."""
    x = np.random.default_rng(0).uniform(1, 2, 21).astype(np.float32)
    for at, distance in DISTANCES:
        x[at.start + 1 : at.start + 3] = distance * np.array([0.6, -0.8])
    return x


def restricted(obs, sight: Sight, spec, compact: bool):
    """What a view of the observation alone shows under a restriction."""
    return read_view(restrict(view("local-no-id", spec), sight, spec, compact), SimpleNamespace(obs=obs))


def seen(rule: str, compact: bool = False, x: np.ndarray | None = None) -> np.ndarray:
    x = row() if x is None else x
    return np.asarray(restricted(jnp.asarray(x), parse_sight(rule, SPEC), SPEC, compact))


def without(*hidden: slice) -> np.ndarray:
    x = row()
    for columns in hidden:
        x[columns] = 0
    return x


@pytest.mark.parametrize(
    ("rule", "hidden"),
    [
        ("full", ()),
        ("radius=1", ()),
        ("radius=0.6", (ENEMIES[0],)),
        ("radius=0.25", (ALLY, ENEMIES[0], ENEMIES[2])),
        ("radius=0", (ALLY, *ENEMIES)),
        ("nearest=3", ()),
        ("nearest=2", (ENEMIES[0],)),
        ("nearest=1", (ENEMIES[0], ENEMIES[2])),
        ("drop=ally", (ALLY,)),
        ("drop=heard,enemy", (HEARD, *ENEMIES)),
        ("radius=0.6+drop=heard", (ENEMIES[0], HEARD)),
        ("radius=0.25+nearest=2", (ALLY, ENEMIES[0], ENEMIES[2])),
    ],
)
def test_hidden_columns_are_zero_and_the_others_stay(rule, hidden):
    np.testing.assert_array_equal(seen(rule), without(*hidden))


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("drop=ally", np.r_[4:21]),
        ("drop=heard,enemy", np.r_[0:4, 18:21]),
        ("radius=0", np.r_[16:21]),
        ("radius=0+drop=heard", np.r_[18:21]),
    ],
)
def test_columns_known_to_be_hidden_are_left_out(rule, kept):
    np.testing.assert_array_equal(seen(rule, compact=True), row()[kept])


def test_a_compact_radius_keeps_its_columns():
    np.testing.assert_array_equal(seen("radius=0.6", compact=True), seen("radius=0.6"))


def test_the_nearest_are_sorted_and_say_who_they_are():
    shown = seen("nearest=2", compact=True)
    x = row()
    expected = [x[ALLY], x[ENEMIES[1]], [0, 1, 0], x[ENEMIES[2]], [0, 0, 1], x[HEARD], x[OWN]]
    np.testing.assert_array_equal(shown, np.concatenate(expected).astype(np.float32))


def test_what_the_environment_does_not_show_is_never_among_the_nearest():
    x = row()
    x[ENEMIES[1]] = 0  # out of the agent's own sight: zeros, so its distance reads 0
    shown = seen("nearest=1", compact=True, x=x)
    np.testing.assert_array_equal(shown[4:11], [*x[ENEMIES[2]], 0, 0, 1])
    for enemy in ENEMIES:
        x[enemy] = 0
    assert not seen("nearest=1", compact=True, x=x)[4:11].any()


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("rule", ["radius=0", "radius=0.6", "nearest=1", "drop=ally,heard"])
def test_what_is_hidden_changes_nothing_of_the_output(rule, compact):
    """Move hidden entities about beyond reach: a policy with that sight must not notice."""
    base = view("local", SPEC)
    shown = restrict(base, parse_sight(rule, SPEC), SPEC, compact)
    steps = make_steps(SPEC, (2,))
    obs = jnp.broadcast_to(jnp.asarray(row()), steps.obs.shape)
    noise = np.zeros(21, np.float32)
    noise[ENEMIES[0]] = [5, 3, -3, 5] if "drop" not in rule else 0  # farther away still
    if "drop" in rule:
        noise[ALLY], noise[HEARD] = 1, 1
    read = lambda obs, seen=shown: read_view(seen, steps._replace(obs=obs))
    np.testing.assert_array_equal(read(obs), read(obs + noise))
    assert (read(obs, base) != read(obs + noise, base)).any()
    assert shown.width == read(obs).shape[-1], "a view is as wide as it says"
    np.testing.assert_array_equal(read(obs)[..., -4:], read(obs, base)[..., -4:], "the number stays")


def test_some_may_see_less_than_others():
    each = sights("0,2:radius=0;1,3:full", SPEC)
    assert each == (Sight(radius=0.0), Sight(), Sight(radius=0.0), Sight())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("half", "radius=R"),
        ("radius=", "radius=R"),
        ("radius=-1", "radius=R"),
        ("radius=nan", "radius=R"),
        ("nearest=0", "nearest=K"),
        ("nearest=1.5", "nearest=K"),
        ("drop=", "drop=GROUP"),
        ("drop=enemies", "did you mean 'enemy'"),
        ("drop=own", "unknown sight: group 'own'"),
        ("0-2:radius=0", r"each of the agents 0\.\.3 once"),
        ("0-4:radius=0", r"each of the agents 0\.\.3 once"),
        ("0-3:radius=0;1:full", r"each of the agents 0\.\.3 once"),
        ("a:radius=0", "does not name agents"),
    ],
)
def test_impossible_sights_are_refused_by_name(text, names):
    with pytest.raises(BadInput, match=names) as refusal:
        sights(text, SPEC)
    assert "\n" not in str(refusal.value)


def test_sight_needs_entities_and_a_layout_of_ones_own():
    with pytest.raises(BadInput, match="no entities"):
        sights("radius=0.5", make("probe/action").spec)
    with pytest.raises(BadInput, match="no entities"):
        sights("nearest=2", make("fire_commander/easy").spec)  # regions are told of by radio, wherever they are
    assert sights("drop=region", make("fire_commander/easy").spec)
    with pytest.raises(BadInput, match="agent 0 observes columns of its own"):
        build("mappo", make("mpe/simple_speaker_listener"), sight="drop=landmark")


@pytest.mark.parametrize("env_id", ["smax/2s3z", "mpe/simple_spread", "mpe/simple_reference", "mpe/simple_tag"])
def test_an_entitys_place_is_where_the_environment_says_it_is(env_id):
    """Of everything at least as near as an agent can see, nothing is hidden; at radius 0.0001 every entity is."""
    spec, obs = make(env_id).spec, played(env_id).steps.obs
    obs = obs.reshape(-1, spec.obs_width)
    wide, narrow = (np.asarray(restricted(obs, Sight(radius=r), spec, False)) for r in (100.0, 1e-6))
    np.testing.assert_array_equal(wide, obs)
    for name, members in blocks_by_group(spec).items():
        columns = np.r_[tuple(slice(b.start, b.stop) for b in members)]
        if members[0].place is not None:
            assert obs[:, columns].any() and not narrow[:, columns].any(), name
        else:
            np.testing.assert_array_equal(narrow[:, columns], obs[:, columns])


# ---- unequal teams -------------------------------------------------------------------------------------------------
def team_of(**settings):
    config = method_config("mappo", core="mlp", **settings)
    return build("mappo", Env(), **settings, core="mlp").roles["student"].groups, config


class Env:
    """All that building a team asks of an environment."""

    spec = SPEC


def macs_of(groups_of_team) -> int:
    from tutelage.policies.cost import group_cost

    return sum(group_cost(group).macs for group in groups_of_team)


def test_restricted_agents_get_networks_of_their_own_and_narrower_inputs():
    team, _ = team_of(sight="0-1:radius=0;2-3:full", size="width=8")
    assert [(g.agents, g.agent.inputs) for g in team] == [((0, 1), 9), ((2, 3), 25)]
    team, _ = team_of(sight="0-1:radius=0;2-3:full", hidden="zero", size="width=8")
    assert [(g.agents, g.agent.inputs) for g in team] == [((0, 1), 25), ((2, 3), 25)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        dict(sight="0-1:radius=0;2-3:full"),
        dict(sight="0-1:radius=0;2-3:full", capacity="inputs"),
        dict(sight="0-1:radius=0;2-3:full", capacity="inputs", hidden="zero"),
        dict(capacity="a=2,b=1"),
    ],
)
def test_unequal_teams_keep_to_the_same_budget(settings):
    """The budget is the team's, and one step wider would break it."""
    team, _ = team_of(size="flops=1500", **settings)
    assert 0.85 * 4 * 750 < macs_of(team) <= 4 * 750
    widths = {agent: group.agent.width for group in team for agent in group.agents}
    if settings.get("capacity") == "inputs":
        np.testing.assert_allclose(widths[0] / widths[2], 9 / 25, rtol=0.1)
    elif settings.get("capacity"):
        assert widths[0] == widths[1] and abs(widths[0] - 2 * widths[2]) <= 1
    else:
        assert len(set(widths.values())) == 1


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(capacity="big"), "TYPE=SHARE"),
        (dict(capacity="a=2"), "no share for agent type 'b'"),
        (dict(capacity="a=2,c=1"), "unknown capacity: agent type 'c'"),
        (dict(capacity="a=2,b=0"), "greater than 0"),
        (dict(capacity="a=2,b=x"), "'x' is not a number"),
        (dict(capacity="a=2,b=1", size="tiers=0-3:8"), "leave capacity at equal"),
    ],
)
def test_impossible_capacities_are_refused_by_name(settings, names):
    with pytest.raises(BadInput, match=names):
        team_of(**settings)


def test_a_team_of_unequal_sight_plays():
    policy = build("mappo", Env(), sight="0:radius=0;1:nearest=1;2-3:drop=ally", size="width=8").roles["student"]
    ts = make_steps(SPEC, (2,))
    scores = jax.jit(policy.step)(random_params(policy), policy.carry(2), ts, jax.random.key(0))[1].scores
    assert scores.shape == (2, 4, 6) and np.isfinite(scores).all()
