"""``.labels`` and ``.instances`` of a DataTree: those of the array at its finest scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.accessors.base import Accessor, missing
from xlabelstats.accessors.instances import InstancesAccessor
from xlabelstats.accessors.labels import LabelsAccessor
from xlabelstats.multiscale import finest

if TYPE_CHECKING:
    from xlabelstats.accessors.plots import LabelsPlots


class TreeAccessor(Accessor):
    """An accessor of the array at the finest scale, under the same name."""

    _accessor: type

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def __getattr__(self, name: str) -> Any:
        # Whoever only looks whether something exists is not told what is wrong with the tree.
        if name.startswith("_") or not hasattr(self._accessor, name):
            raise missing(self, name)
        return getattr(self._accessor(finest(self._tree)), name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(self._accessor) if not name.startswith("_"))})


@xr.register_datatree_accessor("labels")
class LabelsTreeAccessor(TreeAccessor):
    """The calls of `LabelsAccessor` for an image or a mask at several scales, reached as ``tree.labels``.

    A tree holds one array per scale, all of one name, as the multiscale elements of SpatialData do.
    The finest, the one with the most pixels, is measured; ``tree["scale1"].labels`` measures another.
    Where a call takes a mask, that may be such a tree too.

    Raises
    ------
    ValueError
        The tree holds no array, several in one node, or several of different names.

    Examples
    --------
    >>> import xarray as xr
    >>> import xlabelstats
    >>> full = xr.Dataset({"image": (("y", "x"), [[0, 7, 7, 7], [0, 7, 7, 7]])})
    >>> half = full.coarsen(y=2, x=2).max()
    >>> tree = xr.DataTree.from_dict({"scale0": full, "scale1": half})
    >>> tree.labels.count().item(), tree["scale1"].labels.count().item()
    (6, 2)
    """

    _accessor = LabelsAccessor

    @property
    def plot(self) -> LabelsPlots:
        """Pictures, each drawn from the scale that is just fine enough for it."""
        from xlabelstats.accessors.plots import LabelsPlots

        return LabelsPlots(self._tree)


@xr.register_datatree_accessor("instances")
class InstancesTreeAccessor(TreeAccessor):
    """The calls of `InstancesAccessor` for an image or a mask at several scales, reached as ``tree.instances``.

    `LabelsTreeAccessor` says which array of the tree is measured.

    Examples
    --------
    >>> import xarray as xr
    >>> import xlabelstats
    >>> mask = xr.Dataset({"image": (("y", "x"), [[0, 7, 7, 7], [0, 7, 7, 7]])})
    >>> image = xr.DataArray([[1, 2, 3, 4], [5, 6, 7, 8]], dims=("y", "x"))
    >>> image.instances.median(xr.DataTree.from_dict({"scale0": mask})).item()
    5.0
    """

    _accessor = InstancesAccessor
