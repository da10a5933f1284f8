"""Labels of overlapping tiles: which agree, and the mask that they make together, block by block."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_values, in_one_layer
from xlabelstats.engine.runs import changed, check_shape
from xlabelstats.inputs import is_dask

if TYPE_CHECKING:
    import pandas as pd

# The pixels along every axis of a block of the mask, for tiles in memory, by the number of axes.
BLOCK = {1: 2**20, 2: 1024}


@dataclass(frozen=True)
class Piece:
    """What a block of the mask has of a tile.

    Attributes
    ----------
    tile : int
    start, shape : tuple of int
        Where it lies in the block.
    edges : tuple of pairs of int or None
        Along each axis, the pixels from the first one here to the lower edge of the tile, and from the last one here to
        the upper; None for an edge that is one of the mask.
    """

    tile: int
    start: tuple[int, ...]
    shape: tuple[int, ...]
    edges: tuple[tuple[int | None, int | None], ...]

    @property
    def window(self) -> tuple[slice, ...]:
        """Its place in the block."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))

    @property
    def depth(self) -> np.ndarray:
        """How far every pixel lies from the nearest edge of the tile that is within the mask."""
        depth = np.full((1,) * len(self.shape), np.iinfo(np.int64).max)
        for axis, (n, (low, high)) in enumerate(zip(self.shape, self.edges, strict=True)):
            pixel = np.arange(n).reshape([-1 if each == axis else 1 for each in range(len(self.shape))])
            if low is not None:
                depth = np.minimum(depth, low + pixel)
            if high is not None:
                depth = np.minimum(depth, high + n - 1 - pixel)
        return np.broadcast_to(depth, self.shape)


@dataclass(frozen=True)
class Agreement:
    """What a block tells of the labels of tiles.

    Attributes
    ----------
    labels, seen : lists of (tile, array)
        The labels that each tile has there, and those of which the mask has a pixel.
    pairs : list of (tile, tile, array, array, array)
        Where two tiles overlap: the labels of the one, those of the other, and how many pixels have both.  The
        background counts as a label.
    cuts : list of (tile, tile, array, array)
        Where two tiles overlap: the labels of the one that its edge cuts within the other, and the other way round.
    """

    labels: list[tuple[int, np.ndarray]]
    seen: list[tuple[int, np.ndarray]]
    pairs: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]
    cuts: list[tuple[int, int, np.ndarray, np.ndarray]]


def joined_tiles(tiles: Sequence[Any], positions: np.ndarray, iou: float) -> Any:
    """A dask array of the labels of all tiles, joined."""
    import dask.array as da
    from dask.base import tokenize

    shape = tuple((positions + [tile.shape for tile in tiles]).max(axis=0).tolist())
    if 0 in shape:
        return da.zeros(shape, chunks=-1, dtype=np.int32)
    chunks = _chunks(tiles[0], shape)
    edges = [np.cumsum((0, *sizes)) for sizes in chunks]
    aligned = [_aligned(tile, start, edges) for tile, start in zip(tiles, positions, strict=True)]
    pieces = _pieces(aligned, positions, edges, shape)
    source = in_one_layer(aligned, [])
    token = tokenize([array.name for array in aligned], positions, shape)
    name = f"agreement-{token}"
    graph: Graph = {(name, *index): (partial(_agreement, held), keys) for index, (held, keys) in pieces.items()}
    numbers, n, lost = _numbers(block_values(array_of_tasks(name, graph, chunks, [source])), len(tiles), iou)
    if lost:
        warnings.warn(
            f"{lost} objects of the tiles have no pixel in the mask: in the overlaps, objects of other tiles that do "
            "not agree with them cover all of their pixels; a smaller iou joins more",
            stacklevel=3,
        )
    dtype = np.dtype(np.int32 if n <= np.iinfo(np.int32).max else np.int64)
    name = f"stitch-{tokenize(token, iou)}"
    graph = {
        (f"{name}-numbers", t): (partial(tuple, (ids, new.astype(dtype))),) for t, (ids, new) in enumerate(numbers)
    }
    for index, (held, keys) in pieces.items():
        size = tuple(sizes[i] for sizes, i in zip(chunks, index, strict=True))
        tables = [(f"{name}-numbers", piece.tile) for piece in held]
        graph[(name, *index)] = (partial(_joined_block, held, size, dtype), keys, tables)
    return array_of_tasks(name, graph, chunks, [source], np.empty((0,) * len(shape), dtype))


def _chunks(tile: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The chunks of the mask: those of the first tile, made equal, or of a set size if it is in memory."""
    largest = map(max, tile.chunks) if is_dask(tile) else [BLOCK.get(tile.ndim, 128)] * tile.ndim
    sizes = [max(1, min(size, n)) for size, n in zip(largest, shape, strict=True)]
    return tuple(
        (*(size,) * (n // size), *((n % size,) if n % size else ())) for size, n in zip(sizes, shape, strict=True)
    )


def _aligned(tile: Any, start: np.ndarray, edges: Sequence[np.ndarray]) -> Any:
    """A tile as a dask array whose chunks end where those of the mask do."""
    import dask.array as da

    chunks = []
    for first, size, along in zip(start.tolist(), tile.shape, edges, strict=True):
        inner = along[(along > first) & (along < first + size)] - first
        chunks.append(tuple(np.diff([0, *inner.tolist(), size]).tolist()))
    if not is_dask(tile):
        return da.from_array(tile, chunks=tuple(chunks))
    sizes = [tuple(size for size in along if size) or (0,) for along in tile.chunks]
    return tile.rechunk(tuple(sizes)).rechunk(tuple(chunks))


def _pieces(
    tiles: Sequence[Any], positions: np.ndarray, edges: Sequence[np.ndarray], shape: tuple[int, ...]
) -> dict[tuple[int, ...], tuple[list[Piece], list[Any]]]:
    """For every block of the mask what it has of each tile, and the keys of the blocks of the tiles."""
    pieces: dict[tuple[int, ...], tuple[list[Piece], list[Any]]] = {
        index: ([], []) for index in np.ndindex(*(along.size - 1 for along in edges))
    }
    for t, (tile, start) in enumerate(zip(tiles, positions.tolist(), strict=True)):
        if 0 in tile.shape:
            continue
        first = [int(np.searchsorted(along, a, "right")) - 1 for along, a in zip(edges, start, strict=True)]
        begins = [np.cumsum((0, *sizes)).tolist() for sizes in tile.chunks]
        for block in np.ndindex(*tile.numblocks):
            index = tuple(a + b for a, b in zip(first, block, strict=True))
            low = [along[b] for along, b in zip(begins, block, strict=True)]
            size = tuple(sizes[b] for sizes, b in zip(tile.chunks, block, strict=True))
            place = tuple(a + b - int(along[i]) for a, b, along, i in zip(start, low, edges, index, strict=True))
            distances = tuple(
                (b if a else None, whole - b - n if a + whole < end else None)
                for a, b, n, whole, end in zip(start, low, size, tile.shape, shape, strict=True)
            )
            pieces[index][0].append(Piece(t, place, size, distances))
            pieces[index][1].append((tile.name, *block))
    return pieces


def _winners(pieces: Sequence[Piece], labels: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """For every piece which of its pixels the mask has; None if these are all that have an object."""
    windows = [piece.window for piece in pieces]
    shared = {each for pair in _overlapping(pieces) for each in pair}
    alone = [i not in shared for i in range(len(pieces))]
    ends = [max((window[axis].stop for window in windows), default=0) for axis in range(len(windows[0]))]
    best = np.full(ends, -1, np.int64)
    owner = np.full(ends, -1, np.int32)
    for i, (piece, held) in enumerate(zip(pieces, labels, strict=True)):
        if alone[i]:
            continue
        depth = piece.depth
        # Of tiles in which a pixel lies as deep, the earlier one comes first here.
        wins = (held != 0) & (depth > best[windows[i]])
        best[windows[i]][wins] = depth[wins]
        owner[windows[i]][wins] = i
    return [None if alone[i] else owner[window] == i for i, window in enumerate(windows)]


def _checked(pieces: Sequence[Piece], labels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The labels of pieces as pandas reads them: in the byte order of the machine."""
    for piece, held in zip(pieces, labels, strict=True):
        check_shape(held.shape, piece.shape)
    return [np.asarray(held, held.dtype.newbyteorder("=")) for held in labels]


def _overlapping(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """The numbers of every two pieces that overlap, the earlier one first."""
    low = np.array([piece.start for piece in pieces])
    high = low + [piece.shape for piece in pieces]
    pairs = []
    for j in range(1, len(pieces)):
        overlap = (low[:j] < high[j]) & (high[:j] > low[j])
        pairs += [(i, j) for i in np.flatnonzero(overlap.all(axis=1)).tolist()]
    return pairs


def _agreement(pieces: Sequence[Piece], labels: Sequence[np.ndarray]) -> Agreement:
    """What a block tells of the labels of its tiles."""
    import pandas as pd

    agreement = Agreement([], [], [], [])
    if not pieces:
        return agreement
    labels = _checked(pieces, labels)
    for piece, held, wins in zip(pieces, labels, _winners(pieces, labels), strict=True):
        ids = pd.unique(held.ravel())
        agreement.labels.append((piece.tile, ids[ids != 0]))
        agreement.seen.append((piece.tile, ids[ids != 0] if wins is None else pd.unique(held[wins])))
    for i, j in _overlapping(pieces):
        windows = zip(pieces[i].window, pieces[j].window, strict=True)
        both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in windows]
        first, second = (_cut(labels[k], pieces[k], both) for k in (i, j))
        agreement.pairs.append((pieces[i].tile, pieces[j].tile, *_counts(first, second)))
        near, far = (_cut(pieces[k].depth, pieces[k], both) for k in (i, j))
        edges = pd.unique(first[(near == 0) & (far > 0)]), pd.unique(second[(far == 0) & (near > 0)])
        agreement.cuts.append((pieces[i].tile, pieces[j].tile, *edges))
    return agreement


def _cut(labels: np.ndarray, piece: Piece, window: Sequence[slice]) -> np.ndarray:
    """What is known of the pixels of a piece, in a window of the block."""
    return labels[tuple(slice(at.start - a, at.stop - a) for at, a in zip(window, piece.start, strict=True))]


def _counts(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of labels at the same pixels, and how many pixels have each."""
    import pandas as pd
    from scipy.sparse import coo_array

    rows, ids = pd.factorize(first.ravel())
    columns, others = pd.factorize(second.ravel())
    table = coo_array((np.ones(rows.size, np.int64), (rows, columns)), shape=(ids.size, others.size)).tocsr().tocoo()
    return ids[table.row], others[table.col], table.data


def _numbers(blocks: Sequence[Agreement], n: int, iou: float) -> tuple[list[tuple[np.ndarray, np.ndarray]], int, int]:
    """For every tile its labels, sorted, and the ids that they have in the mask; how many ids; how many are lost."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    labels = _of_tiles([each for block in blocks for each in block.labels], n)
    seen = _of_tiles([each for block in blocks for each in block.seen], n)
    starts = np.cumsum([0, *(ids.size for ids in labels)])
    agree = _agreeing(blocks, labels, starts, iou)
    edges = (agree["i"].to_numpy(), agree["j"].to_numpy())
    size = int(starts[-1])
    graph = coo_array((np.ones(edges[0].size, np.int8), edges), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    # Sorted, since numpy's other way fails on ids near 2**63.
    visible = np.concatenate([np.isin(*pair, kind="sort") for pair in zip(labels, seen, strict=True)])
    shown = np.zeros(size, bool)
    shown[component[visible]] = True
    # Numbered in the order of the first label of each, which is that of tiles and ids.
    first = np.unique(component, return_index=True)[1]
    order = component[np.sort(first)]
    lost = int((~shown[order]).sum())
    order = order[shown[order]]
    number = np.zeros(size, np.int64)
    number[order] = np.arange(1, order.size + 1)
    new = np.split(number[component], starts[1:-1])
    return list(zip(labels, new, strict=True)), order.size, lost


def _agreeing(
    blocks: Sequence[Agreement], labels: Sequence[np.ndarray], starts: np.ndarray, iou: float
) -> pd.DataFrame:
    """The pairs of labels that are one object, ``i`` and ``j`` by their numbers among those of all tiles."""
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [np.empty(0, np.int64)] for name in ("a", "b", "i", "j", "both")}
    for a, b, first, second, count in (pair for block in blocks for pair in block.pairs):
        nodes = _nodes(labels[a], first, starts[a]), _nodes(labels[b], second, starts[b])
        values = (np.full(count.size, a), np.full(count.size, b), *nodes, count)
        for parts, value in zip(columns.values(), values, strict=True):
            parts.append(value)
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
    sizes = {f"of_{one}": table.groupby(["a", "b", one])["both"].transform("sum") for one in ("i", "j")}
    table = table.assign(**sizes)[(table["i"] >= 0) & (table["j"] >= 0)]
    pairs = table.groupby(["a", "b", "i", "j"], as_index=False).agg(
        both=("both", "sum"), of_i=("of_i", "first"), of_j=("of_j", "first")
    )
    # The numbers of tiles and labels that are cut, as one number, for the two sides of every pair.
    size, n = int(starts[-1]) + 1, len(labels)
    keys: tuple[list[Any], list[Any]] = ([np.empty(0, np.int64)], [np.empty(0, np.int64)])
    for a, b, *cuts in (cut for block in blocks for cut in block.cuts):
        for side, tile, ids in zip(keys, (a, b), cuts, strict=True):
            side.append((a * n + b) * size + _nodes(labels[tile], ids, starts[tile]))
    place = (pairs["a"] * n + pairs["b"]) * size
    cut_i, cut_j = (
        np.isin(place + pairs[one], np.concatenate(side), kind="sort")
        for one, side in zip(("i", "j"), keys, strict=True)
    )
    whole = pairs["of_i"] + pairs["of_j"] - pairs["both"]
    # What an edge cuts is compared with what lies in the whole object, of which it may be a small part.
    whole = whole.mask(cut_i & ~cut_j, pairs["of_i"]).mask(cut_j & ~cut_i, pairs["of_j"])
    # A quotient is rounded to the number that a user writes, such as 0.55; a product may be above a whole number.
    return pairs[pairs["both"] / whole >= iou]


def _of_tiles(parts: Sequence[tuple[int, np.ndarray]], n: int) -> list[np.ndarray]:
    """The labels of each tile from those of its blocks, sorted."""
    several: list[list[np.ndarray]] = [[] for _ in range(n)]
    for tile, ids in parts:
        several[tile].append(ids)
    return [np.unique(np.concatenate(ids)) if ids else np.empty(0, np.int64) for ids in several]


def _nodes(labels: np.ndarray, ids: np.ndarray, start: int) -> np.ndarray:
    """The numbers of labels among those of all tiles, -1 for the background."""
    return np.where(ids == 0, -1, start + np.searchsorted(labels, ids))


def _joined_block(
    pieces: Sequence[Piece],
    shape: tuple[int, ...],
    dtype: np.dtype,
    labels: Sequence[np.ndarray],
    tables: Sequence[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """A block of the mask."""
    import pandas as pd

    mask = np.zeros(shape, dtype)
    if not pieces:
        return mask
    labels = _checked(pieces, labels)
    for piece, held, wins, (ids, new) in zip(pieces, labels, _winners(pieces, labels), tables, strict=True):
        codes, present = pd.factorize(held.ravel())
        rows = np.searchsorted(ids, present)
        known = np.append(ids, ids[:1])[rows] == present if ids.size else np.zeros(present.size, bool)
        if not (known | (present == 0)).all():
            raise RuntimeError(changed(int(present[~known & (present != 0)][0]), "is new"))
        of_code = np.where(known, np.append(new, np.zeros(1, new.dtype))[rows], 0).astype(dtype)
        numbered = of_code[codes].reshape(held.shape)
        window = mask[piece.window]
        if wins is None:
            window[...] = numbered
        else:
            window[wins] = numbered[wins]
    return mask
