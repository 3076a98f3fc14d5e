"""Battles in words: what each action does, and what a person must know who plays them with a game of their own."""

from __future__ import annotations

from tutelage.envs.battle.healing import (
    ENERGY,
    ENERGY_BACK,
    ENERGY_TO_BEGIN,
    HEALING,
    HEALTH_PER_ENERGY,
    START_ENERGY,
)
from tutelage.envs.battle.rules import MOVES, TICKS, Rules
from tutelage.envs.battle.senses import n_actions
from tutelage.envs.battle.starts import START_SPREAD
from tutelage.envs.battle.ticks import SHIELD_BACK, SHIELD_REST
from tutelage.envs.battle.units import MAP_SIZE, NATIVE, TICK, Unit
from tutelage.envs.parts import WAYS, runs_text

ORDERS = (*(f"move {WAYS[way]}, while alive" for way in ((0, 1), (1, 0), (0, -1), (-1, 0))), "stop")
"""Names of the actions that name no unit."""


def action_names(rules: Rules) -> tuple[str, ...]:
    """What each action does, and while what it is available."""
    return (*ORDERS, *(target_name(rules, k) for k in range(n_actions(rules) - MOVES)))


def target_name(rules: Rules, k: int) -> str:
    """What the action does that names unit `k`: attackers take an enemy for it, healers a team mate."""
    n, roster = rules.allies, rules.map.roster
    kinds = lambda which: list(dict.fromkeys(roster[i] for i in range(n) if which[i]))
    heal = kinds(rules.can_heal[:n, k]) if k < n else []
    if k >= rules.enemies and not heal:
        return f"nothing ({k}), never available"
    if k >= rules.enemies:
        what = f"heal agent {k} ({' and '.join(heal)} only)"
    else:
        hit = kinds(rules.can_hit[:n, n + k])
        idle = [kind for kind in dict.fromkeys(roster[:n]) if kind not in (*hit, *heal)]
        others = [f"{kind}: heal agent {k}" for kind in heal] + [f"not {kind}" for kind in idle]
        what = f"attack enemy {k}" + (f" ({', '.join(others)})" if others else "")
    return f"{what}, while that unit is alive and in range"


def notes(rules: Rules, limit: int, see_enemy_actions: bool) -> tuple[str, ...]:
    """What a person must know beyond the names of columns and actions."""
    return (*task(rules, limit), *columns(rules, see_enemy_actions), *actions(rules), *kinds(rules))


def task(rules: Rules, limit: int) -> tuple[str, ...]:
    """The task, the opponents, success, return and time."""
    map, n, heals = rules.map, rules.allies, rules.healer.any()
    (ax, ay), (ex, ey) = map.ally_start, map.enemy_start
    if map.draws_units:
        teams = (
            f"The agents, 0 to {n - 1}, fight as many enemies. Each agent's kind is drawn for every episode out of "
            f"{', '.join(NATIVE)}; enemy k is of agent k's kind.",
            "Starts are drawn too: one of the teams near the middle and the other in groups around it, or the "
            "agents on the left and the enemies at the mirrored places on the right.",
        )
    else:
        teams = (
            f"The agents fight the enemies. Agents: {runs_text(map.roster[:n])}. Enemies: {runs_text(map.roster[n:])}.",
            f"Agents start around ({ax:g}, {ay:g}), enemies around ({ex:g}, {ey:g}), each up to {START_SPREAD:g} "
            "from there along x and along y.",
        )
    script = (
        "A script plays the enemies: each attacks the nearest agent that it can hit within its range and keeps to "
        "it while it is in range; else it goes towards one that it sees, drawn anew at every step; else towards the "
        "point opposite its start."
    )
    if rules.healer[n:].any():
        script += (
            " An enemy that heals goes to the mate in its sight with the smallest share of its health, and heals it."
        )
    fighter = "that can attack " if heals else ""
    regained = rules.healer[n:].any() or rules.flag("shield")[n:].any()
    most = ", or a little more where enemies regain what they lost" if regained else ""
    points = "health and shield together" if rules.shielded else "health"
    return (
        *teams,
        script,
        f"Success: no enemy {fighter}is alive, and an agent {fighter}is. The episode ends when a side has none left, "
        f"or after {limit} steps, which is a loss.",
        f"Reward: the share that an enemy lost of its {points} in the step, as the mean over the enemies and never "
        f"below 0, and 1 for success. The return, the sum over an episode, is at most 2{most}.",
        f"A step is {TICKS * TICK:g} seconds, in {TICKS} ticks; everybody keeps to one action for it.",
    )


def columns(rules: Rules, see_enemy_actions: bool) -> tuple[str, ...]:
    """Order, signs, sizes, and what is not seen."""
    n, top, heals = rules.allies, n_actions(rules) - 1, rules.healer.any()
    enemy_top = top if heals else MOVES + n - 1
    mine = f"An agent's last attack is its action number / {top}"
    theirs = (
        f"an enemy's is (5 + k) / {enemy_top} where it attacked agent {n - 1} - k: enemies count backwards"
        + (", those that heal too" if rules.healer[n:].any() else "")
        if see_enemy_actions
        else "an enemy's last move and last attack are always 0"
    )
    health = "Health is a unit's points / those of its kind at full health"
    if rules.shielded:
        health += (
            ", without the shield, which has a column of its own (0 for units that have none). Damage takes the "
            f"shield first; {SHIELD_REST:g} seconds after the last hit it comes back at {SHIELD_BACK:g} points a "
            "second"
        )
    wait = (
        f"Weapon cooldown: 0 is ready. A shot sets it to the unit's time between attacks, and by chance {-TICK:g} to "
        f"{2 * TICK:g} seconds more"
    )
    if heals:
        wait += f". Healers show their energy / {ENERGY:g} there"
    edge = "A living unit that touches the border dies." if rules.walls_cause_death else "Units stop at the border."
    return (
        "Ally k of agent i is agent k where k < i, else agent k + 1. Enemy k is the same unit in every row and all "
        "through the episode; nothing is sorted by distance.",
        f"The map is a square of side {MAP_SIZE:g}; x grows to the right and y upwards from the lower left corner. "
        f"Own position is x / {MAP_SIZE:g} and y / {MAP_SIZE:g}. {edge}",
        "Relative x and y are the other's place minus the own one, divided by the observer's own sight range.",
        "An agent sees a living unit if their middles are less than its sight range apart: a circle, and nothing "
        "hides anybody. Of a unit that is dead or not seen, all columns are 0. All columns of a dead agent's row "
        "are 0.",
        f"{health}.",
        f"{wait}.",
        "Last move is the direction of the unit's action in the step before: up is (0, 1), right (1, 0); 0 where it "
        "did not choose a move. It says what was chosen, even if the unit was held up.",
        f"Last attack is 0 where the unit chose none in the step before; whether it hit is not shown. {mine}; "
        f"{theirs}.",
    )


def actions(rules: Rules) -> tuple[str, ...]:
    """What actions lead to, and when there are few."""
    return (
        "An attack lasts for the whole step: the unit stands, and fires whenever its weapon is ready and the target "
        "in range; it does not follow. In range: the middles are less than the range of the attacker apart.",
        "Every agent has an available action at every step. A dead one has 'stop' alone, and whatever it is told is "
        "ignored; of a living agent, action 0 is a move.",
    )


def kinds(rules: Rules) -> tuple[str, ...]:
    """One sentence per kind of unit."""
    names = NATIVE if rules.map.draws_units else dict.fromkeys(rules.map.roster)
    units = [rules.map.kinds[name] for name in names]
    flying, hurt = any(unit.flies for unit in units), any(unit.bonus for unit in units)
    return tuple(kind_text(name, rules.map.kinds[name], flying, hurt) for name in names)


def kind_text(name: str, unit: Unit, flying: bool, hurt: bool) -> str:
    """A kind of unit in numbers.

    Args:
        flying: some unit flies. hurt: some unit does more damage to armoured ones.
    """
    text = f"A {name} has {unit.health:g} health"
    if unit.shield:
        text += f" and {unit.shield:g} shield"
    text += f", sight range {unit.sight:g}, range {unit.range:g}, radius {unit.radius:g}, "
    text += f"speed {unit.speed:g} a second; it " if unit.speed else "cannot move; it "
    if unit.heals:
        text += (
            f"heals {HEALING:g} health a second at {1 / HEALTH_PER_ENERGY:.3g} energy each, of {ENERGY:g} energy, "
            f"{START_ENERGY:g} at the start and {ENERGY_BACK:g} more a second, {ENERGY_TO_BEGIN:g} needed to begin"
        )
    else:
        bonus = f" ({unit.bonus:g} more if armoured)" if unit.bonus else ""
        text += f"deals {unit.damage:g} damage{bonus} each {unit.period:g} seconds"
    armour = f", takes {unit.armour:g} less of each hit" if unit.armour else ""
    if unit.armoured and hurt:
        armour += ", is armoured"
    if unit.flies:
        armour += ", flies"
    if flying and not unit.hits_air:
        armour += ", cannot hit what flies"
    return f"{text}{armour}."
