"""What an entry of the catalogue says of a measure, and what derives from it: shape, dtype, units."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from inspect import signature
from typing import Any, Literal

import numpy as np

from xlabelstats.engine.reduction import Context, Reduction

Kind = Literal["float", "count", "whole", "image", "truth"]

# A dim for every dim of the mask.
PER_AXIS = "order_{axis}"

# Dims that are as long as the mask has dims; with the names of the mask's dims as coordinate if True.
AXES = {"axis": True, "axis_": True, "component": False}


# The entries that come with the package, by name: other processes find them by that.
SHIPPED: dict[str, Measure] = {}


def shipped(name: str) -> Measure:
    """The entry of a name that comes with the package."""
    import xlabelstats.catalogue  # noqa: F401

    return SHIPPED[name]


@dataclass(frozen=True)
class Measure:
    """One measure of every label.

    Attributes
    ----------
    name : str
    definition : str
        What it is, in words or as a formula.
    formula : callable
        Computes values ``(label, *dims)``, or for an image ``(label, channel, *dims)``, from what the reduction
        collected of a range of labels.
    reduction : type of Reduction, or one
        What has to be collected for it; None if the number of pixels is enough.
    needs : tuple
        Which parts of that have to be collected.
    dims : tuple of str
        Dims beside ``label`` and the image's own.  ``axis``, ``axis_`` and ``component`` are as long as the mask has
        dims, if ``lengths`` does not say otherwise; `PER_AXIS` stands for one per axis.
    lengths : mapping of str to int, sequence or callable
        The length of every other dim, or its coordinates; or a function that gives either from the number of the mask's
        dims.
    beside : mapping of str to a dim, and a sequence or callable
        Further coordinates along these dims; or a function that gives them from the number of the mask's dims.
    units : str
        ``image`` for those of the image, ``length`` for those of the coordinates, ``volume`` for length**ndim, and
        ``pixel``; ``image`` and ``length`` may be followed by ``**2``.  Empty for a number.
    kind : str or numpy.dtype
        ``float`` is float64; ``count`` int64; ``whole`` int64 too, but float64 where labels may be absent; ``image``
        the image's dtype, but float64 where labels may be absent; ``truth`` bool, but float64 where labels may be
        absent or NaN propagates.
    absent : float
        The value of a requested label that does not occur.
    only_2d, only_3d, spatial, only_isotropic, only_unit : bool
        Whether it is defined only for 2-D, only for 3-D, or only for 2-D and 3-D masks; only for pixels as high as
        wide; or only for a spacing of 1.
    gridless : bool
        Whether it does not depend on where pixels lie, though its reduction does.
    axes_apart : bool
        Whether it looks at each axis by itself, so that a time axis beside lengths does no harm.
    placed : bool
        Whether it needs the coordinate of every pixel, which then may be unevenly spaced.
    propagates : bool
        Whether NaN pixels make it NaN, whatever ``skipna`` says.
    pairs : hashable, optional
        The dim of the image whose positions it compares, every one with every other; ``dims`` are then those of the
        second.
    title : str
        Its name in words, if not the name with spaces.
    source : str
        Where the definition comes from.
    skimage, cellprofiler : str
        Its name there; empty if it has none.
    with_parameters : callable, optional
        The measure that parameters, given as keywords, make of it.
    settled : callable, optional
        The measure for images of a dtype, where it depends on that; the second argument is a function that gives the
        smallest and the largest finite pixel.
    """

    name: str
    definition: str
    formula: Callable[[Any], Any]
    reduction: type[Reduction] | Reduction | None = None
    needs: tuple[Any, ...] = ()
    dims: tuple[str, ...] = ()
    lengths: Mapping[str, int | Sequence[Any] | Callable[[int], Any]] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, Sequence[Any] | Callable[[int], Any]]] = field(default_factory=dict)
    units: str = ""
    kind: Kind | np.dtype = "float"
    absent: float = np.nan
    only_2d: bool = False
    only_3d: bool = False
    spatial: bool = False
    only_isotropic: bool = False
    only_unit: bool = False
    gridless: bool = False
    axes_apart: bool = False
    placed: bool = False
    propagates: bool = False
    pairs: Hashable | None = None
    title: str = ""
    source: str = ""
    skimage: str = ""
    cellprofiler: str = ""
    with_parameters: Callable[..., Measure] | None = None
    settled: Callable[[np.dtype, Callable[[], tuple[Any, Any]]], Measure] | None = None

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        if SHIPPED.get(self.name) is self:
            return shipped, (self.name,)
        return type(self), tuple(getattr(self, each.name) for each in fields(self))

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token

        function, arguments = self.__reduce__()
        return ("measure", arguments if function is shipped else normalize_token((function, arguments)))

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return () if self.with_parameters is None else tuple(signature(self.with_parameters).parameters)

    @property
    def reads_image(self) -> bool:
        """Whether it needs an image."""
        return self.reduction is not None and self.reduction.reads_image

    @property
    def whole(self) -> bool:
        """Whether it needs every object whole in one block; else it merges across blocks."""
        return self.reduction is not None and self.reduction.whole

    @property
    def axes_matter(self) -> bool:
        """Whether it depends on the order of the mask's axes."""
        return self.reduction is not None and self.reduction.axes_matter

    @property
    def on_grid(self) -> bool:
        """Whether it depends on where pixels lie."""
        return self.reduction is not None and self.reduction.on_grid and not self.gridless

    def reduction_in(self, ndim: int) -> type[Reduction] | Reduction | None:
        """What has to be collected for it in a mask of so many dims."""
        in_3d = None if self.reduction is None or ndim != 3 else self.reduction.in_3d
        return in_3d or self.reduction

    def dtype(self, context: Context) -> np.dtype:
        """The dtype of its values."""
        if isinstance(self.kind, np.dtype):
            return self.kind
        if self.kind == "count" or (self.kind == "whole" and not context.requested):
            return np.dtype(np.int64)
        if self.kind == "image" and not context.requested:
            return context.dtype.newbyteorder("=")
        spoiled = self.reads_image and not context.skipna and context.dtype.kind == "f"
        if self.kind == "truth" and not context.requested and not spoiled:
            return np.dtype(bool)
        return np.dtype(np.float64)

    def shape(self, axes: Sequence[Any]) -> dict[str, int]:
        """The length of every dim beside ``label`` and the image's own, for a mask with these dims."""
        shape: dict[str, int] = {}
        for dim in self.dims:
            length = self._length(dim, len(axes))
            length = length if isinstance(length, int) else len(length)
            shape |= {dim.format(axis=axis): length for axis in axes} if dim == PER_AXIS else {dim: length}
        return shape

    def coords(self, axes: Sequence[Any]) -> dict[str, Any]:
        """The coordinates of these dims, where they have any."""
        names = {dim: list(map(str, axes)) for dim in self.dims if AXES.get(dim) and dim not in self.lengths}
        beside = {
            name: (dim, list(values(len(axes)) if callable(values) else values))
            for name, (dim, values) in self.beside.items()
        }
        given = {dim: self._length(dim, len(axes)) for dim in self.lengths}
        return names | beside | {dim: list(values) for dim, values in given.items() if not isinstance(values, int)}

    def _length(self, dim: str, ndim: int) -> Any:
        """The length of a dim, or its coordinates, for a mask of so many dims."""
        length = self.lengths.get(dim, ndim)
        return length(ndim) if callable(length) else length

    def units_in(self, ndim: int, image: str | None, length: str) -> str:
        """Its units where the image and lengths have these; empty for none."""
        base, _, power = self.units.partition("**")
        if base == "image":
            return "" if image is None else f"({image})**{power}" if power else image
        if base == "volume":
            base, power = "length", str(ndim)
        if base == "length":
            return "" if not length else length if power in ("", "1") else f"{length}**{power}"
        return base
