"""The particle environments in words: what actions do, and what a person must know who uses their teams."""

from __future__ import annotations

from tutelage.envs.mpe.base import NEAR
from tutelage.envs.mpe.physics import DOWN_UP, DRAG, LEFT_RIGHT, SECONDS, Bodies
from tutelage.envs.parts import move_names

MOVE_NAMES = ("no push", *move_names("push", LEFT_RIGHT, DOWN_UP)[1:])
OTHERS = "Agent k of agent i is agent k where k < i, else agent k + 1. "
ORDER = "Landmarks have the same numbers in every row and all through the episode; nothing is sorted by distance."


def spread(bodies: Bodies, limit: int, local_ratio: float) -> tuple[str, ...]:
    """Notes of simple_spread."""
    n = len(bodies.thrust)
    return (
        f"{n} agents cover {n} landmarks and do not collide. There are no opponents.",
        f"Success: at the end every landmark has an agent within {NEAR:g}. The episode takes {limit} steps, always.",
        f"Reward: the mean over agents of {-local_ratio:g} for each agent that one touches (their middles are less "
        f"than {2 * bodies.radius[0]:g} apart), and of {local_ratio - 1:g} x the sum over landmarks of the distance "
        "to the nearest agent. The return is at most 0.",
        OTHERS + ORDER,
        *motion(f"{bodies.thrust[-1]:g}"),
        "Agents push each other off where they touch; landmarks are no obstacles.",
    )


def reference(bodies: Bodies, limit: int, words: int) -> tuple[str, ...]:
    """Notes of simple_reference."""
    return (
        "Each of two agents must go to one of three landmarks, which only the other knows; it can say one of "
        f"{words} words, whose meaning they have learned. There are no opponents.",
        f"Success: at the end both are within {NEAR:g} of their landmarks. The episode takes {limit} steps, always.",
        "Reward: minus the mean of the two distances to the own landmark. The return is at most 0.",
        "'Goal of the other' tells which landmark the other must go to; 'heard' is the word that the other said in "
        f"the step before, all 0 at the start. {ORDER}",
        *motion(f"{bodies.thrust[-1]:g}"),
        "Nothing collides.",
    )


def speaker_listener(bodies: Bodies, limit: int, words: int) -> tuple[str, ...]:
    """Notes of simple_speaker_listener."""
    return (
        "Agent 0, the speaker, knows to which of three landmarks agent 1, the listener, must go, and says one of "
        f"{words} words, whose meaning they have learned; only the listener moves. There are no opponents.",
        f"Success: at the end the listener is within {NEAR:g} of its landmark. The episode takes {limit} steps, "
        "always.",
        "Reward: minus the square of the listener's distance to its landmark. The return is at most 0.",
        "The speaker's row holds its three columns, and 0 from there on. The listener's 'heard' is the word of the "
        f"step before, all 0 at the start. {ORDER}",
        *motion(f"{bodies.thrust[-1]:g}"),
        "Nothing collides.",
    )


def tag(bodies: Bodies, limit: int, flees: bool) -> tuple[str, ...]:
    """Notes of simple_tag."""
    reach = bodies.radius[0] + bodies.radius[3]
    prey = (
        "A script plays the prey: it makes the move after which the nearest predator will be farthest, and keeps "
        "off obstacles and within 0.9 of the middle along x and y."
        if flees
        else "Agent 3 is the prey and flees. There are no other opponents."
    )
    paid = (
        f"10 for each predator that touches the prey. The return is at most {30 * limit:g}."
        if flees
        else "the mean over the four agents: a predator earns 10 for each predator that touches the prey, the prey "
        "loses as much, and up to 10 along each of x and y where it is more than 0.9 from the middle. The return is "
        f"at most {15 * limit:g}."
    )
    seen = " The prey sees agents 0 to 2 under their own numbers." if not flees else ""
    return (
        f"Agents 0 to 2 are predators and hunt a faster prey around two obstacles. {prey}",
        f"Success: a predator has touched the prey (their middles are less than {reach:g} apart) at some step. The "
        f"episode takes {limit} steps, always.",
        f"Reward of a step: {paid}",
        f"Agent k of predator i is predator k where k < i, else predator k + 1.{seen} Obstacles have the same numbers "
        "in every row and all through the episode.",
        *motion(f"{bodies.thrust[0]:g} for predators and {bodies.thrust[3]:g} for the prey"),
        f"All push each other off where they touch. Radii: predators {bodies.radius[0]:g}, prey "
        f"{bodies.radius[3]:g}, obstacles {bodies.radius[4]:g}. Speed is at most {bodies.top_speed[0]:g} for "
        f"predators and {bodies.top_speed[3]:g} for the prey.",
    )


def motion(push: str) -> tuple[str, ...]:
    """How particles move and see, alike in all tasks; `push`: how strong it is."""
    return (
        "x grows to the right and y upwards. The unit of length is half the side of the square from (-1, -1) to (1, "
        "1), in which everything starts at rest by chance; it has no walls.",
        f"A step lasts {SECONDS:g}. Places change by {SECONDS:g} x the velocity from before it; velocities lose "
        f"{DRAG:g} of themselves and gain {SECONDS:g} x the push, {push}. So a push is seen in the velocity after "
        "its step, and in the place after the next.",
        "Relative x and y are the other's place minus the own one. Distance hides nothing; nobody dies, and every "
        "action of an agent is available at every step.",
    )
