"""Connected components of a binary image, numbered in the order of their first pixels.

The blocks of a dask image are labelled once to join their components, and once more, rather than kept, to be given the
final numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_keys
from xlabelstats.inputs import check_chunks, is_dask
from xlabelstats.pipeline.foreground import checked, find_components, foreground_of
from xlabelstats.pipeline.joints import join_blocks, without_empty_chunks
from xlabelstats.pipeline.steps import Array, check_space, like, named, step


@step(1)
def connected_components(binary: Array, connectivity: int = 1) -> Array:
    """Number the connected components of a binary image.

    Parameters
    ----------
    binary : DataArray, numpy or dask array
        Foreground is what is not 0; integers or bool, with dims in space only.
    connectivity : int, default 1
        Pixels are connected if they differ by one along at most this many axes: 1 means faces, 2 edges too, 3 in a
        volume corners too.

    Returns
    -------
    DataArray, numpy or dask array
        Like ``binary``, lazy if it is: int32, int64 if there are more than 2**31 - 1 components.  Component 1 has the
        first foreground pixel in the order of rows, 2 the first one that is not in it, and so on, as in
        `scipy.ndimage.label`, for every chunking.

    Raises
    ------
    TypeError
        ``binary`` does not hold integers.
    ValueError
        It has dims that are not in space, or ``connectivity`` is not between 1 and the number of dims.

    Notes
    -----
    A dask image is read now, to find which pixels belong together, and again when the result is computed.  If its
    foreground has changed by then, for example because its store was rewritten, you get a RuntimeError.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import connected_components
    >>> binary = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1]], np.uint8)
    >>> connected_components(binary)
    array([[1, 1, 0, 0],
           [0, 0, 2, 0],
           [3, 0, 2, 2]], dtype=int32)
    >>> connected_components(binary, connectivity=2)
    array([[1, 1, 0, 0],
           [0, 0, 1, 0],
           [2, 0, 1, 1]], dtype=int32)
    """
    mask = check_binary(named(binary, "binary"))
    check_connectivity(mask, connectivity)
    number = _number_blocks if is_dask(mask.data) else _number_array
    labels = number(mask.data, int(connectivity))
    return like(binary, instances_like(mask, labels))


def check_binary(binary: xr.DataArray) -> xr.DataArray:
    """A binary image that can be labelled, or a complaint."""
    if binary.dtype.kind not in "biu":
        raise TypeError(
            f"a binary image holds integers or bool, not {binary.dtype}; make one with threshold(image, value)"
        )
    if not binary.dims:
        raise ValueError("a binary image needs at least one dim; this one is a single number")
    check_space(binary, "binary image")
    check_chunks(binary, "binary image")
    return binary


def check_connectivity(binary: xr.DataArray, connectivity: Any) -> None:
    """Complain about what is no number of axes along which pixels may differ."""
    if isinstance(connectivity, bool) or not isinstance(connectivity, int | np.integer):
        raise TypeError(f"connectivity is a whole number, not {connectivity!r}")
    if not 1 <= connectivity <= binary.ndim:
        raise ValueError(f"connectivity is between 1 and {binary.ndim}, the number of dims, not {connectivity}")


def instances_like(binary: xr.DataArray, labels: Any) -> xr.DataArray:
    """Labels as an instance mask on the grid of a binary image."""
    return xr.DataArray(labels, dims=binary.dims, coords=binary.coords, name="instances")


def id_dtype(n: int) -> np.dtype:
    """The dtype that ids up to n need."""
    return np.dtype(np.int32 if n <= np.iinfo(np.int32).max else np.int64)


def _number_array(binary: np.ndarray, connectivity: int) -> np.ndarray:
    """The numbered components of an array in memory."""
    found = find_components(foreground_of(binary), connectivity)
    return found.paint(np.arange(1, found.n + 1, dtype=id_dtype(found.n)))


def _number_blocks(binary: Any, connectivity: int) -> Any:
    """The numbered components of a dask array: which pixels belong together is computed now."""
    import dask.array as da
    from dask.base import tokenize

    if not binary.size:
        return da.zeros(binary.shape, dtype=np.int32, chunks=-1)
    binary = without_empty_chunks(binary)
    joined = join_blocks(binary, connectivity)
    dtype = id_dtype(joined.extents.first.size)
    name = f"connected-components-{tokenize(binary, connectivity)}"
    graph: Graph = {}
    numbers = [(table + 1).astype(dtype) for table in joined.components]
    blocks = zip(block_keys(binary).ravel(), np.ndindex(*binary.numblocks), numbers, joined.checksums, strict=True)
    for key, index, table, checksum in blocks:
        # Not a task of its own: dask would begin with all of these, and so with blocks that are far apart.
        call = partial(_renumber, numbers=table, connectivity=connectivity, checksum=checksum, block=index)
        graph[(name, *index)] = (call, key)
    return array_of_tasks(name, graph, binary.chunks, [binary], np.empty((0,) * binary.ndim, dtype))


def _renumber(
    binary: np.ndarray, *, numbers: np.ndarray, connectivity: int, checksum: int, block: tuple[int, ...]
) -> np.ndarray:
    foreground = checked(binary, checksum=checksum, block=block)
    return find_components(foreground, connectivity).paint(numbers)
