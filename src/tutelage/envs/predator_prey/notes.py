"""The stag hunt in words: what each action does, and what a person must know who plays it with a game of their own."""

from __future__ import annotations

from tutelage.envs.parts import move_names
from tutelage.envs.predator_prey.rules import DX, DY, HARE, STAG, Rules

ACTION_NAMES = (
    *(f"{name}, unless that cell is off the board" for name in move_names("move one cell", DX.tolist(), DY.tolist())),
    "stay",
    "catch, while a stag or hare is on one of the four cells beside",
)


def notes(rules: Rules, vision: int, limit: int) -> tuple[str, ...]:
    """What a person must know beyond the names of columns and actions."""
    side, stags = 2 * vision + 1, min(rules.stags, rules.hunters // 2)
    most = STAG[1] * stags + HARE[1] * min(rules.hares, rules.hunters - STAG[0] * stags)
    hares = f" and {rules.hares} hares, each of which one can catch" if rules.hares else ""
    cost = f"Each prey beside whom some hunter chose to catch, but too few did, costs {-rules.punishment:g}. "
    punished = cost if rules.punishment else ""
    paid = f"{STAG[1]:g} for a stag" + (f", {HARE[1]:g} for a hare" if rules.hares else "")
    return (
        f"{rules.hunters} hunters, the agents, are after {rules.stags} stags, each of which two must catch at "
        f"once{hares}.",
        "Nobody plays the prey: each moves to a free cell beside it by chance, also after a catch that failed.",
        f"Success: {rules.goal} stags caught at the end. It ends when all hunters are frozen or no prey is left, or "
        f"is cut off after {limit} steps.",
        f"Reward: {paid}. {punished}The return is at most {most:g}.",
        "A step: hunters move one after another in an order by chance, and stay where the cell is taken; then each "
        "prey is caught if enough hunters beside it chose to catch, or moves. A hunter's catch counts for every "
        "prey beside it.",
        "All hunters beside a prey that is caught who chose to catch are frozen: they leave the board for the rest "
        "of the episode.",
        f"The board has {rules.size} x {rules.size} cells; x grows to the right and y upwards. At the "
        "start everybody is on a cell of its own by chance.",
        f"A hunter sees the square of {side} x {side} cells around it, {vision} to each side, as three maps: hunters "
        "(itself too, in the middle), stags, hares. 'At (-1, 2)' is one to the left and two up. It does not see "
        "where on the board it is, nor who is who.",
        "Cells off the board look like empty ones: 0. The whole row of a frozen hunter is 0.",
        "Every agent has an available action at every step. A frozen hunter has 'stay' alone, and whatever it is "
        "told is ignored; of the others, action 0 is a move.",
    )
