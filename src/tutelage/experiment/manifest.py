"""manifest.json: the files of a finished run that are final (not the log), with their SHA-256. It is written last."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tutelage.configs.checks import build
from tutelage.errors import BadInput, Fault
from tutelage.experiment.files import read_json, regular_file_size, write_json
from tutelage.experiment.read_records import as_damage
from tutelage.experiment.records import FORMAT, as_object

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """manifest.json: SHA-256 of each final file by name, and `itself`, of this list."""

    files: dict[str, str]
    itself: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadInput(f"format = {self.format}: must be {FORMAT}")
        if self.itself != digest_of_list(self.files):
            raise BadInput("files are not as they were written (itself is the SHA-256 of another list)")
        for name in self.files:
            if Path(name).name != name:
                raise BadInput(f"files: {name!r} must be the name of a file beside it")

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the run, the critic included, in the order in which they were written."""
        names = map(Path, self.files)
        return tuple(name.stem for name in names if name.suffix == ".json" and name.stem not in ("config", "eval"))


def is_finished(path: Path) -> bool:
    """Whether a run directory holds a finished run."""
    return (path / MANIFEST).exists()


def digest_of_list(files: dict[str, str]) -> str:
    """SHA-256 of the names and hashes of a manifest."""
    return hashlib.sha256("\n".join(f"{name} {files[name]}" for name in sorted(files)).encode()).hexdigest()


def digest(file: Path) -> str:
    """SHA-256 of a file; raises Fault where it is missing or no regular file."""
    regular_file_size(file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_manifest(path: Path, roles: tuple[str, ...], config: bytes | None = None) -> None:
    """Write the manifest of a run whose roles are these. With it the run is finished.

    Args:
        config: what config.json will hold, where it is written after the manifest.
    """
    names = ["eval.json", *(f"{role}.json" for role in roles)]
    names += [name for name in (f"{role}.safetensors" for role in roles) if (path / name).exists()]
    files = {"config.json": hashlib.sha256(config).hexdigest() if config else digest(path / "config.json")}
    files |= {name: digest(path / name) for name in names}
    write_json(path / MANIFEST, {"format": FORMAT, "files": files, "itself": digest_of_list(files)})


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a run; raises Fault where it is damaged."""
    file = path / MANIFEST
    with as_damage(file):
        return build(Manifest, as_object(read_json(file), "content"), "field")


def changed_files(path: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files of a run, a line for each: missing, or not as they were written."""
    problems = []
    for name, expected in manifest.files.items():
        try:
            if digest(path / name) != expected:
                problems.append(f"{path / name} is damaged: it is not as it was written (its SHA-256 is another)")
        except Fault as error:
            problems.append(str(error))
    return problems


def check_files(path: Path) -> Manifest:
    """The manifest of a finished run; raises Fault where a file is missing or not as it was written."""
    manifest = read_manifest(path)
    problems = changed_files(path, manifest)
    if problems:
        raise Fault("; ".join(problems))
    return manifest
