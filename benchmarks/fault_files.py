"""Damaged files: one file of a run, a result or a plan is damaged, and commands open it.

Each command ends in one of: `detected` (one line, exit code 1 or 2, or a warning), `harmless` (all is as with the whole
file), `repaired` (in the end it is, as the file was made anew), `checksum` (something else comes out, but the file is
as proper as before: a bit of a weight, a digit, weights of another run of that shape; only a checksum can tell),
`silent` (something else comes out of a file that is damaged for anyone to see), `crash` (more than a line) or `no end`.
"""

from __future__ import annotations

import functools
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_damage import SWAPPED, apply_damage, damages_of, same_form
from fault_kills import KD, TEAM, UndisturbedRuns, known, without_clock
from fault_sandbox import Outcome, bounded_memory, command, differences, last_line, one_line, run_in_fork, sandbox, tree
from fault_watch import Stop, Watch

LIMIT = 60.0
WORST = ("harmless", "repaired", "detected", "checksum", "no end", "crash", "silent")
"""Ends of a command from best to worst; a trial counts as the worst of its commands."""
EVAL, COST = "eval run --episodes 8 --json", "cost run --no-latency --json"
RENDER, RESUME = "render run -o picture.png", "resume run --quiet"
TEACH = f"train bc probe/action --teacher run --out taught {TEAM} {KD}"
SWEEP, REPORT = "sweep results/plan.toml --quiet", "report results --into ."


@dataclass(frozen=True)
class Fixture:
    """Files to damage: those of a scenario of `fault_kills`, finished or killed after a share of its operations.

    Attributes:
        commands: that open the files. folders: that hold them.
    """

    scenario: str
    commands: tuple[str, ...]
    share: float | None = None
    folders: tuple[str, ...] = ("run",)

    @property
    def name(self) -> str:
        return self.scenario + ("" if self.share is None else ", unfinished")


FIXTURES = (
    Fixture("mappo", (EVAL, COST, RENDER, RESUME, TEACH)),
    Fixture("bc", (EVAL, COST, RENDER, RESUME, "fork run --episodes 4 --json")),
    Fixture("own teacher", (EVAL, COST, RESUME)),
    Fixture("seeds", (EVAL, RESUME, TEACH.replace("probe/action", "probe/memory"))),
    Fixture("mappo", (EVAL, RESUME, RESUME), 0.6),
    Fixture("bc", (EVAL, RESUME, RESUME), 0.85),
    Fixture("own teacher", (RESUME, RESUME, COST), 0.9),
    Fixture("sweep", (SWEEP, REPORT, REPORT), folders=("results", "runs")),
    Fixture("sweep", (SWEEP, REPORT), 0.9, ("results", "runs")),
)
PACKAGE_FILES = re.compile(r"\.(json|jsonl|safetensors)$")
"""Files that the package writes."""


@functools.cache
def fixture_folder(kept: UndisturbedRuns, fixture: Fixture) -> Path:
    """The folder of a fixture, made on first use."""
    place = kept.of(fixture.scenario)
    if fixture.share is None:
        return place / "after"
    killed = place / f"killed-{fixture.share}"
    if not killed.exists():
        operations, _ = known(place)
        with sandbox(place / "before") as folder:
            watch = Watch(folder, Stop(int(fixture.share * len(operations)), "after"))
            words = kept.all[fixture.scenario].words
            run_in_fork(command(*words), folder, first=lambda: (without_clock(), watch.install()))
            temporary = killed.with_name(f"{killed.name}.{id(folder)}")
            shutil.copytree(folder, temporary, symlinks=True)
            if killed.exists():
                shutil.rmtree(temporary)
            else:
                temporary.rename(killed)
    return killed


def candidates(place: Path, fixture: Fixture) -> dict[str, list[Path]]:
    """Files that can be damaged, by their name without numbers."""
    groups: dict[str, list[Path]] = {}
    for folder in fixture.folders:
        for path in sorted((place / folder).rglob("*")):
            if path.is_file() and PACKAGE_FILES.search(path.name) and path.stat().st_size:
                name = re.sub(r"\d+", "N", str(path.relative_to(place)))
                groups.setdefault(name, []).append(path.relative_to(place))
    return groups


def similar_files(kept: UndisturbedRuns, path: Path, place: Path) -> list[Path]:
    """Other files of that kind, of other roles, seeds and runs."""
    found = [p for p in place.rglob(f"*{path.suffix}") if p != place / path and "other" not in p.parts]
    for fixture in FIXTURES:
        if fixture.share is None:
            found += [p for p in fixture_folder(kept, fixture).rglob(path.name) if p != place / path]
    return [p for p in found if p.read_bytes() != (place / path).read_bytes()]


@functools.cache
def undamaged(place: Path, words: str) -> tuple[Outcome, dict[str, Any], dict[str, Any]]:
    """How a command ends with whole files; the folder before and after it."""
    with sandbox(place) as folder:
        before = tree(folder)
        ended = run_in_fork(command(*words.split()), folder, 2 * LIMIT, prepare_child)
        return ended, before, tree(folder)


def prepare_child() -> None:
    without_clock()
    bounded_memory(6)


def trial(number: int, kept: UndisturbedRuns) -> dict[str, Any]:
    """One trial; the same for the same number."""
    rng = random.Random(f"files {number}")
    fixture = FIXTURES[number % len(FIXTURES)]
    place = fixture_folder(kept, fixture)
    path = rng.choice(rng.choice(list(candidates(place, fixture).values())))
    usable = lambda damage: damage != "missing" or path.parts[0] != "results"  # a missing result is not made yet
    how = rng.choice([x for x in damages_of(path) if usable(x)])
    donors = similar_files(kept, path, place) if how == SWAPPED else []
    if how == SWAPPED and not donors:
        how = "truncated"
    chosen = list(dict.fromkeys(rng.sample(fixture.commands, 2)))
    seed = rng.random()
    record: dict[str, Any] = {"fixture": fixture.name, "file": str(path), "damage": how, "ends": {}}
    outcomes = []
    for words in chosen:
        with sandbox(place) as folder:
            record["exactly"] = apply_damage(folder / path, how, donors, random.Random(seed))
            same_form_left = same_form((place / path).read_bytes(), folder / path)
            spoilt = tree(folder).get(str(path))
            ended = run_in_fork(command(*words.split()), folder, LIMIT, prepare_child)
            outcome, reasons = judge(ended, folder, path, spoilt, undamaged(place, words), same_form_left)
        outcomes.append(outcome)
        record["ends"][words.split()[0]] = [outcome, *reasons[:3]]
    return record | {"outcome": max(outcomes, key=WORST.index)}


def judge(
    ended: Outcome,
    folder: Path,
    path: Path,
    spoilt: Any,
    whole: tuple[Outcome, dict[str, Any], dict[str, Any]],
    proper: bool,
) -> tuple[str, list[str]]:
    """How a command ended (see the module's text), and the reasons."""
    wanted, before, after = whole
    if ended.code is None:
        return ("checksum" if proper else "no end"), [last_line(ended)]
    if ended.code < 0 or "Traceback" in ended.err or (ended.code and not one_line(ended)):
        return "crash", ended.error_lines[-2:]
    name = str(path)
    found = tree(folder)
    remade = found.get(name) == after.get(name) != spoilt
    if found.get(name) == spoilt and before.get(name) == after.get(name):
        found[name] = after[name]  # the damage itself, which nobody wrote
    wrong = differences(found, after)
    if ended.code != wanted.code or ended.out != wanted.out:
        wrong.append(f"says {last_line(ended)}, not {last_line(wanted)}")
    if not wrong:
        return "harmless", []
    if ended.code == 0 and remade and found == after:
        return "repaired", wrong
    if ended.code in (1, 2) or set(ended.error_lines) - set(wanted.error_lines):
        return "detected", [last_line(ended)]
    return ("checksum" if proper else "silent"), wrong
