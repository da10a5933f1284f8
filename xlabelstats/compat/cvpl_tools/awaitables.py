"""Arrays that are used as they are, or awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xlabelstats.pipeline.cache.keys import Wrapped


class _Awaitable(Wrapped):
    """What gives its plain value when it is awaited."""

    __slots__ = ()

    # `asyncio.gather` asks for it.
    __hash__ = object.__hash__

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self.plain


class AwaitableNumpy(_Awaitable, np.ndarray):  # type: ignore[misc]
    """A numpy array."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Give what is computed of the array as of a plain one."""
        return array[()] if return_scalar else np.asarray(array)

    @property
    def plain(self) -> np.ndarray:
        """The array itself."""
        return self.view(np.ndarray)


class AwaitableDask(_Awaitable, da.Array):
    """A dask array."""

    __slots__ = ()

    @property
    def plain(self) -> da.Array:
        """The array itself."""
        return da.Array(self.dask, self.name, self.chunks, meta=self._meta)


class AwaitableDataArray(_Awaitable, xr.DataArray):  # type: ignore[misc]
    """A DataArray."""

    __slots__ = ()

    @property
    def plain(self) -> xr.DataArray:
        """The array itself."""
        return xr.DataArray(self)


def awaitable(array: Any) -> Any:
    """An array that can be awaited as well; a plain one comes of it then."""
    if isinstance(array, xr.DataArray):
        return AwaitableDataArray(array)
    if isinstance(array, da.Array):
        return AwaitableDask(array.dask, array.name, array.chunks, meta=array._meta)
    return array.view(AwaitableNumpy)
