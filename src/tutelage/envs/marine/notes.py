"""MARINE in words: what each action does, and what a person must know who plays it with a game of their own."""

from __future__ import annotations

from tutelage.envs.marine.rules import DX, DY, EMPTY, HANDED, ROBBED, Rules
from tutelage.envs.marine.senses import NEIGHBOURS
from tutelage.envs.parts import move_names, runs_text

ACTION_NAMES = (*move_names("sail one cell", DX, DY), "stay")


def notes(rules: Rules, ais: bool) -> tuple[str, ...]:
    """What a person must know beyond the names of columns and actions."""
    return (*task(rules), *fuel(rules), *columns(rules, ais))


def task(rules: Rules) -> tuple[str, ...]:
    """The task, the opponents, success, return and time."""
    size, kinds = rules.size, runs_text(("routing",) * rules.routing + ("logistics",) * rules.logistics)
    port = "all have the same one" if rules.shared else "each has its own"
    raid = "There are no opponents."
    if rules.raiders:
        raid = (
            f"A script plays the raiders ({rules.raiders}), who start near the middle: at every other step each "
            "sails one cell towards the nearest routing ship at sea."
        )
    return (
        "Routing ships start in the first column with full tanks and must reach their destination in the last "
        f"column ({port}); logistics ships start anywhere and refuel them. Agents: {kinds}.",
        raid,
        f"Success: all routing ships have arrived in fewer than {rules.limit} steps. The episode fails after "
        f"{rules.limit} steps, or as soon as a routing ship at sea has no fuel at the beginning of a step and does "
        "not arrive in it. A ship that has arrived stays where it is, whatever it is told.",
        paid(rules),
        "A step: ships sail one cell or stay"
        + (", raiders move" if rules.raiders else "")
        + ", ends are tested, fuel is burned"
        + (", robbed" if rules.raiders else "")
        + " and handed over.",
        f"The map has {size} x {size} cells; x grows to the right and y upwards from the cell (0, 0) at the bottom "
        "left. Ships may share a cell; a move off the map does nothing.",
        "Nobody dies, and every action is available at every step.",
    )


def paid(rules: Rules) -> str:
    """The reward."""
    if rules.reward == "source":
        return (
            "Reward: the mean over ships of -0.05 x moves left (a routing ship at sea), 0.1 x arrivals in this step "
            "(one that has arrived), 0.05 x sea level / 3 (a logistics ship while it refuels; else -0.05). It is "
            f"{EMPTY:g} when a tank runs empty."
        )
    most = 0.05 * rules.routing * 2 * (rules.size - 1) + 0.1 * rules.routing + 5
    return (
        "Reward: 0.05 per cell that a routing ship has come nearer to its destination, -0.05 a step, 0.1 per "
        f"arrival, 5 when all have arrived. It is {EMPTY:g} when a tank runs empty. The return is less than {most:g}."
    )


def fuel(rules: Rules) -> tuple[str, ...]:
    """How fuel is burned and handed over."""
    handed = ", ".join(f"{units} at sea level {level}" for level, units in enumerate(HANDED[rules.size]))
    supply = "A logistics ship never runs out."
    if rules.supply:
        supply = f"A logistics ship holds {rules.size**2} at the start, and serves the two emptiest ships in its cell."
    robbed = f" Raiders in its cell take {ROBBED} more, unless a logistics ship is there too." if rules.raiders else ""
    heights = ", ".join(f"{bound:g}" for bound in rules.bounds)
    return (
        f"A full tank holds {rules.size} units. A routing ship at sea burns one a step, also at rest.{robbed}",
        "Each logistics ship in the same cell hands over up to a full tank in every step, by the sea's level in the "
        f"cell: {handed}. {supply}",
        f"The sea's level is 3, and one lower for each of the wave heights {heights} (metres) that the waves are "
        "above; waves differ from cell to cell and change from step to step.",
    )


def columns(rules: Rules, ais: bool) -> tuple[str, ...]:
    """What the columns hold."""
    size, side = rules.size, 2 * rules.vision + 1
    raiders = ", and whether any raider is there" if rules.raiders else ""
    sight = (
        f"A ship sees the square of {side} x {side} cells around it, {rules.vision} to each side: one map for every "
        "ship (ships have their own numbers there; itself is in the middle of its own map), then what is outside of "
        "the map, where any ship's destination is, and the sea's level as two bits, the lower one first (0 "
        f"outside){raiders}. 'At (-1, 0)' is the cell to the left. The sea is that in which the step before was made."
    )
    own = (
        "The own cell and the destination are numbers y * size + x in binary digits, bit 0 the lowest. Fuel is that "
        "before the last step burned and took on any, in units; at the start the full tank. Logistics ships have 0 "
        "for both."
    )
    if not ais:
        return own, sight, "Ships do not report where they are."
    kinds = ", raiders too," if rules.raiders else ""
    reported = (
        f"'Ship 0' to 'ship {NEIGHBOURS - 1}' are the nearest others{kinds} at most {size / 4:g} cells away (a "
        "straight line, middle to middle), the nearest first; of equally near ones that with the lower number. "
        f"Relative x and y are its place minus the own one, / {size}; the row of its destination is y / {size}. "
        "Where there are fewer, all columns are 0."
    )
    return own, reported, sight
