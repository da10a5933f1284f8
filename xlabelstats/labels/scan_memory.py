"""The memory of scans: what was found in the dask masks scanned last."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from xlabelstats.engine.kept_runs import KeptRuns, room
from xlabelstats.inputs import is_dask

T = TypeVar("T")


@dataclass
class Ids:
    """The labels of a dask mask, sorted, and whether they seem to lie among each other, as grey values do.

    With the runs of the mask, as long as these are kept.
    """

    ids: np.ndarray
    mixed: bool
    kept: KeptRuns | None = None


@dataclass(frozen=True, eq=False)
class Frames:
    """The parts of a dask mask at all positions along some of its axes, which are scanned together.

    Attributes
    ----------
    arrays : list of dask arrays
    found : dict
        What was found in each of them, by whether the background counts and the kind of what was found.
    """

    arrays: list[Any]
    found: dict[tuple[bool, type], list[Any]] = field(default_factory=dict)


class ScanMemory:
    """What was found in the dask masks scanned last: a label table, or the labels of the blocks, or both.

    The parts of a mask, `Frames`, are remembered as one entry of it, with all that was found in them.

    It belongs to one dask array object, not to its name alone: dask names an array read from a
    store after the store's path, so a mask that was written anew would get the old one's labels.
    """

    size = 16

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[int, Any, type], tuple[weakref.ref, str, Any]] = OrderedDict()
        # For every array that is a part of a mask, that and which one.
        self._frames: dict[int, tuple[weakref.ref, weakref.ref, int]] = {}

    def get(self, mask: Any, background: Any, kind: type[T]) -> T | None:
        """What of this kind was found in a mask, None if it is not remembered."""
        if not is_dask(mask):
            return None
        frames, i = self._place(mask)
        if frames is not None:
            return frames.found[background, kind][i] if (background, kind) in frames.found else None
        key = (id(mask), background, kind)
        if key not in self._entries:
            return None
        reference, name, found = self._entries[key]
        return found if name == mask.name and reference() is mask else None

    def frames_with(self, mask: Any) -> list[Any]:
        """The arrays that are scanned together with a dask mask, itself among them."""
        frames, _ = self._place(mask)
        return [mask] if frames is None else frames.arrays

    def put(self, mask: Any, background: Any, arrays: list[Any], results: list[T]) -> T:
        """Remember what was found in a mask and the arrays scanned with it; gives the mask's result."""
        result = next(result for array, result in zip(arrays, results, strict=True) if array is mask)
        if not is_dask(mask):
            return result
        for remembered in results:
            # Tables given to users share these ids, and whoever writes to one must not change what is remembered.
            ids = getattr(remembered, "ids", None)
            if isinstance(ids, np.ndarray):
                ids.flags.writeable = False
        frames, _ = self._place(mask)
        if frames is not None:
            frames.found[background, type(result)] = results
        elif len(arrays) == 1:
            self._keep(mask, (id(mask), background, type(result)), result)
        return result

    def let_go(self) -> None:
        """Let go of the runs of masks, beginning with those scanned first, until those that are kept have room."""
        for _, _, found in list(self._entries.values()):
            several = found.found.values() if isinstance(found, Frames) else [[found]]
            for ids in itertools.chain.from_iterable(several):
                if KeptRuns.taken() <= room():
                    return
                if isinstance(ids, Ids):
                    ids.kept = None

    def _keep(self, mask: Any, key: tuple[int, Any, type], found: Any) -> None:
        self._entries[key] = (weakref.ref(mask, lambda _: self._entries.pop(key, None)), mask.name, found)
        self._entries.move_to_end(key)
        if isinstance(found, Frames):
            for i, array in enumerate(found.arrays):
                gone = weakref.ref(array, partial(self._forget, id(array)))
                self._frames[id(array)] = (gone, weakref.ref(found), i)
        while len({place for place, _, _ in self._entries}) > self.size:
            self._entries.popitem(last=False)

    def _forget(self, place: int, _: Any) -> None:
        self._frames.pop(place, None)

    def _place(self, mask: Any) -> tuple[Frames | None, int]:
        reference, of, i = self._frames.get(id(mask), (None, None, 0))
        if reference is None or of is None or reference() is not mask:
            return None, 0
        return of(), i

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._frames.clear()


memory = ScanMemory()
