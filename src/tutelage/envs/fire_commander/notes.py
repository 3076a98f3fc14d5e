"""FireCommander in words: what each action does, and what a person must know who plays it with a game of their own."""

from __future__ import annotations

from tutelage.envs.fire_commander.rules import BURNS, DOUSED, DX, DY, Rules
from tutelage.envs.parts import move_names, runs_text

ACTION_NAMES = (*move_names("move one cell", DX, DY), "stay", "douse the own cell (action agents only)")


def notes(rules: Rules, radio: bool, limit: int) -> tuple[str, ...]:
    """What a person must know beyond the names of columns and actions."""
    top, side = rules.size - 1, 2 * rules.vision + 1
    kinds = runs_text(("perception",) * rules.perception + ("action",) * rules.action)
    fires = f"{rules.fires} fires" if rules.fires > 1 else "one fire"
    return (
        f"Perception agents see, action agents put fires out. Agents: {kinds}. At the start {fires} and all agents "
        "are on cells drawn by chance.",
        "Nobody plays the fire. Each fire has a front, a point that moves with wind and fuel at every step and sets "
        "the cell that it comes to on fire; cells go on burning until they are doused. Fronts do not branch.",
        "Dousing puts out the cell of the action agent, and a front in it for good.",
        f"Success: no cell burns, which ends the episode. It is cut off after {limit} steps.",
        f"Reward: {BURNS:g} per cell that burned before the step, and {DOUSED:g} per front put out. The return is "
        f"less than {DOUSED * rules.fires:g}.",
        "A step: all move, then douse, then fire spreads, then agents look around and tell each other.",
        f"The map has {rules.size} x {rules.size} cells; x grows to the right and y upwards from the cell (0, 0) at "
        f"the bottom left. Own position is 2 x / {top} - 1 and 2 y / {top} - 1. Agents may share a cell; a move off "
        "the map does nothing.",
        f"A perception agent sees the square of {side} x {side} cells around it, {rules.vision} to each side, as it "
        "is now: perception agents (itself too, in the middle), action agents, fire, and what is outside of the "
        "map. 'At (-1, 0)' is the cell to the left. It does not see which agent is which. An action agent sees its "
        "own cell only and has no window: its row is narrower.",
        *(region_notes(rules, limit) if radio else ("Agents do not tell each other what they have seen.",)),
        "Nobody dies, and every action is available at every step, but for perception agents the last.",
    )


def region_notes(rules: Rules, limit: int) -> tuple[str, ...]:
    """What the columns of regions hold."""
    cuts = ", ".join(str(cut) for cut in rules.cuts[:-1])
    return (
        f"The map is cut into {rules.parts} x {rules.parts} regions, which begin at columns and rows {cuts}. They "
        f"are numbered row by row from the bottom left: region 0 is there, region {rules.parts - 1} at the bottom "
        "right.",
        "Each agent keeps for every cell when it was last seen and whether it burned then: by itself, or by another "
        f"who told it. At the end of a step, agents at most {rules.size / 2:g} cells apart (a straight line, middle "
        "to middle) tell each other all they knew before it and have just seen; of each cell the newest counts.",
        "A region's columns are made of these: the number of cells that burned when last seen / 4; the mean over "
        f"its cells of 1 - age / {limit}, age in steps, 0 for a cell never seen; and the way to the nearest cell "
        f"that burned when last seen (fewest moves): its x minus the own, its y minus the own, both / {rules.size}, "
        "0 and 0 if there is none.",
    )
