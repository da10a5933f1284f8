"""The runs of a dask mask, kept by the scan of it, so that the passes that follow need not read the mask again."""

from __future__ import annotations

import hashlib
import threading
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, computes_here, is_in_memory
from xlabelstats.engine.runs import LabelRuns
from xlabelstats.kernels import on_device
from xlabelstats.kernels.protocol import Runs
from xlabelstats.options import OPTIONS

# Runs are kept if they take at most this part of the memory of the mask's pixels.  A scan that has kept more of the
# pixels it has seen, and so many bytes besides, keeps no more: dense blocks may be followed by empty ones.
PART, BESIDES = 1 / 2, 2**20

# What the objects of a block take in memory beside their bytes: a `PackedRuns` and four arrays.
BLOCK_BYTES = 540

# Of rows that are cut so short, most labels would have a run for every few pixels.
SHORT = 8


@dataclass(frozen=True, slots=True)
class PackedRuns:
    """The runs of a block in little memory: every array in the smallest integers that hold it.

    Attributes
    ----------
    ids : array (label,)
        The labels of the block, sorted.
    codes, gaps, lengths : array (run,)
        The label of every run, the pixels between it and the run before, and its own.
    """

    ids: np.ndarray
    codes: np.ndarray
    gaps: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, labels: LabelRuns) -> PackedRuns:
        """The runs of a block, packed."""
        codes, starts, lengths, _ = labels.runs
        gaps = starts.copy()
        gaps[1:] -= starts[:-1] + lengths[:-1]
        return cls(labels.ids, _narrow(codes), _narrow(gaps), _narrow(lengths))

    def unpack(self, shape: Sequence[int]) -> LabelRuns:
        """The runs as they were in a block of this shape."""
        size = np.array(shape, np.int64)
        # As the kernels give them.
        codes = self.codes.astype(np.int32 if self.codes.size < 2**31 else np.int64)
        index = np.int32 if size.prod() < 2**31 else np.int64
        lengths: np.ndarray = self.lengths.astype(index)
        starts: np.ndarray = np.cumsum(lengths + self.gaps.astype(index), dtype=index) - lengths
        return LabelRuns(self.ids, Runs(codes, starts, lengths, size))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All that is held."""
        return self.ids, self.codes, self.gaps, self.lengths

    @property
    def nbytes(self) -> int:
        """The bytes of memory that are taken."""
        return BLOCK_BYTES + sum(array.nbytes for array in self.arrays)

    def __sizeof__(self) -> int:
        return self.nbytes

    def digest(self, index: tuple[int, ...]) -> int:
        """A number that tells these runs, at this position among the blocks, from others."""
        digest = hashlib.blake2b(repr(index).encode(), digest_size=16)
        for array in self.arrays:
            digest.update(f"{array.dtype}{array.size}".encode() + array.tobytes())
        return int.from_bytes(digest.digest(), "little")


def _narrow(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.min_scalar_type(int(numbers.max())) if numbers.size else np.uint8)


class KeptRuns:
    """The runs of all blocks of dask masks that are scanned together, or of none, if they would take too much memory.

    What is kept of all masks takes no more than the option ``mask_memory`` allows, for as long as a mask or the graph
    of a result refers to it.

    Parameters
    ----------
    masks : sequence of dask arrays
        With the same chunks.
    background : bool
        Whether the runs of label 0 are among them.

    Attributes
    ----------
    chunks : tuple of tuple of int
        Those of the masks.
    marks : dict
        Empty until all runs are kept.  Then, for the name of every mask, what tells the tables made of these runs from
        those of another scan: dask names a mask after the path of its store, whatever the store holds by then.
    """

    _lock = threading.RLock()
    _living: ClassVar[weakref.WeakSet[KeptRuns]] = weakref.WeakSet()

    def __init__(self, masks: Sequence[Any], background: bool) -> None:
        self.chunks = masks[0].chunks
        self.marks: dict[str, str] = {}
        self.nbytes, self.open = 0, True
        self._background = background
        self._starts = [np.cumsum((0, *sizes[:-1])) for sizes in self.chunks]
        self._blocks = {mask.name: np.full(mask.numblocks, None) for mask in masks}
        self._digests = dict.fromkeys(self._blocks, 0)
        self._left = sum(mask.npartitions for mask in masks)
        # Bytes of all pixels, of those that the scan has seen, and of their runs.
        self._size, self._seen, self._runs = sum(mask.nbytes for mask in masks), 0, 0
        self._join_living()

    def _join_living(self) -> None:
        with self._lock:
            self._living.add(self)

    @classmethod
    def taken(cls) -> int:
        """The bytes of all that is kept."""
        with cls._lock:
            return sum(kept.nbytes for kept in cls._living)

    def add(self, name: str, offset: Sequence[int], labels: LabelRuns, size: int) -> None:
        """Keep the runs of a block of so many bytes, by its mask and position; if there is no room, nothing at all."""
        if not self.open:
            return
        index = tuple(int(np.searchsorted(start, at)) for start, at in zip(self._starts, offset, strict=True))
        packed = PackedRuns.of(labels)
        digest = packed.digest(index)
        with self._lock:
            if not self.open or self._blocks[name][index] is not None:
                return
            self._seen += size
            self._runs += packed.nbytes - BLOCK_BYTES
            dense = self._runs > min(PART * self._size, PART * self._seen + BESIDES)
            if dense or self.taken() + packed.nbytes > room():
                self.close()
                return
            self._blocks[name][index] = packed
            # The order in which blocks come does not matter.
            self._digests[name] ^= digest
            self._left -= 1
            self.nbytes += packed.nbytes

    def close(self) -> None:
        """Let go of all, and keep nothing more."""
        with self._lock:
            self.open, self.nbytes, self._blocks = False, 0, {}

    def finish(self) -> bool:
        """Whether the runs of all blocks are kept, now that the scan is over; if not, none are."""
        with self._lock:
            if self._left:
                self.close()
            else:
                self.marks = {name: self._new_mark(name, digest) for name, digest in self._digests.items()}
            return not self._left

    def _new_mark(self, name: str, digest: int) -> str:
        others = self._others(name, self._background)
        same = [other.marks[name] for other in others if other._digests[name] == digest]
        return same[0] if same else f"{digest:032x}" if others else ""

    @classmethod
    def _others(cls, name: str, background: bool) -> list[KeptRuns]:
        with cls._lock:
            return [kept for kept in cls._living if name in kept.marks and kept._background == background]

    @classmethod
    def mark_of(cls, mask: Any, background: bool, own: KeptRuns | None) -> str:
        """What tells tables of a mask from those of other scans; ``own`` is what was kept of it, used or not.

        Without that the mask is read as it will be, and not as another scan found it.
        """
        if own is not None:
            return own.marks[mask.name]
        return uuid.uuid4().hex if cls._others(mask.name, background) else ""

    def fits(self, mask: Any) -> bool:
        """Whether a mask is one of these, cut to the same blocks."""
        return mask.name in self.marks

    def runs_of(self, mask: Any) -> Any:
        """A dask array with packed runs in place of every block of one of the masks, which is not read for them."""
        from dask.base import tokenize

        name = f"kept-runs-{tokenize(mask.name, self._background, self.marks[mask.name])}"
        blocks = np.ndenumerate(self._blocks[mask.name])
        graph: Graph = {(name, *index): (KeptBlock(self, packed),) for index, packed in blocks}
        # Whoever asks a result which stores it comes from learns of the mask's.
        return array_of_tasks(name, graph, mask.chunks, [mask])

    def __getstate__(self) -> dict[str, Any]:
        # What another process kept would be lost, and a task that is sent there needs the runs of its block alone.
        return self.__dict__ | {"open": False, "_blocks": {}, "nbytes": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A result that was pickled is told from others, too.
        self._join_living()

    def __dask_tokenize__(self) -> tuple[str, bool]:
        return type(self).__name__, self._background


@dataclass(frozen=True, eq=False)
class KeptBlock:
    """The task that gives the runs of a block.  Pickled it holds these alone, in this process those of all blocks."""

    kept: KeptRuns
    packed: PackedRuns

    def __call__(self) -> PackedRuns:
        """The runs."""
        return self.packed


def keeps_runs(mask: Any, cut: Any = None) -> bool:
    """Whether the runs of a dask mask are kept: where they are found in this process.

    They are found in the blocks of ``cut``, the mask as it will be measured, which may not be the same pixels in the
    same order.  Blocks without pixels would lie where others do.  Those of a mask in memory are kept only if it will be
    measured as it is, since it costs little to find them again.
    """
    if not room() or on_device(mask) or not computes_here(mask):
        return False
    if (cut is None or cut.name != mask.name) and is_in_memory(mask):
        return False
    if cut is None:
        return all(map(all, mask.chunks))
    if cut.shape != mask.shape or not all(map(all, cut.chunks)):
        return False
    if max(cut.chunks[-1]) < min(SHORT, *mask.chunks[-1]):
        return False
    return bool(mask.rechunk(cut.chunks).name == cut.name)


def room() -> int:
    """The bytes that the runs of all masks together may take."""
    return int(OPTIONS["mask_memory"])
