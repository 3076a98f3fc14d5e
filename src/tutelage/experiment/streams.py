"""Wrappers of standard output and standard error, which may be full, closed, or a terminal that has gone."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tutelage.errors import NotWritten


class NullStream(io.TextIOBase):
    """A stream that drops everything."""

    def write(self, text: str) -> int:
        return len(text)


class StreamWrapper:
    """A text stream with another way of writing; everything else is passed on."""

    def __init__(self, stream: Any) -> None:
        """`stream`: None where it is closed, as `sys.stdout` is then."""
        self.closed = stream is None
        self.stream = NullStream() if stream is None else stream
        if hasattr(stream, "reconfigure"):  # a file name, or µ where letters are ASCII, must not end a command
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class StandardOutput(StreamWrapper):
    """Standard output: errors of writing become Faults, except that of a closed pipe (`| head`)."""

    def write(self, text: str) -> int:
        if self.closed:
            raise NotWritten("cannot write to standard output: it is closed")
        with write_faults():
            return int(self.stream.write(text))

    def flush(self) -> None:
        with write_faults():
            self.stream.flush()


@contextlib.contextmanager
def write_faults() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EIO:  # the terminal has gone: who read has left
            raise BrokenPipeError from None
        raise NotWritten(f"cannot write to standard output: {error.strerror or error}") from error


class StandardError(StreamWrapper):
    """Standard error: what cannot be written is dropped, so that the program continues without a reader."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(self.stream.isatty())
        return False


def line_width(stream: Any) -> int | None:
    """Width of a line in characters: from COLUMNS, else of the terminal; None (unlimited) without a terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    with contextlib.suppress(OSError, ValueError):
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or 80
    return None


def reserve_streams() -> None:
    """Open /dev/null in place of closed standard streams.

    Otherwise the next opened file would get the number of the stream, and messages would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free


def ignore_hangup() -> None:
    """Ignore SIGHUP, so that the process continues when its terminal is closed."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def flush_or_drop() -> None:
    """Flush the standard streams; what cannot be written is dropped, so that Python does not try again at exit."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
