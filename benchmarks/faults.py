"""The campaign of faults: kills, damaged files and wrong inputs, each judged by what a user would be left with.

    python benchmarks/faults.py                                 1,000 kills, 500 damaged files, 200 wrong inputs
    python benchmarks/faults.py --only kills --minutes 10       as many as there is time for; the next call goes on
    python benchmarks/faults.py --behind                        behind the trials that faults.json counts, if these are
                                                                kept nowhere on this machine
    python benchmarks/faults.py --trial files:17                one trial again, with all it found
    python benchmarks/faults.py --report                        summary, table and figure from what has been tried

Every trial is drawn from its number. Trials are kept in .cache/faults/trials.jsonl as they end; those that found
something on an earlier state of the code are tried again. The summary goes to benchmarks/faults.json.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib
import itertools
import json
import mmap
import os
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fault_files
import fault_inputs
import fault_kills
from fault_report import GOOD, draw, fill, merged, summary
from fault_sandbox import ROOT, ends_with_parent, prepare

FOLDER = ROOT / ".cache" / "faults"
KINDS = ("kills", "files", "inputs")
Record = dict[str, Any]


def code_digest() -> str:
    """A digest of the package's sources."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Trials:
    """The trials that have ended: a file of one JSON object per line, which processes share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def all(self) -> dict[tuple[str, int], Record]:
        """The latest of each."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return {(record["kind"], record["trial"]): record for record in map(json.loads, lines)}

    @property
    def earlier(self) -> Record:
        """A summary of the trials before these, which are kept nowhere on this machine; {} for none."""
        path = self.path.with_name("earlier.json")
        return json.loads(path.read_text()) if path.exists() else {}

    def go_on_behind(self, summary: Path) -> None:
        """From now on trials are counted from a summary on; nothing happens where there are trials already."""
        if not self.path.exists() and not self.earlier:
            shutil.copy(summary, self.path.with_name("earlier.json"))

    def add(self, record: Record) -> None:
        with open(self.path, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(record) + "\n")


def weight(kind: str, record: Record) -> int:
    """How much a trial counts: by its number of kills, or 1."""
    return len(record["kills"]) if kind == "kills" else 1


def maker(kind: str, kept: Path) -> Callable[[int], Record]:
    """Trials of a kind, by number."""
    if kind == "inputs":
        known = fault_inputs.cases()
        return lambda number: fault_inputs.trial(number, known)
    runs = fault_kills.UndisturbedRuns(kept)
    return lambda number: (fault_kills if kind == "kills" else fault_files).trial(number, runs)


class Shared:
    """Two counters that forked processes share: trials taken, and their weight."""

    def __init__(self, folder: Path) -> None:
        self.memory = mmap.mmap(-1, 16)
        self.lock = folder / "taken.lock"

    def add(self, place: int, count: int) -> int:
        """Add; returns what it was before."""
        with open(self.lock, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            (was,) = struct.unpack_from("q", self.memory, 8 * place)
            struct.pack_into("q", self.memory, 8 * place, was + count)
            return int(was)


def numbers(kind: str, trials: Trials, now: str) -> tuple[list[int], Iterator[int], int]:
    """Trials to try again, those never tried, and how much has been tried with nothing to repeat."""
    before = trials.earlier.get(kind, {"trials": 0, "done": 0})
    done = {number: record for (k, number), record in trials.all().items() if k == kind}
    again = [n for n, record in done.items() if record["outcome"] not in GOOD[kind] and record["code"] != now]
    fresh = (n for n in itertools.count(before["trials"]) if n not in done)
    return again, fresh, before["done"] + sum(weight(kind, record) for n, record in done.items() if n not in set(again))


def work(kind: str, wanted: int, until: float, core: int, shared: Shared, trials: Trials, kept: Path, now: str) -> None:
    """Take trials one after another until there are enough, or no time."""
    os.sched_setaffinity(0, {core})
    make = maker(kind, kept)
    again, fresh, had = numbers(kind, trials, now)
    todo = itertools.chain(again, fresh)
    taken = -1
    while time.monotonic() < until and had + shared.add(1, 0) < wanted:
        taken_now = shared.add(0, 1)
        number = next(itertools.islice(todo, taken_now - taken - 1, None))
        taken = taken_now
        started = time.monotonic()
        outcome = make(number)
        shared.add(1, weight(kind, outcome))
        record = {"kind": kind, "trial": number, "code": now, "wall": round(time.monotonic() - started, 1), **outcome}
        trials.add(record)
        if outcome["outcome"] not in GOOD[kind]:
            print(json.dumps(record), flush=True)


def run_in_forks(jobs: int, act: Callable[[int], None]) -> None:
    """Run `act` in so many copies of this process, each on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    children = []
    for i in range(jobs):
        pid = os.fork()
        if pid == 0:
            try:
                ends_with_parent()
                act(cores[i % len(cores)])
            except KeyboardInterrupt:
                os._exit(130)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    failed = [pid for pid in children if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
    if failed:
        sys.exit(f"{len(failed)} of {jobs} processes broke")


def report_summary(trials: Trials, now: str, wanted: dict[str, int], out: Path) -> None:
    """Print and write the summary, its tables and its figure."""
    record = merged(trials.earlier, summary(trials.all(), now, wanted))
    print(json.dumps({kind: record[kind]["outcomes"] for kind in KINDS if kind in record}, indent=1))
    out.mkdir(parents=True, exist_ok=True)
    (out / "faults.json").write_text(json.dumps(record, indent=1) + "\n")
    if out == ROOT / "benchmarks":
        fill(ROOT / "docs" / "faults.md", record)
        draw(record, ROOT / "docs" / "figures" / "faults.png")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, count in zip(KINDS, (1000, 500, 200), strict=True):
        parser.add_argument(f"--{kind}", type=int, default=count, help=f"how many {kind} in all (default {count})")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side, each on one core")
    parser.add_argument("--only", choices=KINDS, help="one kind alone")
    parser.add_argument("--trial", nargs="+", metavar="KIND:NUMBER", help="these trials again; nothing is kept")
    parser.add_argument("--report", action="store_true", help="try nothing; summary, table and figure")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="trials and undisturbed runs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder of faults.json")
    parser.add_argument("--behind", action="store_true", help="go on behind what faults.json counts")
    parser.add_argument("--plant", help=argparse.SUPPRESS)  # module:function, called first: a fault that must be found
    return parser.parse_args()


def main() -> None:
    """Run the trials and report their outcomes."""
    args, now = arguments(), code_digest()
    trials = Trials(args.folder / "trials.jsonl")
    wanted = {kind: getattr(args, kind) for kind in KINDS}
    kept = args.folder.resolve() / "kept" / now
    if args.behind:
        trials.go_on_behind(args.out / "faults.json")
    until = time.monotonic() + 60 * args.minutes
    if not args.report:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(args.folder.resolve() / "xla"))
        prepare()
        if args.plant:
            module, _, function = args.plant.partition(":")
            getattr(importlib.import_module(module), function)()
    if args.trial:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        asked = [name.partition(":") for name in args.trial]
        print(json.dumps([maker(kind, kept)(int(number)) for kind, _, number in asked], indent=1))
        return
    for kind in () if args.report else KINDS:
        if args.only in (None, kind):
            shared = Shared(args.folder)
            act = lambda core, kind=kind, shared=shared: work(
                kind, wanted[kind], until, core, shared, trials, kept, now
            )
            run_in_forks(args.jobs, act)
    report_summary(trials, now, wanted, args.out)


if __name__ == "__main__":
    main()
