"""Starting from a run's weights, `--init RUN[@ROLE]`: what of it is taken, with which networks, and whether it fits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from tutelage.configs.checks import allows, field_types
from tutelage.errors import BadInput, unknown
from tutelage.experiment.find_teacher import known_test, run_and_role, seed_run
from tutelage.experiment.records import Record
from tutelage.experiment.role_files import provided_by, roles_and_critic
from tutelage.experiment.run_directory import Lazy, LoadedRun, load
from tutelage.experiment.teachers import critic_role
from tutelage.experiment.trust import Trust
from tutelage.policies.blueprint import Blueprint, OwnCode, Team, ValueNet
from tutelage.policies.fits import misfit, params_like
from tutelage.registry import method_config, method_row, resolve
from tutelage.types import Method, Params, Spec, acting

WARM_UP = 100_000
"""Steps for which the critic warms up where training starts from a run, unless something else is asked; at most a fifth
of all."""
TEAM_SETTINGS = (
    "core", "size", "capacity", "share", "sight", "hidden", "messages", "actor_view", "student_view", "normalise",
)  # fmt: skip
"""Settings that say what a team is made of, where it is no data."""
CRITICS = {"state": "team", "state per agent": "per_agent"}
"""The setting `critic` of MAPPO by the name of the critic's view."""


class Weights(NamedTuple):
    """A role's network and its parameters (or their shapes).

    Attributes:
        provides: see `Frozen`. spec: of the environment that it was trained on; None for a critic.
    """

    made_of: Blueprint
    params: Params
    provides: Collection[str]
    spec: Spec | None


@dataclass(frozen=True)
class Source:
    """What a training starts from.

    Attributes:
        name: as the user gave it. role: that he named.
        weights: by role, of the critic as well.
        settings: of its method.
    """

    name: str
    role: str | None
    weights: Mapping[str, Weights]
    settings: Record

    @property
    def actor(self) -> str:
        """The role that is taken; raises BadInput where there is no such role."""
        roles = [role for role in self.weights if role != "critic"]
        if self.role is not None and self.role not in roles:
            raise unknown(f"role of init {self.name}", self.role, roles)
        return self.role or acting(roles)


class Taken(NamedTuple):
    """What a method takes of a source.

    Attributes:
        params: parameters by the method's roles, and of the critic.
        notes: lines for the user.
    """

    params: dict[str, Params]
    notes: tuple[str, ...]


def find_init(name: str, seed: int | None, trust: Trust = False) -> tuple[Source, Record]:
    """The run that a training starts from, and its entry in config.json; raises BadInput where there is no such run.

    Args:
        name: RUN or RUN@ROLE. seed: which run of a parent directory; None: the first.
    """
    found = run_and_role(name)
    if found is None:
        raise BadInput(f"init = {name!r}: no such run directory; allowed are RUN and RUN@ROLE")
    path, role = found
    run = load(seed_run(path, seed, "init"), trust)
    source = Source(name, role, Lazy(run.roles, lambda name: weights_of(run, name)), settings_of(run, role))
    record = {
        "name": f"{run.path}@{role}" if role else str(run.path),
        "role": source.actor,
        "test": known_test(run, source.actor),
        "record": run.record,
    }
    return source, record


def weights_of(run: LoadedRun, role: str) -> Weights:
    """A role of a run. What is code is imported for it."""
    entry = run.roles[role]
    return Weights(entry.made_of, run.frozen.params[role], entry.provides, entry.spec)


def settings_of(run: LoadedRun, role: str | None) -> Record:
    """Settings of the method that trained a role: of the run, or of the run that taught it."""
    teacher = run.record["teacher"]
    return (
        teacher["record"]["config"] if role == "teacher" and teacher and "record" in teacher else run.record["config"]
    )


def drafted(name: str, role: str | None, method_name: str, method: Method, settings: Record, spec: Spec) -> Source:
    """The source that a method's finished run will be, with shapes in place of parameters."""
    key = jax.random.key(0)

    def weights(role: str) -> Weights:
        part = roles_and_critic(method)[role]
        provides = () if role == "critic" else provided_by(method_name, method.roles[role])
        return Weights(part.blueprint or OwnCode(), jax.eval_shape(part.init, key), provides, spec)

    return Source(name, role, Lazy(roles_and_critic(method), weights), settings)


# ---- the method's settings -----------------------------------------------------------------------------------------
def with_settings_of(
    source: Source, method: str, given: Mapping[str, Any], preset: str | None = None
) -> dict[str, Any]:
    """Settings of a method that starts from a source: those that are given, and its networks as the source has them."""
    known = field_types(resolve(method_row(method).config))
    settings = {
        name: value for name, value in network_settings(source).items() if name in known and allows(known[name], value)
    } | dict(given)
    if "critic_warm_up" in known and "critic_warm_up" not in given:
        settings["critic_warm_up"] = min(WARM_UP, method_config(method, preset, **settings).steps // 5)
    return settings


def network_settings(source: Source) -> dict[str, Any]:
    """Settings under which methods make networks like the source's."""
    team, critic, settings = source.weights[source.actor].made_of, None, source.settings
    if "critic" in source.weights:
        critic = source.weights["critic"].made_of
    of_critic = {}
    if isinstance(critic, ValueNet):
        of_critic = {"critic_width": critic.width, "critic": CRITICS.get(critic.view.name)}
    if isinstance(team, OwnCode):
        return {name: settings[name] for name in TEAM_SETTINGS if name in settings} | of_critic
    if not isinstance(team, Team):
        return {"normalise": getattr(team, "normalised", False), **of_critic}
    widths = {group.network.width for group in team.groups}
    tiers = ";".join(f"{','.join(map(str, group.agents))}:{group.network.width}" for group in team.groups)
    seen = team.groups[0].view.name.split(" + ")[0]
    alone = len(team.groups) > 1 and all(len(group.agents) == 1 for group in team.groups)
    return {
        "share": "agent" if alone else "team",
        **{name: settings[name] for name in ("share", "sight", "hidden", "messages") if name in settings},
        "capacity": "equal",
        "core": team.groups[0].network.core,
        "size": f"width={min(widths)}" if len(widths) == 1 else f"tiers={tiers}",
        "actor_view": seen,
        "student_view": seen,
        "normalise": team.groups[0].network.normalised,
        **of_critic,
    }


# ---- what is taken -------------------------------------------------------------------------------------------------
def take(source: Source, method_name: str, method: Method, spec: Spec) -> Taken:
    """What a method takes of a source: its acting role's parameters, and what else both have and fits.

    That is the critic, and, unless the user named a role, the teacher where the method trains one as well.

    Raises:
        BadInput: the acting role does not fit, or the method is a user's that cannot start from a run.
    """
    if method.with_params is None:
        raise BadInput(
            f"init = {source.name}: {method_name} has no with_params (tutelage.types.Method), which this needs"
        )
    parts = roles_and_critic(method)
    actor, weights = method.actor, source.weights[source.actor]
    if wrong := not_fitting(weights, parts[actor]):
        raise BadInput(f"init = {source.name}: {source.actor} does not fit: {wrong}")
    params, notes = {actor: adapted(weights, parts[actor])}, meaning_notes(source, weights, method_name, method, spec)
    others = [role for role in method.also_tested if source.role is None]
    for role in [*others, *(["critic"] if trains_critic(method) else [])]:
        wrong = "it has none" if role not in source.weights else not_fitting(source.weights[role], parts[role])
        if wrong:
            notes.append(f"init = {source.name}: a new {role} ({wrong})")
        else:
            params[role] = adapted(source.weights[role], parts[role])
    took = " and ".join(params) if actor == source.actor else f"{source.actor} as {' and '.join(params)}"
    return Taken(params, (f"starts from {source.name}: {took}", *notes))


def trains_critic(method: Method) -> bool:
    """Whether a method trains its critic; that of a frozen teacher stays as it is."""
    return method.critic is not None and critic_role(method.roles) in (method.actor, *method.also_tested)


def not_fitting(weights: Weights, part: Any) -> str:
    """What keeps a source's parameters out of a role (or the critic) of a method; empty where they fit."""
    here = part.blueprint or OwnCode()
    if wrong := misfit(weights.made_of, here):
        return wrong
    shapes = jax.eval_shape(part.init, jax.random.key(0))
    return tree_misfit(params_like(weights.params, weights.made_of, here), shapes)


def adapted(weights: Weights, part: Any) -> Params:
    """A source's parameters as a role of a method has them, which says of what rows their normalisers are."""
    like = jax.tree.structure(jax.eval_shape(part.init, jax.random.key(0)))
    return jax.tree.unflatten(
        like, jax.tree.leaves(params_like(weights.params, weights.made_of, part.blueprint or OwnCode()))
    )


def tree_misfit(there: Params, here: Params) -> str:
    """What differs between the shapes of two trees of parameters, in words; empty where nothing does."""
    theirs, mine = (
        {jax.tree_util.keystr(path): (x.shape, x.dtype.name) for path, x in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (there, here)
    )
    for name in sorted(theirs.keys() | mine.keys()):
        if theirs.get(name) != mine.get(name):
            shape = lambda tree, name=name: "missing" if name not in tree else str(tree[name][0])
            return f"layer {name} is {shape(theirs)} there, {shape(mine)} here"
    return ""


def meaning_notes(source: Source, weights: Weights, method_name: str, method: Method, spec: Spec) -> list[str]:
    """Warnings where what fits by its shape means something else."""
    notes, here = [], method.roles[method.actor]
    warn = lambda text: notes.append(f"warning: init = {source.name}: {text}")
    if ("logits" in weights.provides) != ("logits" in provided_by(method_name, here)):
        there = "logits" if "logits" in weights.provides else "action values"
        warn(f"its scores are {there}, which they are not here")
    if weights.spec is None:
        return notes
    theirs, mine = (types_of(team, s) for team, s in ((weights.made_of, weights.spec), (here.blueprint, spec)))
    if len(theirs) == len(mine) > 1 and theirs != mine:
        warn(f"its networks are of {', '.join(theirs)}, here of {', '.join(mine)}")
    if weights.spec.obs_width != spec.obs_width:
        return notes
    names = [*zip(weights.spec.column_names(0), spec.column_names(0), strict=True)]
    if others := [(i, pair) for i, pair in enumerate(names) if pair[0] != pair[1]]:
        column, pair = others[0]
        was, is_now = (name or "unnamed" for name in pair)
        warn(f"{len(others)} columns mean something else here, e.g. column {column}: {was} there, {is_now} here")
    return notes


def types_of(team: Blueprint | None, spec: Spec) -> list[str]:
    """The types of each group's agents."""
    groups = team.groups if isinstance(team, Team) else ()
    return ["+".join(sorted({spec.agent_types[i] for i in group.agents})) for group in groups]
