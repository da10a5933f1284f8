"""Options of the package, and the one way in which it computes dask graphs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from xlabelstats.names import check_known

OPTIONS: dict[str, Any] = {"progress": False, "mask_memory": 2**28}

_bar: Any = None


class set_options:
    """Set options, permanently or within a ``with`` block.

    Parameters
    ----------
    progress : bool, default False
        Show a `tqdm` bar whenever dask computes in this process: the package's own scans of a
        mask, `xlabelstats.to_zarr`, and ``.compute()`` of what it returned.  With a `dask.distributed`
        client, which computes elsewhere, scans and `xlabelstats.to_zarr` show the client's progress; for
        the rest, use ``dask.distributed.progress(result.persist())``, or look at the client's dashboard.
    mask_memory : int, default 268435456
        Bytes of memory for what the scans of dask masks keep, so that masks need not be read again to be measured;
        for all masks together.  A mask of cells needs about 4 % of its size, and 540 bytes for every chunk.
        One for which there is no room is read again, as all are with 0.  What is beyond a lower value is let go by
        the next call for a dask mask.

    Raises
    ------
    ValueError
        For an option that does not exist, or a value it cannot take.

    Examples
    --------
    >>> import xlabelstats
    >>> with xlabelstats.set_options(progress=True):
    ...     pass  # what is computed here shows a bar
    """

    def __init__(self, **options: Any) -> None:
        check_known(options, OPTIONS, "option")
        if not isinstance(options.get("progress", False), bool):
            raise ValueError(f"progress is True or False, not {options['progress']!r}")
        memory = options.get("mask_memory", 0)
        if isinstance(memory, bool) or not isinstance(memory, Integral) or memory < 0:
            raise ValueError(f"mask_memory is a number of bytes, as 2**28 for 256 MiB, or 0 for none, not {memory!r}")
        self._before = {name: OPTIONS[name] for name in options}
        _apply(options)

    def __enter__(self) -> set_options:
        return self

    def __exit__(self, *exception: object) -> None:
        _apply(self._before)


def compute(collection: Any) -> Any:
    """Compute a dask collection, showing progress where that is asked for."""
    return compute_each([collection])[0]


def compute_each(collections: Sequence[Any]) -> Sequence[Any]:
    """Compute dask collections together, as `compute` does one."""
    client = _client() if OPTIONS["progress"] else None
    if client is None:
        import dask

        return dask.compute(*collections)
    from distributed import progress

    futures = client.compute(list(collections))
    progress(futures)
    return client.gather(futures)


def _client() -> Any:
    """The active distributed client, without importing distributed for those who have none."""
    if "distributed" not in sys.modules:
        return None
    try:
        # Another thread may be importing it; the statement waits for that, the entry of sys.modules does not.
        from distributed import default_client

        return default_client()
    except (ImportError, ValueError):
        return None


def _apply(options: dict[str, Any]) -> None:
    global _bar
    OPTIONS.update(options)
    if OPTIONS["progress"] and _bar is None:
        from tqdm import TqdmWarning

        with warnings.catch_warnings():
            # In a notebook without ipywidgets tqdm says so and falls back to text, which is fine.
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.dask import TqdmCallback

        _bar = TqdmCallback(desc="xlabelstats")
        _bar.register()
    elif not OPTIONS["progress"] and _bar is not None:
        _bar.unregister()
        _bar = None
