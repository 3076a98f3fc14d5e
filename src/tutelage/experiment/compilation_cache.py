"""Compiled programs that are kept between processes: an entry of jax's cache is read only if it is that of its key.

jax names an entry by its program and looks at nothing else. One that was swapped, or half written, would run in another
program's place, or warn and be compiled at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from typing import Any


class VerifiedCache:
    """jax's cache, with a digest of key and content beside every entry."""

    def __init__(self, base: Any) -> None:
        self.base, self._path = base, base._path

    def get(self, key: str) -> bytes | None:
        """An entry, or None where it is not there, damaged, another's, or not ours."""
        value = self.base.get(key)
        with contextlib.suppress(OSError):
            if value is not None and (self._path / f"{key}-digest").read_bytes() == digest(key, value):
                return value
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep an entry, in the place of a damaged one. A full disk costs time later, no more."""
        with contextlib.suppress(OSError):
            for ending, content in (("cache", value), ("digest", digest(key, value))):
                temporary = self._path / f".{key}-{ending}.{os.getpid()}"
                temporary.write_bytes(content)
                temporary.replace(self._path / f"{key}-{ending}")


def digest(key: str, value: bytes) -> bytes:
    return hashlib.sha256(key.encode() + value).hexdigest().encode()


@cache
def verify_cache() -> None:
    """Let jax read and write its cache in this way, once per process, where there is one.

    jax has no public way to it; where a later version has another private one, its cache stays as it is.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src import compilation_cache

        module: Any = compilation_cache
        module._initialize_cache()
        if module._cache is not None and not module._cache.eviction_enabled:  # evicted entries have files beside them
            module._cache = VerifiedCache(module._cache)
