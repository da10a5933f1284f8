"""Components of the blocks of a binary image, joined across the borders of blocks.

Every block is labelled by itself, and hands out the labels on its faces.  Where two blocks meet, labels
that touch are pairs; the components of the graph of all pairs are those of the image.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as components_of_graph

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_keys, block_values, map_mask_blocks
from xlabelstats.pipeline.foreground import Extents, Offset, checksum_of, find_components, foreground_of


@dataclass(frozen=True)
class Joints:
    """What a block tells of its components.

    Attributes
    ----------
    extents : Extents
    faces : mapping of (axis, side) to array
        The components, from 1 on, on the block's faces; side 0 has the lower index, -1 the higher.
    checksum : int
        Of the block's foreground.
    """

    extents: Extents
    faces: dict[tuple[int, int], np.ndarray]
    checksum: int

    def __sizeof__(self) -> int:
        return self.extents.__sizeof__() + sum(face.nbytes for face in self.faces.values())


@dataclass(frozen=True)
class Joined:
    """The components of the blocks of an image, joined.

    Attributes
    ----------
    components : list of arrays
        For every block, in order, which component of the image each of its own is a part of, from 0 on.
    checksums : list of int
        Of the blocks' foreground.
    extents : Extents
        Where the components of the image lie, in the order of their first pixels.
    """

    components: list[np.ndarray]
    checksums: list[int]
    extents: Extents


def join_blocks(binary: Any, connectivity: int, *, boxes: bool = False) -> Joined:
    """The components of a dask array, whose chunks have pixels, computed now; their ``boxes`` if asked for."""
    joints = map_mask_blocks(_joints, binary, connectivity=connectivity, shape=binary.shape, boxes=boxes)
    steps = [by for by in itertools.product((-1, 0, 1), repeat=binary.ndim) if _forward(by, connectivity)]
    name = f"touching-{joints.name}"
    keys = block_keys(joints)
    block = np.arange(keys.size).reshape(keys.shape)
    graph: Graph = {}
    for index in np.ndindex(*keys.shape):
        beyond = {by: tuple(np.add(index, by).tolist()) for by in steps}
        there = {by: at for by, at in beyond.items() if all(0 <= i < n for i, n in zip(at, keys.shape, strict=True))}
        call = partial(
            _touching, steps=list(there), blocks=[int(block[at]) for at in there.values()], connectivity=connectivity
        )
        graph[(name, *index)] = (call, keys[index], [keys[at] for at in there.values()])
    found = block_values(array_of_tasks(name, graph, joints.chunks, [joints]))
    components, extents = _settle([(own, touching) for own, touching, _ in found])
    return Joined(components, [checksum for _, _, checksum in found], extents)


def _joints(binary: np.ndarray, offset: Sequence[int], *, connectivity: int, shape: Offset, boxes: bool) -> Joints:
    foreground = foreground_of(binary)
    found = find_components(foreground, connectivity)
    labels = found.paint(np.arange(1, found.n + 1, dtype=np.int32))
    faces = {(axis, side): np.take(labels, side, axis) for axis in range(labels.ndim) for side in (0, -1)}
    return Joints(found.extents(offset, shape, boxes=boxes), faces, checksum_of(foreground))


def _forward(step: Offset, connectivity: int) -> bool:
    """Whether a step leads to pixels that are connected, and is the first of it and its opposite."""
    return step > (0,) * len(step) and sum(map(abs, step)) <= connectivity


def _touching(
    own: Joints, others: Sequence[Joints], *, steps: Sequence[Offset], blocks: Sequence[int], connectivity: int
) -> tuple[Extents, list[tuple[int, np.ndarray]], int]:
    """Where a block's components lie; for each neighbour its number and the pairs that touch; the checksum."""
    found = []
    for by, block, other in zip(steps, blocks, others, strict=True):
        here = _edge(own.faces, by)
        there = _edge(other.faces, tuple(-b for b in by))
        found.append((block, _pairs(here, there, by, ndimage.generate_binary_structure(len(by), connectivity))))
    return own.extents, found, own.checksum


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


def _settle(
    found: Sequence[tuple[Extents, list[tuple[int, np.ndarray]]]],
) -> tuple[list[np.ndarray], Extents]:
    """Which component of the image every block's are parts of, and where those lie, in the order of first pixels."""
    starts = np.cumsum([0, *(own.first.size for own, _ in found)])
    parts = [np.concatenate([getattr(own, field.name) for own, _ in found]) for field in fields(Extents)]
    pairs = [
        touching + np.array([starts[block] - 1, starts[other] - 1])
        for block, (_, neighbours) in enumerate(found)
        for other, touching in neighbours
    ]
    i, j = np.concatenate([np.empty((0, 2), np.int64), *pairs]).T
    touch = coo_array((np.ones(i.size, np.int8), (i, j)), shape=(starts[-1], starts[-1]))
    n, component = components_of_graph(touch, directed=False)
    order = np.argsort(component, kind="stable")
    edges = np.searchsorted(component[order], np.arange(n))
    first, count, low, high = (
        merge.reduceat(values[order], edges) if n else values
        for merge, values in zip((np.minimum, np.add, np.minimum, np.maximum), parts, strict=True)
    )
    begins = np.argsort(first)
    number = np.empty(n, np.int64)
    number[begins] = np.arange(n)
    return np.split(number[component], starts[1:-1]), Extents(first[begins], count[begins], low[begins], high[begins])


def without_empty_chunks(binary: Any) -> Any:
    """A dask array whose neighbouring chunks touch, which they do not across one of size 0."""
    sizes = [tuple(size for size in along if size) for along in binary.chunks]
    return binary.rechunk(tuple(sizes))
