"""Compiled loops on disk, which several processes may write at once."""

from __future__ import annotations

import hashlib
from types import MethodType
from typing import Any


def keep_apart(dispatcher: Any) -> None:
    """Name the file of every signature of a kernel after that signature.

    numba numbers the files, by what it finds in the index.  Two processes that compile different signatures at the same
    time then write the same file, and whoever loads one of them later gets the loop of the other: a TypeError for as
    long as the files exist (numba issues 4807 and 10128 tell of such races).  Of two processes that write the index at
    the same time one is overwritten; what it compiled is compiled again.

    Relies on how `numba.core.caching.IndexDataCacheFile` saves; kernels are kept as numba does where that has changed.
    """
    files: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    needed = ("save", "_load_index", "_save_index", "_save_data", "_data_name")
    if all(callable(getattr(files, name, None)) for name in needed):
        files.save = MethodType(_save, files)


def _save(files: Any, key: Any, data: Any) -> None:
    name = files._data_name(int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()))
    # The loop first, so that the index never names a file that holds an older one.
    files._save_data(name, data)
    files._save_index({**files._load_index(), key: name})
