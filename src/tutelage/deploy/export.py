"""Export: a trained team becomes a folder that runs without this package, checked against the team itself."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tutelage.configs.checks import MAX_COUNT
from tutelage.deploy.card import card
from tutelage.deploy.check import check_formats, why_not_played
from tutelage.deploy.contract import Contract, exportable_team, make_contract
from tutelage.deploy.layers import Weights, program_of, read_weights
from tutelage.deploy.quantise import quantise, sizes
from tutelage.deploy.recorded import Recorded, record, recorded_rows, worked_examples
from tutelage.deploy.tune import fit_to_integers
from tutelage.deploy.write_c import c_files
from tutelage.deploy.write_int8 import int8_files
from tutelage.deploy.write_numpy import numpy_files
from tutelage.deploy.write_onnx import onnx_files, onnx_package
from tutelage.errors import BadInput, Fault, unknown
from tutelage.experiment.files import check_no_file_above, json_bytes
from tutelage.experiment.manifest import digest
from tutelage.experiment.read_roles import FinishedRun, read_finished
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.trust import Trust

WRITERS = {"numpy": numpy_files, "onnx": onnx_files, "c": c_files}
"""By format: (contract, weights of each network) -> contents of its files by name."""
EPISODES = 320


def export(
    run: str | Path,
    out: str | Path,
    role: str | None = None,
    formats: Sequence[str] | None = None,
    episodes: int = EPISODES,
    int8: bool = False,
    tune: bool = False,
    check: bool = True,
    name: str | None = None,
    trust: Trust = False,
) -> Contract:
    """Write a trained team as a folder that runs without this package.

    Args:
        run: a run directory; of a parent with several seeds, the first.
        out: a new or empty directory.
        role: which team of the run; the student by default, or what acts in a run without one.
        formats: of `numpy`, `onnx`, `c`; all that can be written here by default.
        episodes: how many the exported team plays when it is checked.
        int8: write it in 8-bit integers as well. tune: fit its weights to these first, on recorded decisions.
        check: whether to replay and play it at the end.
        name: prefix of the names in C; by default the environment's id and the role.
        trust: whether code that the run names may be imported for the check.

    Returns:
        team.json, with what the check found.

    Raises:
        BadInput: an unknown format or role, a role that cannot be exported, a directory that is not empty, or a missing
            package. Fault: damaged files, or an exported team that does not act as the run's.
    """
    out = Path(out)
    check_empty(out)
    asked = known_formats(formats)
    if tune and not int8:
        raise BadInput("tune = True: is of integers; needs int8")
    if not 1 <= episodes < MAX_COUNT:
        raise BadInput(f"episodes = {episodes}: must be at least 1 and less than {MAX_COUNT}")
    finished = read_finished(Path(run))
    contract, weights, files = exported_files(finished, pick_role(finished, role), asked, name)
    loaded = LoadedRun(*finished, trust)
    skipped = why_not_played(loaded) if check or int8 else "it was not asked for"
    if int8 and skipped:
        raise BadInput(f"int8: needs recorded decisions, and {skipped}")
    recorded = None if skipped else record(loaded, contract)
    if int8 and recorded:
        files |= integer_files(contract, finished, weights, recorded, tune)
    with new_folder(out) as temporary:
        write_files(temporary, contract, files)
        if recorded:
            contract["also"] = ["examples.json"]
            (temporary / "examples.json").write_bytes(json_bytes(worked_examples(recorded)))
        contract["check"] = {"skipped": skipped or "it was not asked for"}
        if check and recorded:
            contract["check"] = check_formats(temporary, loaded, contract, recorded, episodes, int8)
        (temporary / "team.json").write_bytes(json_bytes(contract))
        (temporary / "README.md").write_text(card(contract))
        write_sums(temporary)
    return contract


def write_sums(folder: Path) -> None:
    """SHA256SUMS of all files of a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{digest(file)}  {file.relative_to(folder)}" for file in files]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` when all went well, and is gone otherwise; raises Fault for a full disk."""
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        with suppress(FileNotFoundError):
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise Fault(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def integer_files(
    contract: Contract, finished: FinishedRun, weights: Sequence[Weights], recorded: Recorded, tuned: bool
) -> dict[str, bytes]:
    """The files of the team in integers; the contract is told of them and of what they save.

    Args:
        tuned: fit the weights to their integers first.
    """
    team = exportable_team(finished.roles[contract["role"]], str(finished.path))
    programs, rows = [program_of(group.network) for group in team.groups], recorded_rows(contract, recorded)
    fitted = (
        [fit_to_integers(*each[:2], *each[2]) for each in zip(programs, weights, rows, strict=True)]
        if tuned
        else weights
    )
    networks = [quantise(*each[:2], *each[2]) for each in zip(programs, fitted, rows, strict=True)]
    files = int8_files(contract, networks)
    contract["int8"] = {"tuned": tuned, **sizes(networks, weights)}
    contract["files"] |= digests(files)
    return files


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def check_empty(out: Path) -> None:
    """Raise BadInput where the output is no new or empty directory."""
    check_no_file_above(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"out = {out}: exists already; name a new or empty directory")


def known_formats(formats: Sequence[str] | None) -> tuple[str, ...]:
    """The formats that were asked for; all that can be written here where none was."""
    for name in formats or ():
        if name not in WRITERS:
            raise unknown("format", name, WRITERS)
    if formats is None:
        try:
            onnx_package()
        except BadInput:
            return tuple(name for name in WRITERS if name != "onnx")
        return tuple(WRITERS)
    if not formats:
        raise BadInput(f"format: none is named; allowed: {', '.join(WRITERS)}")
    if "onnx" in formats:
        onnx_package()
    return tuple(name for name in WRITERS if name in formats)


def pick_role(finished: FinishedRun, role: str | None) -> str:
    """The role to export."""
    names = [name for name in finished.roles if name != "critic"]
    if role is None:
        return "student" if "student" in names else names[0]
    if role not in names:
        raise unknown("role", role, names)
    return role


def exported_files(
    finished: FinishedRun, role: str, formats: Sequence[str], name: str | None
) -> tuple[Contract, list[Weights], dict[str, bytes]]:
    """The contract, the weights, and the contents of all files by name. Blueprint and parameters are enough."""
    made = finished.roles[role]
    team = exportable_team(made, str(finished.path))
    programs = tuple(program_of(group.network) for group in team.groups)
    parameters = finished.path / f"{role}.safetensors"
    weights = read_weights(parameters, programs)
    contract = make_contract(prefix(name, f"{made.env}_{role}"), made, team, finished.record, finished.test)
    files: dict[str, bytes] = {}
    for each in formats:
        files |= WRITERS[each](contract, weights)
    contract["formats"] = list(formats)
    contract["parameters"] = digest(parameters)
    contract["files"] = digests(files)
    return contract, weights, files


def prefix(name: str | None, default: str) -> str:
    """A prefix that C allows; raises BadInput for a name that is none."""
    if name is not None and not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise BadInput(f"name = {name!r}: must be up to 41 small letters, digits and _, beginning with a letter")
    return name or "t_" * (not default[0].isalpha()) + re.sub(r"[^a-z0-9]+", "_", default.lower())


def write_files(folder: Path, contract: Contract, files: dict[str, bytes]) -> None:
    """Write the files and the contract into a new folder."""
    for name, content in {**files, "team.json": json_bytes(contract)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
