"""Units and maps of battles, as data.

The first six units and the maps made of them are SMAX's (jaxmarl 0.2.0). The others follow StarCraft II where they
can; what was changed so that the map can be won is said in docs/environments/smax.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tutelage.errors import BadInput, unknown

MAP_SIZE = 32.0
"""Side of the square battlefield."""
TICK = 1 / 16
"""Seconds that pass at a time."""


@dataclass(frozen=True)
class Unit:
    """A kind of unit.

    Attributes:
        letter: shown in pictures.
        health, shield: hit points. Damage reduces the shield first, which comes back some time after the last hit.
        speed: per second. A unit of speed 0 does not move and is not pushed.
        damage, bonus: per attack, and in addition against `armoured` units.
        armour: subtracted from the damage of every attack on it.
        period: seconds between attacks.
        range, sight, radius: distances on a map of side 32.
        flies, hits_air: only units that hit air can attack flying ones. Flying units and others do not push each other.
        heals: it restores the health of team mates with its energy instead of attacking.
    """

    letter: str
    health: float
    speed: float
    damage: float
    range: float
    sight: float
    radius: float
    period: float
    shield: float = 0.0
    bonus: float = 0.0
    armour: float = 0.0
    armoured: bool = False
    flies: bool = False
    hits_air: bool = True
    heals: bool = False


NATIVE: dict[str, Unit] = {
    "marine": Unit("m", 45, 3.15, 9, 5, 9, 0.375, 0.61),
    "marauder": Unit("M", 125, 2.25, 10, 6, 10, 0.5625, 1.07, hits_air=False),
    "stalker": Unit("s", 160, 4.13, 13, 6, 10, 0.625, 1.87),
    "zealot": Unit("Z", 150, 3.15, 8, 2, 9, 0.5, 0.86, hits_air=False),
    "zergling": Unit("z", 35, 4.13, 5, 2, 8, 0.375, 0.5, hits_air=False),
    "hydralisk": Unit("h", 80, 3.15, 12, 5, 9, 0.625, 0.59),
}
"""SMAX's units, in the order of its type bits."""

EXTRA: dict[str, Unit] = {
    "medivac": Unit("V", 150, 3.5, 0, 4, 11, 0.75, 1.0, armoured=True, flies=True, heals=True),
    "shielded_stalker": Unit("S", 80, 4.13, 13, 6, 10, 0.625, 1.34, shield=80, bonus=5, armoured=True),
    "spine_crawler": Unit("C", 300, 0, 25, 7, 11, 1.125, 1.32, armour=2, armoured=True, hits_air=False),
}
"""Units that SMAX does not have; a map with one of them has a type bit for it, after SMAX's six."""

UNITS: dict[str, Unit] = {**NATIVE, **EXTRA}


@dataclass(frozen=True)
class Map:
    """The units of both teams, and where they start.

    Attributes:
        allies, enemies: number of units by kind, in order.
        ally_start, enemy_start: where the teams start; every unit is up to 2 away in each direction.
        draws_units: kinds are random instead (the same for both teams, of SMAX's six), and so are positions: one team
            surrounds the other, or they are mirrored.
        max_steps: steps after which the battle is lost.
        units: further kinds of units, by name.
    """

    allies: dict[str, int]
    enemies: dict[str, int]
    ally_start: tuple[float, float] = (8.0, 16.0)
    enemy_start: tuple[float, float] = (24.0, 16.0)
    draws_units: bool = False
    max_steps: int = 100
    units: dict[str, Unit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.draws_units and sum(self.allies.values()) != sum(self.enemies.values()):
            raise BadInput("draws_units: both teams must have the same number of units")
        for team in (self.allies, self.enemies):
            for name, count in team.items():
                if name not in self.kinds:
                    raise unknown("unit", name, self.kinds)
                if count < 0:
                    raise BadInput(f"{name} = {count}: must be at least 0")
        if not self.fighters(self.allies) or not self.fighters(self.enemies):
            raise BadInput("each team needs a unit that can fight")

    @property
    def kinds(self) -> dict[str, Unit]:
        """Every known kind of unit."""
        return {**UNITS, **self.units}

    def fighters(self, team: dict[str, int]) -> int:
        """How many units of a team can attack."""
        return sum(count for name, count in team.items() if not self.kinds[name].heals)

    @property
    def roster(self) -> tuple[str, ...]:
        """The kind of every unit, allies first."""
        return tuple(name for team in (self.allies, self.enemies) for name, n in team.items() for _ in range(n))

    @property
    def types(self) -> tuple[str, ...]:
        """Kinds in the order of their type bits: SMAX's six, then what else stands on this map."""
        return (*NATIVE, *dict.fromkeys(name for name in self.roster if name not in NATIVE))


MAPS: dict[str, Map] = {
    "3m": Map({"marine": 3}, {"marine": 3}),
    "2s3z": Map({"stalker": 2, "zealot": 3}, {"stalker": 2, "zealot": 3}),
    "25m": Map({"marine": 25}, {"marine": 25}),
    "3s5z": Map({"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 5}),
    "8m": Map({"marine": 8}, {"marine": 8}),
    "5m_vs_6m": Map({"marine": 5}, {"marine": 6}),
    "10m_vs_11m": Map({"marine": 10}, {"marine": 11}),
    "27m_vs_30m": Map({"marine": 27}, {"marine": 30}),
    "3s5z_vs_3s6z": Map({"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 6}),
    "3s_vs_5z": Map({"stalker": 3}, {"zealot": 5}),
    "6h_vs_8z": Map({"hydralisk": 6}, {"zealot": 8}),
    "smacv2_5_units": Map({"marine": 5}, {"marine": 5}, draws_units=True),
    "smacv2_10_units": Map({"marine": 10}, {"marine": 10}, draws_units=True),
    "smacv2_20_units": Map({"marine": 20}, {"marine": 20}, draws_units=True),
    "MMM2": Map(
        {"marine": 7, "marauder": 2, "medivac": 1},
        {"marine": 8, "marauder": 3, "medivac": 1},
        ally_start=(9.0, 16.0),
        enemy_start=(23.0, 16.0),
        max_steps=180,
    ),
    "2s_vs_1sc": Map({"shielded_stalker": 2}, {"spine_crawler": 1}),
}
"""The maps of `smax/NAME`."""
