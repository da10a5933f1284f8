"""Connected components of a binary image, joined across the borders of blocks.

Every block is labelled by itself, and hands out the labels on its faces.  Where two blocks meet, labels
that touch are pairs; the components of the graph of all pairs are those of the image.  Blocks are then labelled
once more, rather than kept, and given the final numbers.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as components_of_graph

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_keys, block_values, map_mask_blocks
from xlabelstats.engine.runs import find_runs
from xlabelstats.inputs import check_chunks, is_dask
from xlabelstats.pipeline.steps import Array, check_space, like, named, step

Offset = tuple[int, ...]


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
    structure = structure_of(mask, connectivity)
    if is_dask(mask.data):
        (labels,) = components_of_blocks(mask.data, structure)
    else:
        labels = number_components(mask.data, structure)
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


def structure_of(binary: xr.DataArray, connectivity: int) -> np.ndarray:
    """The pixels that are connected to the one in the middle."""
    if isinstance(connectivity, bool) or not isinstance(connectivity, int | np.integer):
        raise TypeError(f"connectivity is a whole number, not {connectivity!r}")
    if not 1 <= connectivity <= binary.ndim:
        raise ValueError(f"connectivity is between 1 and {binary.ndim}, the number of dims, not {connectivity}")
    return ndimage.generate_binary_structure(binary.ndim, int(connectivity))


def instances_like(binary: xr.DataArray, labels: Any) -> xr.DataArray:
    """Labels as an instance mask on the grid of a binary image."""
    return xr.DataArray(labels, dims=binary.dims, coords=binary.coords, name="instances")


def id_dtype(n: int) -> np.dtype:
    """The dtype that ids up to n need."""
    return np.dtype(np.int32 if n <= np.iinfo(np.int32).max else np.int64)


def number_components(binary: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """The components of an array in memory."""
    labels, n = _labelled(binary, structure)
    return labels.astype(id_dtype(n), copy=False)


def _labelled(binary: np.ndarray, structure: np.ndarray) -> tuple[np.ndarray, int]:
    """The components of a block by itself, and how many there are."""
    # Compared, since scipy reads only numbers of the machine's own byte order.
    return ndimage.label(np.asarray(binary) != 0, structure)


@dataclass(frozen=True)
class Joints:
    """What a block tells of its labels.

    Attributes
    ----------
    first : array (label,) of int64
        The first pixel of each, as an index of the flattened image.
    faces : mapping of (axis, side) to array
        The labels on the block's faces; side 0 has the lower index, -1 the higher.
    checksum : int
        Of the block's foreground.
    """

    first: np.ndarray
    faces: dict[tuple[int, int], np.ndarray]
    checksum: int

    def __sizeof__(self) -> int:
        return self.first.nbytes + sum(face.nbytes for face in self.faces.values())


def components_of_blocks(binary: Any, structure: np.ndarray, copies: int = 1) -> list[Any]:
    """The components of a dask array: which labels belong together is computed now.

    As many arrays of them as asked for, each of which labels the blocks anew, so that none waits for the others.
    """
    import dask.array as da
    from dask.base import tokenize

    if not binary.size:
        return [da.zeros(binary.shape, dtype=np.int32, chunks=-1)] * copies
    binary = _without_empty_chunks(binary)
    numbers, checksums = _final_numbers(binary, structure)
    dtype = id_dtype(max((int(table.max()) for table in numbers if table.size), default=0))
    tables = [table.astype(dtype) for table in numbers]
    token = tokenize(binary, structure)
    found = []
    for copy in range(copies):
        name = f"connected-components-{token}" + (f"-{copy}" if copy else "")
        graph: Graph = {}
        blocks = zip(block_keys(binary).ravel(), np.ndindex(*binary.numblocks), tables, checksums, strict=True)
        for key, index, table, checksum in blocks:
            # Not a task of its own: dask would begin with all of these, and so with blocks that are far apart.
            call = partial(_renumber, numbers=table, structure=structure, checksum=checksum, block=index)
            graph[(name, *index)] = (call, key)
        found.append(array_of_tasks(name, graph, binary.chunks, [binary], np.empty((0,) * binary.ndim, dtype)))
    return found


def _final_numbers(binary: Any, structure: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """For every block, in order, the final number of each of its labels, and the checksum of its foreground."""
    joints = map_mask_blocks(_joints, binary, structure=structure, shape=binary.shape)
    steps = [by for by in itertools.product((-1, 0, 1), repeat=binary.ndim) if _forward(by, structure)]
    name = f"touching-{joints.name}"
    keys = block_keys(joints)
    block = np.arange(keys.size).reshape(keys.shape)
    graph: Graph = {}
    for index in np.ndindex(*keys.shape):
        beyond = {by: tuple(np.add(index, by).tolist()) for by in steps}
        there = {by: at for by, at in beyond.items() if all(0 <= i < n for i, n in zip(at, keys.shape, strict=True))}
        call = partial(
            _touching, steps=list(there), blocks=[int(block[at]) for at in there.values()], structure=structure
        )
        graph[(name, *index)] = (call, keys[index], [keys[at] for at in there.values()])
    found = block_values(array_of_tasks(name, graph, joints.chunks, [joints]))
    return _settle([(first, touching) for first, touching, _ in found]), [checksum for _, _, checksum in found]


def _joints(binary: np.ndarray, offset: Sequence[int], *, structure: np.ndarray, shape: Offset) -> Joints:
    labels, n = _labelled(binary, structure)
    runs = find_runs(labels).runs
    first = np.empty(n, np.int64)
    # Of several values for one element the last is kept.
    first[runs.codes[::-1]] = runs.starts[::-1]
    place = np.unravel_index(first, labels.shape)
    first = np.ravel_multi_index([at + start for at, start in zip(place, offset, strict=True)], shape)
    faces = {(axis, side): np.take(labels, side, axis) for axis in range(labels.ndim) for side in (0, -1)}
    return Joints(first, faces, checksum_of(binary))


def checksum_of(binary: np.ndarray) -> int:
    """A number by which another foreground is noticed."""
    return zlib.crc32(np.packbits(np.asarray(binary) != 0).data)


def _forward(step: Offset, structure: np.ndarray) -> bool:
    """Whether a step to a neighbour is one of the structure, and the first of it and its opposite."""
    return step > (0,) * len(step) and bool(structure[tuple(1 + by for by in step)])


def _touching(
    own: Joints, others: Sequence[Joints], *, steps: Sequence[Offset], blocks: Sequence[int], structure: np.ndarray
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]], int]:
    """The first pixels of a block's labels; for each neighbour its number and the pairs that touch; the checksum."""
    found = []
    for by, block, other in zip(steps, blocks, others, strict=True):
        here = _edge(own.faces, by)
        there = _edge(other.faces, tuple(-b for b in by))
        found.append((block, _pairs(here, there, by, structure)))
    return own.first, found, own.checksum


def _edge(faces: dict[tuple[int, int], np.ndarray], step: Offset) -> np.ndarray:
    """The labels of a block that lie next to its neighbour one step away."""
    axis, *rest = (i for i, by in enumerate(step) if by)
    face = faces[axis, -1 if step[axis] > 0 else 0]
    # The face lacks its own axis, so that later ones are one further on.
    return face[tuple(_side(step[i]) if i in rest else slice(None) for i in range(len(step)) if i != axis)]


def _side(by: int) -> int:
    return -1 if by > 0 else 0


def _pairs(here: np.ndarray, there: np.ndarray, step: Offset, structure: np.ndarray) -> np.ndarray:
    """The pairs (pair, 2) of labels that touch, of the pixels on either side of a border."""
    reach = structure[tuple(1 + by if by else slice(None) for by in step)]
    found = [np.empty((0, 2), np.int64)]
    for shift in np.argwhere(reach) - 1:
        ours = here[tuple(slice(max(-by, 0), n - max(by, 0)) for by, n in zip(shift, here.shape, strict=True))]
        theirs = there[tuple(slice(max(by, 0), n - max(-by, 0)) for by, n in zip(shift, here.shape, strict=True))]
        both = (ours > 0) & (theirs > 0)
        found.append(np.unique(np.stack([ours[both], theirs[both]], axis=-1).reshape(-1, 2), axis=0))
    return np.unique(np.concatenate(found), axis=0)


def _settle(found: Sequence[tuple[np.ndarray, list[tuple[int, np.ndarray]]]]) -> list[np.ndarray]:
    """The final numbers of every block's labels: one per component, in the order of their first pixels."""
    starts = np.cumsum([0, *(first.size for first, _ in found)])
    first = np.concatenate([np.empty(0, np.int64), *(first for first, _ in found)])
    pairs = [
        touching + np.array([starts[block] - 1, starts[other] - 1])
        for block, (_, neighbours) in enumerate(found)
        for other, touching in neighbours
    ]
    i, j = np.concatenate([np.empty((0, 2), np.int64), *pairs]).T
    touch = coo_array((np.ones(i.size, np.int8), (i, j)), shape=(first.size, first.size))
    n, component = components_of_graph(touch, directed=False)
    begins = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(begins, component, first)
    number = np.empty(n, np.int64)
    number[np.argsort(begins)] = np.arange(1, n + 1)
    return np.split(number[component], starts[1:-1])


def _renumber(
    binary: np.ndarray, *, numbers: np.ndarray, structure: np.ndarray, checksum: int, block: Offset
) -> np.ndarray:
    if checksum_of(binary) != checksum:
        raise RuntimeError(
            f"the binary image has changed since its components were numbered: block {block} has another foreground. "
            "Open it again, and call the step again; if its computation gives another result each time, as with "
            "some models, keep it first, by .persist() or in a Cache"
        )
    labels, _ = _labelled(binary, structure)
    return np.concatenate([np.zeros(1, numbers.dtype), numbers])[labels]


def _without_empty_chunks(binary: Any) -> Any:
    """A dask array whose neighbouring chunks touch, which they do not across one of size 0."""
    sizes = [tuple(size for size in along if size) for along in binary.chunks]
    return binary.rechunk(tuple(sizes))
