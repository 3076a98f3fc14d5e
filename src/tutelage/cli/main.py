"""`tutelage VERB ...`: dispatch, exit codes, and errors as one line.

0 done, 1 a fault, 2 bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module

from tutelage import __version__
from tutelage.dotted import USER_FOLDERS
from tutelage.errors import BadInput, Fault, Interrupted, short, unknown
from tutelage.experiment.streams import StandardError, StandardOutput, flush_or_drop, ignore_hangup, reserve_streams

VERBS = {
    "demo": "an expert is trained and distilled on SMAX 2s3z, in about a minute",
    "list": "methods, environments and presets",
    "check": "play an environment and tell what is wrong with it before it is trained on",
    "train": "train a method on an environment",
    "resume": "go on with a run that was stopped or killed",
    "recover": "make a finished run of the best parameters so far of one that was stopped",
    "shrink": "find the smallest student that keeps a share of its teacher",
    "eval": "play episodes with a trained, scripted or random team",
    "cost": "FLOPs, parameters and latency of teacher and students",
    "export": "a trained team as a folder that runs without this package, checked",
    "verify": "check that a run's files are as they were written",
    "migrate": "rewrite runs of an earlier version so that this one opens them",
    "fork": "from states that students reach, let students and teacher play on",
    "stress": "how a team fails: lost members, noise, delay, lost messages, other team-mates",
    "render": "a picture of an episode",
    "sweep": "run the rows of a plan that are missing",
    "report": "tables, curves and the marl-eval file from results",
}
TRAINING = ("demo", "train", "resume", "recover", "shrink", "sweep")
"""Commands that may take hours: they continue when their terminal is closed."""


def usage() -> str:
    """The text of `tutelage --help`."""
    rows = "\n".join(f"  {verb:8} {about}" for verb, about in VERBS.items())
    return (
        f"tutelage {__version__}: train a centralised teacher for a cooperative team and hand its skill to small\n"
        "students that act alone.\n\n"
        f"usage: tutelage VERB ...\n\n{rows}\n\n"
        "examples:\n"
        "  tutelage train kd_marl smax/3s_vs_5z\n"
        "  tutelage eval runs/kd_marl-smax-3s_vs_5z-seed0\n"
        "  tutelage VERB --help\n"
    )


def run(argv: list[str]) -> None:
    """Run one command."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return
    if argv[0] in ("-V", "--version"):
        print(__version__)
        return
    if argv[0] not in VERBS:
        raise unknown("command", argv[0], VERBS)
    import_module(f"tutelage.cli.{argv[0]}").main(argv[1:])


def entry() -> None:
    """The console script: turns errors into a line and an exit code."""
    prepare()
    if sys.argv[1:] and sys.argv[1] in TRAINING:
        ignore_hangup()
    code = exit_code(sys.argv[1:])
    flush_or_drop()
    sys.exit(code)


def run_and_flush(argv: list[str]) -> int:
    """Run a command, flush its output, and return the exit code that it asks for."""
    code = 0
    try:
        run(argv)
    except SystemExit as stop:  # help, or a process side by side that failed
        code = int(stop.code or 0)
    sys.stdout.flush()
    return code


def exit_code(argv: list[str]) -> int:
    """Run a command and return its exit code; errors are printed as one line."""
    try:
        return run_and_flush(argv)
    except BadInput as error:
        return print_error(error, 2)
    except Fault as error:
        return print_error(error, 1)
    except Interrupted as stop:
        return print_error(stop, 130)
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, MemoryError) as error:  # of XLA, whose class is not known before jax is, or of NumPy
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return print_error(Fault("out of memory; smaller numbers of environments, sequences or units need less"), 1)
    except BrokenPipeError:  # who read has what he wanted
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return print_error(
            BadInput(f"{short(error.filename, str)}: {error.strerror}"), 2
        )  # a name that the system refuses


def print_error(error: Exception, code: int) -> int:
    """Print an error to standard error, with the traceback within user code if there is one; returns `code`."""
    print(f"tutelage: {error}", file=sys.stderr)
    if isinstance(error, BadInput) and error.frames:
        print(error.frames, file=sys.stderr)
    return code


def prepare() -> None:
    """Wrap the standard streams, set the folder of jax's compilation cache, and let user code be imported."""
    reserve_streams()
    sys.stdout, sys.stderr = StandardOutput(sys.stdout), StandardError(sys.stderr)  # type: ignore[assignment]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(cache, "tutelage", "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    with contextlib.suppress(OSError):  # a folder that is gone
        USER_FOLDERS.append(os.getcwd())  # where a user's own module:factory is found
