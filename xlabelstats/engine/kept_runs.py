"""The runs of a dask mask, kept by the scan of it, so that the passes that follow need not read the mask again."""

from __future__ import annotations

import threading
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

# Runs are kept if they take at most this part of the memory of the mask's pixels.
PART = 1 / 2


@dataclass(frozen=True)
class PackedRuns:
    """The runs of a block in little memory: every array in the smallest integers that hold it.

    Attributes
    ----------
    ids : array (label,)
        The labels of the block, sorted.
    codes, gaps, lengths : array (run,)
        The label of every run, the pixels between it and the run before, and its own.
    shape : array (axis,)
        The shape of the block.
    dtypes : tuple of numpy.dtype
        Those of the codes and of the first pixels, unpacked.
    """

    ids: np.ndarray
    codes: np.ndarray
    gaps: np.ndarray
    lengths: np.ndarray
    shape: np.ndarray
    dtypes: tuple[np.dtype, np.dtype]

    @classmethod
    def of(cls, labels: LabelRuns) -> PackedRuns:
        """The runs of a block, packed."""
        codes, starts, lengths, shape = labels.runs
        gaps = starts.copy()
        gaps[1:] -= starts[:-1] + lengths[:-1]
        dtypes = codes.dtype, starts.dtype
        return cls(labels.ids, _narrow(codes), _narrow(gaps), _narrow(lengths), shape, dtypes)

    def unpack(self) -> LabelRuns:
        """The runs as they were."""
        codes, index = self.dtypes
        lengths = self.lengths.astype(index)
        starts = np.cumsum(lengths + self.gaps, dtype=index) - lengths
        return LabelRuns(self.ids, Runs(self.codes.astype(codes), starts, lengths, self.shape))

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(array.nbytes for array in (self.ids, self.codes, self.gaps, self.lengths, self.shape))


def _narrow(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.min_scalar_type(int(numbers.max())) if numbers.size else np.uint8)


class KeptRuns:
    """The runs of all blocks of dask masks that are scanned together, or of none, if they would take too much memory.

    What is kept of all masks takes no more than the option ``mask_memory`` allows, for as long as a mask or the graph
    of a result refers to it.

    Parameters
    ----------
    masks : sequence of dask arrays
    background : bool
        Whether the runs of label 0 are among them.
    """

    _lock = threading.Lock()
    _living: ClassVar[weakref.WeakSet[KeptRuns]] = weakref.WeakSet()

    def __init__(self, masks: Sequence[Any], background: bool) -> None:
        self._background = background
        self._numbers = {mask.name: mask.npartitions for mask in masks}
        self._most = int(sum(mask.nbytes for mask in masks) * PART)
        self._blocks: dict[tuple[str, tuple[int, ...]], PackedRuns] = {}
        self.nbytes, self.open = 0, True
        with self._lock:
            self._living.add(self)

    @classmethod
    def taken(cls) -> int:
        """The bytes of all that is kept."""
        return sum(kept.nbytes for kept in cls._living)

    def add(self, name: str, offset: Sequence[int], labels: LabelRuns) -> None:
        """Keep the runs of a block, by its mask and position; if there is no room for them, keep nothing at all."""
        place, packed = (name, tuple(offset)), PackedRuns.of(labels)
        with self._lock:
            if not self.open or place in self._blocks:
                return
            if self.nbytes + packed.nbytes > self._most or self.taken() + packed.nbytes > room():
                self.open, self.nbytes = False, 0
                self._blocks.clear()
            else:
                self._blocks[place] = packed
                self.nbytes += packed.nbytes

    @property
    def complete(self) -> bool:
        """Whether the runs of all blocks are here."""
        return len(self._blocks) == sum(self._numbers.values())

    def fits(self, mask: Any) -> bool:
        """Whether a mask is one of these, cut to the same blocks."""
        return self.complete and mask.name in self._numbers

    def runs_of(self, mask: Any) -> Any:
        """A dask array with the runs in place of every block of one of the masks, which is not read for them."""
        from dask.base import tokenize

        name = f"kept-runs-{tokenize(mask.name, self._background)}"
        starts = [np.cumsum((0, *chunks)).tolist() for chunks in mask.chunks]
        graph: Graph = {}
        for index in np.ndindex(*mask.numblocks):
            offset = tuple(start[i] for start, i in zip(starts, index, strict=True))
            graph[(name, *index)] = (KeptBlock(self, self._blocks[mask.name, offset]),)
        # Whoever asks a result which stores it comes from learns of the mask's.
        return array_of_tasks(name, graph, mask.chunks, [mask])

    def __getstate__(self) -> dict[str, Any]:
        # What another process kept would be lost, and a task that is sent there needs the runs of its block alone.
        return self.__dict__ | {"open": False, "_blocks": {}, "nbytes": 0}

    def __dask_tokenize__(self) -> tuple[str, bool]:
        return type(self).__name__, self._background


@dataclass(frozen=True, eq=False)
class KeptBlock:
    """The task that gives the runs of a block.  Pickled it holds these alone, in this process those of all blocks."""

    kept: KeptRuns
    packed: PackedRuns

    def __call__(self) -> LabelRuns:
        """The runs."""
        return self.packed.unpack()


def keeps_runs(mask: Any) -> bool:
    """Whether the runs of a dask mask are kept: where they are found in this process, and reading them again costs.

    Blocks without pixels would lie where others do.
    """
    if not room() or on_device(mask) or not all(map(all, mask.chunks)):
        return False
    return not is_in_memory(mask) and computes_here(mask)


def room() -> int:
    """The bytes that the runs of all masks together may take."""
    return int(OPTIONS["mask_memory"])
