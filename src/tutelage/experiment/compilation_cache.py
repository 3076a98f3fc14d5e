"""A checksum on every entry of jax's persistent compilation cache.

jax finds an entry by its file name and does not check the content. A swapped file would run in place of another
program. A half-written one would cause a warning and a compilation at every start.
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
        """An entry; None where it is missing or its checksum is missing or wrong."""
        value = self.base.get(key)
        with contextlib.suppress(OSError):
            if value is not None and (self._path / f"{key}-digest").read_bytes() == digest(key, value):
                return value
        return None

    def put(self, key: str, value: bytes) -> None:
        """Write an entry and its checksum. A full disk is ignored: the next start then compiles again."""
        with contextlib.suppress(OSError):
            for ending, content in (("cache", value), ("digest", digest(key, value))):
                temporary = self._path / f".{key}-{ending}.{os.getpid()}"
                temporary.write_bytes(content)
                temporary.replace(self._path / f"{key}-{ending}")


def digest(key: str, value: bytes) -> bytes:
    return hashlib.sha256(key.encode() + value).hexdigest().encode()


@cache
def verify_cache() -> None:
    """Make jax use `VerifiedCache` for its persistent cache, if it has one; done once per process.

    This uses a private interface of jax. Where another version lacks it, the cache is left unverified.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src import compilation_cache

        module: Any = compilation_cache
        module._initialize_cache()
        if module._cache is not None and not module._cache.eviction_enabled:  # evicted entries have files beside them
            module._cache = VerifiedCache(module._cache)
