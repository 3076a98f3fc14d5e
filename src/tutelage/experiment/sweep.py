"""Running the rows of a plan that have no current result, in order of priority. A sweep can be stopped and resumed."""

from __future__ import annotations

import _thread
import fnmatch
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from tutelage.errors import BadInput, Fault, Interrupted, NotWritten, unknown
from tutelage.experiment.files import write_json
from tutelage.experiment.manifest import is_finished
from tutelage.experiment.plan import Row, Rows, fingerprint, read_plan, sources
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.run_lock import remove_stale_locks, try_lock
from tutelage.experiment.shape_check import check_rows
from tutelage.experiment.sinks import Display
from tutelage.experiment.sweep_paths import SweepPaths, is_current
from tutelage.experiment.sweep_row import make_result
from tutelage.machine import check_machine

WAIT_SECONDS = 2.0
"""Seconds between two checks of what other sweeps have finished."""


def missing_results(rows: Rows, paths: SweepPaths, only: str, seeds: int | None = None) -> Iterator[tuple[Row, int]]:
    """Pairs (row, seed) without a current result: by priority, then seed by seed, then in the order of the plan.

    Args:
        only: shell patterns of row names, separated by commas.
        seeds: at most this many seeds of every row.
    """
    chosen: dict[str, Row] = {}
    for pattern in only.split(","):
        matching = {name: row for name, row in rows.items() if fnmatch.fnmatch(name, pattern.strip())}
        if not matching:
            raise unknown("row", pattern.strip(), rows)
        chosen |= matching
    fingerprints = {name: fingerprint(row, rows) for name, row in chosen.items()}
    position = {name: i for i, name in enumerate(rows)}
    pairs = [(row.priority, k, position[name]) for name, row in chosen.items() for k in range(row.seeds)[:seeds]]
    listed = list(rows.values())
    for _, k, i in sorted(pairs):
        row, seed = listed[i], listed[i].all_seeds[k]
        if not is_current(paths.result(row, seed), fingerprints[row.name]):
            yield row, seed


def estimate(plan: Path, paths: SweepPaths, only: str, seeds: int | None) -> tuple[int, float]:
    """How many results are missing, and the sum of the minutes that the plan expects; see `missing_results`."""
    rows = read_plan(plan)
    missing = [row for row, _ in missing_results(rows, paths, only, seeds)]
    return len(missing), sum(row.minutes for row in missing)


def needed_rows(row: Row, rows: Rows) -> list[Row]:
    """The rows that are trained before a row: its teacher's, what it starts from, that of these, ..."""
    direct = sources(row, rows)
    return [*direct, *(further for source in direct for further in needed_rows(source, rows))]


def needed_runs(row: Row, seed: int, rows: Rows, paths: SweepPaths) -> list[Path]:
    """The run directories that are written for a result: the row's own, and those of its sources not trained yet."""
    directories = [paths.run(row, seed)]
    for source in needed_rows(row, rows):
        run = paths.run(source, seed)
        if not (is_finished(run) and is_current(run / "row.json", fingerprint(source, rows))):
            directories.append(run)
    return [*dict.fromkeys(directories)]


@contextmanager
def stop_after(minutes: float | None) -> Iterator[None]:
    """End the block after so many minutes, as Ctrl-C would; raises Interrupted where it was Ctrl-C itself."""
    timer = threading.Timer(minutes * 60, _thread.interrupt_main) if minutes else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        if timer is None or timer.is_alive():
            raise Interrupted("stopped and saved; the same sweep goes on from there") from None
    finally:
        if timer:
            timer.cancel()


def sweep(
    plan: Path,
    paths: SweepPaths,
    only: str = "*",
    minutes: float | None = None,
    seeds: int | None = None,
    display: Display | None = None,
    extra: Callable[[Row, LoadedRun], dict[str, Any]] = lambda row, run: {},
) -> tuple[int, int]:
    """Run everything without a current result. Several processes may sweep the same plan and share the work.

    Args:
        plan: the TOML file.
        paths: where results, runs and the zoo are.
        only: shell patterns of row names, separated by commas.
        minutes: stop after so long; the run in progress is saved and resumed by the next sweep.
        seeds: at most this many seeds of every row.
        extra: (row, run) -> further entries of the result, e.g. measured latencies.

    Returns:
        How many results were made, and how many are still missing.

    Raises:
        BadInput: the plan cannot be read. NotWritten: the disk is full, read-only, ... Fault: some runs could not be
        made, e.g. because of a non-finite loss or a damaged file; all others were made first.
    """
    check_machine(training=True)
    rows, display = read_plan(plan), display or Display()
    done, failed, waiting = 0, dict[tuple[str, int], Exception](), False
    check_rows({row.name for row, _ in missing_results(rows, paths, only, seeds)}, rows)
    remove_stale_locks(paths.run(row, seed) for row in rows.values() for seed in row.all_seeds)
    with stop_after(minutes):
        while missing := [x for x in missing_results(rows, paths, only, seeds) if (x[0].name, x[1]) not in failed]:
            for row, seed in missing:
                with try_lock(needed_runs(row, seed, rows, paths)) as acquired:
                    if not acquired or is_current(paths.result(row, seed), fingerprint(row, rows)):
                        continue
                    left = sum(r.minutes for r, _ in missing)
                    display.say(f"== {row.name} seed {seed} ({len(missing)} left, about {left:.0f} min)")
                    try:
                        write_json(paths.result(row, seed), make_result(row, seed, rows, paths, display, extra))
                        done += 1
                    except NotWritten:
                        raise
                    except (BadInput, Fault) as error:
                        failed[row.name, seed] = error
                        display.say(f"{row.name} seed {seed} has no result: {error}")
                jax.clear_caches()
                break
            else:
                if not waiting:
                    display.say("other sweeps are at all that is left; waiting for them")
                waiting = True
                time.sleep(WAIT_SECONDS)
    if failed:
        failures = "; ".join(f"{name} seed {seed}: {error}" for (name, seed), error in failed.items())
        raise Fault(f"{done} results made, {len(failed)} runs broke: {failures}")
    return done, len(list(missing_results(rows, paths, only, seeds)))
