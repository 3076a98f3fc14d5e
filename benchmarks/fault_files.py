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

from fault_damage import SWAPPED, damage, kinds, same_form
from fault_kills import KD, TEAM, Kept, known, without_clock
from fault_sandbox import Ended, bounded_memory, command, differences, forked, one_line, said, sandbox, tree
from fault_watch import Stop, Watch

LIMIT = 60.0
WORST = ("harmless", "repaired", "detected", "checksum", "no end", "crash", "silent")
"""Of a trial's commands the last of these counts."""
EVAL, COST = "eval run --episodes 8 --json", "cost run --no-latency --json"
RENDER, RESUME = "render run -o picture.png", "resume run --quiet"
TEACH = f"train bc probe/action --teacher run --out taught {TEAM} {KD}"
SWEEP, REPORT = "sweep results/plan.toml --quiet", "report results --into ."


@dataclass(frozen=True)
class Fixture:
    """What is damaged: a scenario of the kills, whole, or killed after a share of its operations; who opens it."""

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
OURS = re.compile(r"\.(json|jsonl|safetensors)$")
"""Files of the package; a plan in TOML is the user's own."""


@functools.cache
def laid_out(kept: Kept, fixture: Fixture) -> Path:
    """The fixture's folder; made now where it is not there."""
    place = kept.of(fixture.scenario)
    if fixture.share is None:
        return place / "after"
    made = place / f"killed-{fixture.share}"
    if not made.exists():
        operations, _ = known(place)
        with sandbox(place / "before") as folder:
            watch = Watch(folder, Stop(int(fixture.share * len(operations)), "after"))
            words = kept.all[fixture.scenario].words
            forked(command(*words), folder, first=lambda: (without_clock(), watch.install()))
            beside = made.with_name(f"{made.name}.{id(folder)}")
            shutil.copytree(folder, beside, symlinks=True)
            if made.exists():
                shutil.rmtree(beside)
            else:
                beside.rename(made)
    return made


def candidates(place: Path, fixture: Fixture) -> dict[str, list[Path]]:
    """Files that can be damaged, by their name without numbers."""
    groups: dict[str, list[Path]] = {}
    for folder in fixture.folders:
        for path in sorted((place / folder).rglob("*")):
            if path.is_file() and OURS.search(path.name) and path.stat().st_size:
                name = re.sub(r"\d+", "N", str(path.relative_to(place)))
                groups.setdefault(name, []).append(path.relative_to(place))
    return groups


def others(kept: Kept, path: Path, place: Path) -> list[Path]:
    """Files of that kind elsewhere: of other roles, seeds and runs."""
    found = [p for p in place.rglob(f"*{path.suffix}") if p != place / path and "other" not in p.parts]
    for fixture in FIXTURES:
        if fixture.share is None:
            found += [p for p in laid_out(kept, fixture).rglob(path.name) if p != place / path]
    return [p for p in found if p.read_bytes() != (place / path).read_bytes()]


@functools.cache
def undamaged(place: Path, words: str) -> tuple[Ended, dict[str, Any], dict[str, Any]]:
    """How a command ends with whole files; the folder before and after it."""
    with sandbox(place) as folder:
        before = tree(folder)
        ended = forked(command(*words.split()), folder, 2 * LIMIT, prepared)
        return ended, before, tree(folder)


def prepared() -> None:
    without_clock()
    bounded_memory(6)


def trial(number: int, kept: Kept) -> dict[str, Any]:
    """One trial; the same for the same number."""
    rng = random.Random(f"files {number}")
    fixture = FIXTURES[number % len(FIXTURES)]
    place = laid_out(kept, fixture)
    path = rng.choice(rng.choice(list(candidates(place, fixture).values())))
    how = rng.choice([x for x in kinds(path) if x != "missing" or path.parts[0] != "results"])  # else: not made yet
    donors = others(kept, path, place) if how == SWAPPED else []
    if how == SWAPPED and not donors:
        how = "truncated"
    chosen = list(dict.fromkeys(rng.sample(fixture.commands, 2)))
    seed = rng.random()
    told: dict[str, Any] = {"fixture": fixture.name, "file": str(path), "damage": how, "ends": {}}
    outcomes = []
    for words in chosen:
        with sandbox(place) as folder:
            told["exactly"] = damage(folder / path, how, donors, random.Random(seed))
            proper = same_form((place / path).read_bytes(), folder / path)
            spoilt = tree(folder).get(str(path))
            ended = forked(command(*words.split()), folder, LIMIT, prepared)
            outcome, why = judged(ended, folder, path, spoilt, undamaged(place, words), proper)
        outcomes.append(outcome)
        told["ends"][words.split()[0]] = [outcome, *why[:3]]
    return told | {"outcome": max(outcomes, key=WORST.index)}


def judged(
    ended: Ended,
    folder: Path,
    path: Path,
    spoilt: Any,
    whole: tuple[Ended, dict[str, Any], dict[str, Any]],
    proper: bool,
) -> tuple[str, list[str]]:
    """What became of a command, and why that is said."""
    wanted, before, after = whole
    if ended.code is None:
        return ("checksum" if proper else "no end"), [said(ended)]
    if ended.code < 0 or "Traceback" in ended.err or (ended.code and not one_line(ended)):
        return "crash", ended.told[-2:]
    name = str(path)
    found = tree(folder)
    remade = found.get(name) == after.get(name) != spoilt
    if found.get(name) == spoilt and before.get(name) == after.get(name):
        found[name] = after[name]  # the damage itself, which nobody wrote
    wrong = differences(found, after)
    if ended.code != wanted.code or ended.out != wanted.out:
        wrong.append(f"says {said(ended)}, not {said(wanted)}")
    if not wrong:
        return "harmless", []
    if ended.code == 0 and remade and found == after:
        return "repaired", wrong
    if ended.code in (1, 2) or set(ended.told) - set(wanted.told):
        return "detected", [said(ended)]
    return ("checksum" if proper else "silent"), wrong
