"""A place for one trial of the campaign: commands in forked processes, and directories compared file by file."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
STARTS_JAX = ("tutelage.envs.smax_jaxmarl", "tutelage.__main__")
"""Modules whose import starts threads of jax, after which a process cannot fork."""
LIBC = ctypes.CDLL(None)
CLOCK = {"seconds", "wall_seconds"}
"""Fields that depend on time."""
LEFT = re.compile(r"(^|/)(\.[^/]*|[^/]*\.(lock|tmp)|checkpoint[^/]*)$")
"""Names of files that a finished command does not leave."""


def prepare() -> None:
    """Import everything once; each trial then starts in a copy of this process, which is quicker by seconds."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "faults" / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import tutelage

    for module in pkgutil.walk_packages(tutelage.__path__, "tutelage."):
        if not module.name.startswith(STARTS_JAX):
            importlib.import_module(module.name)
    safe_to_fork()
    gc.freeze()


def safe_to_fork() -> None:
    """Stop if this process has other threads: whatever they hold would be held for ever in a copy."""
    tasks = Path("/proc/self/task")
    if tasks.exists() and len(list(tasks.iterdir())) > 1:
        sys.exit("this process has threads and cannot be copied: has something started jax?")


class Outcome(NamedTuple):
    """How a command ended: its exit code (minus the signal that killed it; None: had to be killed after `limit`)."""

    code: int | None
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """Lines on standard error."""
        return [line for line in self.err.splitlines() if line.strip()]


def command(*argv: Any) -> Callable[[], int]:
    """A function that runs `tutelage ARGV` and returns its exit code."""

    def run() -> int:
        from tutelage.cli.main import exit_code

        return exit_code([str(word) for word in argv])

    return run


def run_in_fork(
    act: Callable[[], int], folder: Path, limit: float = 300.0, first: Callable[[], Any] | None = None
) -> Outcome:
    """Run `act` in a forked copy of this process, in `folder`, after `first`; processes that it starts end with it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            run_child(act, folder, out.fileno(), err.fileno(), first)
        code = wait_for(pid, limit)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Outcome(code, *texts)


def ends_with_parent() -> None:
    """This copy is killed when the process that waits for it ends."""
    LIBC.prctl(1, signal.SIGKILL)


def run_child(act: Callable[[], int], folder: Path, out: int, err: int, first: Callable[[], None] | None) -> None:
    """The code that the forked copy runs; it never returns."""
    code = 1
    try:
        os.setsid()
        ends_with_parent()
        gc.disable()
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
        os.chdir(folder)
        if first:
            first()
        code = act()
        sys.stdout.flush()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for(pid: int, limit: float) -> int | None:
    """The exit code of a copy; None where it took longer than `limit` and was killed, with all it had started."""
    handle = os.pidfd_open(pid)
    try:
        ready = select.select([handle], [], [], limit)[0]
        if not ready:
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(status) if ready else None


def bounded_memory(gigabytes: int = 8) -> None:
    """Limit the memory of a copy."""
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30,) * 2)


@contextmanager
def sandbox(start: Path | None = None) -> Iterator[Path]:
    """A folder of its own with a copy of `start` in it, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tutelage-faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve() / "here"
        if start:
            shutil.copytree(start, folder, symlinks=True)
        else:
            folder.mkdir()
        yield folder


# ---- what lies in a folder -------------------------------------------------------------------------------------------
def timeless(value: Any) -> Any:
    """JSON without what the clock decides."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in CLOCK}
    return [timeless(x) for x in value] if isinstance(value, list) else value


def content(path: Path, folder: str) -> Any:
    """Content of a file without times and without the path of the folder; its bytes where it cannot be parsed."""
    if path.is_symlink():
        return f"a link to {os.readlink(path)}"
    if not path.is_file():
        return "a folder" if path.is_dir() else "neither file nor folder"
    data = path.read_bytes()
    neutral = data.replace(folder.encode(), b"HERE")
    try:
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in neutral.splitlines()]
            return [timeless(line) for line in lines if line.get("kind") != "compiled"]
        value = timeless(json.loads(neutral)) if path.suffix == ".json" else data
        return without_hashes_of_times(value) if path.name == "manifest.json" else value
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return data


def without_hashes_of_times(manifest: Any) -> Any:
    """A manifest without the hashes of files that hold times or the path of the folder."""
    files = {name: digest for name, digest in manifest["files"].items() if name not in ("config.json", "eval.json")}
    return {**manifest, "files": files, "itself": ""}


def tree(folder: Path, was: str = "") -> dict[str, Any]:
    """Content of all files in a folder by name; `was`: the path that the folder had when the files were made."""
    paths = sorted(p for p in folder.rglob("*") if "__pycache__" not in p.parts)
    return {str(path.relative_to(folder)): content(path, was or str(folder)) for path in paths}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One line for each file that differs."""
    lines = [f"{name} is missing" for name in wanted if name not in found]
    lines += [f"{name} is left over" for name in found if name not in wanted]
    for name, value in wanted.items():
        if name in found and found[name] != value:
            lines.append(f"{name} differs{where(found[name], value)}")
    return lines


def where(a: Any, b: Any) -> str:
    """The place of the first difference."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys(), key=str):
            if a.get(key, ...) != b.get(key, ...):
                return f" at {key}{where(a.get(key), b.get(key))}"
    if isinstance(a, list) and isinstance(b, list):
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            if x != y:
                return f" at {i}{where(x, y)}"
        return f": {len(a)} entries, not {len(b)}"
    if isinstance(a, bytes) and isinstance(b, bytes):
        return f": {len(a)} bytes, not {len(b)}" if len(a) != len(b) else " in its bytes"
    return f": {str(a)[:60]}, not {str(b)[:60]}"


def leftovers(found: dict[str, Any]) -> list[str]:
    """Temporary files, locks and checkpoints."""
    return [f"{name} is left over" for name in found if LEFT.search(name)]


def one_line(ended: Outcome) -> bool:
    """Whether the error message is one line."""
    return len(ended.error_lines) == 1 and ended.error_lines[0].startswith("tutelage: ")


def last_line(ended: Outcome) -> str:
    """Exit code and last line of the output of a command, as text."""
    code = "no end" if ended.code is None else f"code {ended.code}"
    return f"{code}: {(ended.error_lines or ended.out.splitlines() or ['nothing'])[-1][:300]}"


def cycle(values: Sequence[Any], number: int) -> Any:
    """Each value in turn."""
    return values[number % len(values)]
