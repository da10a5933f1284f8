"""Region properties that scikit-image measures on every object by itself: hulls and holes in 3-D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.cautions import caution
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.extras import need

# What scikit-image cannot find of an object all of whose pixels lie in one plane of a 3-D mask, and what it is then.
FLAT = {"area_convex": 0.0, "solidity": np.inf, "feret_diameter_max": np.nan}


@dataclass(frozen=True)
class ObjectProperties(Reduction):
    """Region properties that need all pixels of an object at once: a base of what measures them together.

    Attributes
    ----------
    names : tuple of str
    spacing : tuple of float
        The distance of neighbouring pixels along each axis.
    """

    names: tuple[str, ...]
    spacing: tuple[float, ...]

    whole = True

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """The properties that are needed, measured together."""
        return cls(needs, tuple(context.grid.spacing.tolist()))


@dataclass(frozen=True)
class Outlines(ObjectProperties):
    """Properties of the binary window of every object, by scikit-image: one column (label, property)."""

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """The properties that are needed, if scikit-image is there."""
        need("skimage.measure", "image", needs[0])
        return super().of(needs, context)

    def collect(self, block: WholeBlock) -> Columns:
        """Measure the objects one by one."""
        from skimage.measure import regionprops

        objects = block.objects
        values = np.empty((objects.ids.size, len(self.names)))
        hulls = [name for name in self.names if name in FLAT and len(self.spacing) == 3]
        flat = np.zeros(objects.ids.size, bool)
        # Looks whether the objects are those that the scan found.
        _ = block.runs
        for i, (label, box) in enumerate(zip(objects.ids, block.slices(objects.low, objects.high), strict=True)):
            inside = block.mask[box] == label
            flat[i] = bool(hulls) and _is_flat(inside)
            try:
                (region,) = regionprops(inside.view(np.uint8), spacing=self.spacing)
                values[i] = [FLAT[name] if flat[i] and name in hulls else region[name] for name in self.names]
            except Exception as error:
                error.add_note(f"raised by scikit-image for label {label}, given an array of shape {inside.shape}")
                raise
        labels = objects.ids[flat]
        if labels.size:
            more = f" and {labels.size - 5} more" if labels.size > 5 else ""
            caution(
                f"label {', '.join(map(str, labels[:5]))}{more}: all pixels lie in a plane, and scikit-image finds no "
                f"convex hull in 3-D; there {', '.join(f'{name} is {FLAT[name]}' for name in hulls)}"
            )
        return (values,)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The properties by name."""
        return {name: columns[0][:, i] for i, name in enumerate(self.names)}


def _is_flat(window: np.ndarray) -> bool:
    """Whether the pixels of a 3-D window lie in one plane."""
    pixels = np.argwhere(window)
    steps = pixels - pixels[0]
    # The determinant of whole numbers, exactly, in Python's, which do not overflow.
    (a, b, c), (_, d, e), (_, _, f) = (steps.T @ steps).tolist()
    return a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d) == 0


def property_of(reduction: type[Reduction], name: str, definition: str, **options: Any) -> Measure:
    """A property that scikit-image has under the same name."""
    formula = itemgetter(name)
    return Measure(name, definition, formula, reduction, (name,), source="scikit-image", skimage=name, **options)
