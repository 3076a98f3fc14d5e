"""Reading what the roles of a finished run are made of. jax is not imported: costs need none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tutelage.errors import BadInput, Fault
from tutelage.experiment.files import read_json
from tutelage.experiment.manifest import MANIFEST, check_files, is_finished
from tutelage.experiment.plain import from_plain
from tutelage.experiment.read_records import as_damage
from tutelage.experiment.records import Record
from tutelage.experiment.run_record import read_record, read_test, seed_runs
from tutelage.experiment.trust import code_named_in, command_for
from tutelage.experiment.weights import check_weights
from tutelage.policies.blueprint import Role, Team, ValueNet, needs_code
from tutelage.types import Spec, wrong_action_names, wrong_names


class FinishedRun(NamedTuple):
    """The JSON of a finished run: config.json, eval.json, and what each role (and the critic) is made of."""

    path: Path
    record: Record
    test: Record
    roles: dict[str, Role]


def read_finished(path: Path) -> FinishedRun:
    """Read all of a finished run but its parameters; of a parent with several seeds, the first.

    Raises:
        BadInput: not a run, not finished, or of an earlier version.
        Fault: damaged: a file is not as it was written, the parameters included.
    """
    path = seed_runs(path)[0]
    record = read_record(path)
    if not is_finished(path):
        way = command_for(path, code_named_in(record))
        raise BadInput(f"{path} has never been evaluated: its training has not finished ({way})")
    manifest = check_files(path)
    test = read_test(path / "eval.json", record)
    roles = {role: read_role(path, role) for role in manifest.roles}
    for name, role in roles.items():
        if (path / f"{name}.safetensors").exists():
            check_weights(path / f"{name}.safetensors")
        if (role.env, role.env_options) != (record["env"], record["env_options"]):
            raise Fault(f"{path / name}.json is of another run: env = {role.env!r}, config.json says {record['env']!r}")
    if not {"student", "teacher"} & roles.keys():
        raise Fault(f"{path / MANIFEST} is damaged: it names no role that acts")
    return FinishedRun(path, record, test, roles)


def read_role(path: Path, name: str) -> Role:
    """Read ROLE.json of a run; raises Fault where it is missing or damaged."""
    file = path / f"{name}.json"
    content = read_json(file)
    with as_damage(file):
        role = from_plain(Role, content)
        if role.role != name:
            raise BadInput(f"role = {role.role!r}: must be {name!r}")
        if isinstance(role.made_of, ValueNet) != (name == "critic") and not needs_code(role.made_of):
            raise BadInput(f"made_of = {role.made_of.kind!r}: is no {'critic' if name == 'critic' else 'policy'}")
        check_names(role.spec)
        if isinstance(role.made_of, Team):
            check_team(role)
    return role


def check_names(spec: Spec) -> None:
    """Raise BadInput where some columns of a block, or some actions, have names and others none, or too many."""
    if wrong := wrong_action_names(spec):
        raise BadInput(f"spec: {wrong}")
    for block in (block for layout in (spec.layout, *spec.own_layouts) for block in layout):
        if wrong := wrong_names(block):
            raise BadInput(f"spec.layout: {wrong}")


def check_team(role: Role) -> None:
    """Raise BadInput where a team does not fit the environment that it was made on."""
    team, spec = role.made_of, role.spec
    assert isinstance(team, Team)
    agents = sum(len(group.agents) for group in team.groups)
    if agents != spec.n_agents:
        raise BadInput(f"made_of.groups are of {agents} agents: must be of {spec.n_agents}")
    for group in team.groups:
        if group.network.outputs != spec.n_actions:
            raise BadInput(f"made_of.groups: outputs = {group.network.outputs}, must be {spec.n_actions}")
