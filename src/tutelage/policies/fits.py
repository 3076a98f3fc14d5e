"""Whether the parameters of one network can be those of another, and in words what keeps them out."""

from __future__ import annotations

from dataclasses import fields
from itertools import groupby
from typing import Any

from tutelage.errors import short
from tutelage.policies.blueprint import Blueprint, Members, Network, OwnCode, Team, ValueNet
from tutelage.policies.columns import Columns, Entities, OneHot, PairGoals, Slice, View
from tutelage.types import Params

NORMALISED = "whether it normalises its input"
NETWORK_WORDS = {
    "core": "core",
    "width": "width",
    "outputs": "number of actions",
    "predicts": "width of the personalised state",
    "normalised": NORMALISED,
}
SOURCES = {
    "obs": "observation",
    "state": "world state",
    "heard": "message",
    "agent": "agent number",
    "action": "action",
}


def misfit(there: Blueprint, here: Blueprint) -> str:
    """What keeps the parameters of one network out of another, in words; empty where nothing is known that does.

    A network that is a user's code says nothing of itself: the shapes of its parameters must be compared.
    """
    if isinstance(there, OwnCode) or isinstance(here, OwnCode):
        return ""
    if there.kind != here.kind:
        return differ("kind", there.kind, here.kind)
    if isinstance(there, Team) and isinstance(here, Team):
        return team_misfit(there, here)
    if isinstance(there, ValueNet) and isinstance(here, ValueNet):
        if found := view_misfit(there.view, here.view):
            return found
        both = ("width", there.width, here.width), (NORMALISED, there.normalised, here.normalised)
        return next((differ(*each) for each in both if each[1] != each[2]), "")
    pairs = [(f.name, getattr(there, f.name), getattr(here, f.name)) for f in fields(there)]  # type: ignore[arg-type]
    return next((differ(*pair) for pair in pairs if pair[1] != pair[2]), "")


def differ(what: str, there: Any, here: Any) -> str:
    return f"{what} is {short(there, str)} there, {short(here, str)} here"


def team_misfit(there: Team, here: Team) -> str:
    """`misfit` of two teams: of each group of agents, whose numbers do not matter."""
    if len(there.groups) not in (1, len(here.groups)):
        counts = f"{len(there.groups)} networks ({listed(there)}) there, {len(here.groups)} ({listed(here)}) here"
        allowed = "1" if len(here.groups) == 1 else f"1 or {len(here.groups)}"
        return f"{counts}; {allowed} can be taken"
    for i, (theirs, mine) in enumerate(zip(groups_like(there.groups, here), here.groups, strict=True)):
        if found := network_misfit(theirs.network, mine.network) or view_misfit(theirs.view, mine.view):
            return f"group {i} ({members(mine)}): {found}" if len(here.groups) > 1 else found
    return ""


def groups_like(each: tuple[Any, ...], team: Team) -> tuple[Any, ...]:
    """What belongs to each group, for the groups of another team: what all agents shared is every group's."""
    return tuple(each) * len(team.groups) if len(each) == 1 else tuple(each)


def params_like(params: Params, there: Blueprint, here: Blueprint) -> Params:
    """A team's parameters for another team that they fit, see `groups_like`."""
    return groups_like(params, here) if isinstance(there, Team) and isinstance(here, Team) else params


def listed(team: Team) -> str:
    return "; ".join(map(members, team.groups))


def members(group: Members) -> str:
    """The agents of a group, for people."""
    return f"agent{'s' if len(group.agents) > 1 else ''} {', '.join(map(str, group.agents))}"


def network_misfit(there: Network, here: Network) -> str:
    """`misfit` of two agents' networks, but for what they read."""
    for name, word in NETWORK_WORDS.items():
        if getattr(there, name) != getattr(here, name):
            setting = {"core": "core", "width": "size", "normalised": "normalise"}.get(name)
            advice = f"; leave {setting} out" if setting else ""
            return differ(word, getattr(there, name), getattr(here, name)) + advice
    return differ("talking", there.hears > 0, here.hears > 0) if (there.hears > 0) != (here.hears > 0) else ""


def view_misfit(there: View, here: View) -> str:
    """`misfit` of what two networks read: columns of other sources, or more or fewer of one source."""
    if (theirs := sources(there)) == (mine := sources(here)) and there.each == here.each:
        return ""
    advice = ""
    without_number = [[pair for pair in pairs if pair[0] != SOURCES["agent"]] for pairs in (theirs, mine)]
    if theirs != mine and without_number[0] == without_number[1]:
        advice = "; a team that reads no agent number (actor_view = local-no-id) fits teams of other sizes"
    return f"what is read is {described(there)} there, {described(here)} here{advice}"


def sources(view: View) -> list[tuple[str, int]]:
    """The sources of a view's columns in order, with how many columns each gives in a row."""
    named = [(source_of(columns), columns.width) for columns in view.columns]
    return [(name, sum(width for _, width in pairs)) for name, pairs in groupby(named, key=lambda pair: pair[0])]


def source_of(columns: Columns) -> str:
    match columns:
        case Slice() | OneHot():
            return SOURCES[columns.source]
        case Entities():
            return f"nearest {columns.chosen} of {len(columns.starts)}" if columns.chosen else SOURCES["obs"]
        case PairGoals():
            return "goals"
    return SOURCES["obs"]  # zeros in place of hidden columns


def described(view: View) -> str:
    """What a network reads, for people."""
    parts = ", ".join(f"{name} {width}" for name, width in sources(view))
    whose = "" if view.each else " of the team"
    return f"{view.width} columns{whose} ({parts})"
