"""Patches centred on the objects of a mask, for training."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_match
from xlabelstats.inputs import check_image, check_mask, check_on_host
from xlabelstats.instances.window_cutting import Window
from xlabelstats.instances.windows import check_present, in_order
from xlabelstats.labels.subject import find_whole
from xlabelstats.multiscale import as_array
from xlabelstats.names import LABEL
from xlabelstats.patches.axes import letters_of, spatial
from xlabelstats.patches.stack import XarrayImageStack, whole_numbers


class LabelPatches:
    """Patches centred on objects, as a map-style data set: ``torch.utils.data.DataLoader`` takes it directly.

    Parameters
    ----------
    image : DataArray or DataTree
        The image, of dims that `XarrayImageStack` knows: those in space, and channels if there are any.  Of trees
        of scales the finest is taken.
    mask : DataArray or DataTree of integers
        Its label mask, over all dims in space, in any order.  It is scanned now, block by block if it is dask.
    patch_size : int, sequence of int or mapping of dim to int
        Pixels along every dim in space; a sequence is (Z)YX.
    labels : int or sequence of int, optional
        The objects to take, in this order.  By default all, sorted.
    classes : mapping, Series or DataArray with the dim ``label``, optional
        The class of every label: a number, or a name.  It may have more labels than are taken.
    balanced : bool, default False
        Whether an epoch holds every class equally often: as often as the most frequent class has objects.  Objects of
        the other classes are repeated, but only after all of their class had a turn.  The classes take turns.
    with_mask : bool, default False
        Whether an item has a patch of the mask as well.
    seed : int, optional
        For the order of objects in a balanced epoch; 0 by default.  The same seed gives the same order in every process
        and every epoch.

    Attributes
    ----------
    labels : array (item,)
        The label that every item is centred on.
    targets : array (item,) of int64 or None
        The class of every item, as a position in ``classes``.
    classes : list or None
        The classes that occur, sorted.
    weights : array (item,) of float64
        For a random sampler, such as ``torch.utils.data.WeightedRandomSampler``: with these weights all classes are
        drawn equally often.  They sum to 1.
    image, mask : XarrayImageStack
        What the patches are read from; ``mask`` is None without ``with_mask``.

    Raises
    ------
    ValueError
        Image and mask do not match; the image has samples, times or other dims that the mask lacks; a label does
        not occur in the mask, or has no class; ``balanced`` without ``classes``, or ``seed`` without ``balanced``;
        or a size is not positive.
    TypeError
        The mask does not hold integers, ``classes`` is of another type, or ``patch_size`` is not a whole number.

    Notes
    -----
    An item is a dict: ``image``, float32 C(Z)YX; ``label``; with classes ``class``, a position in ``classes``; and
    ``mask``, the labels (Z)YX in the mask's dtype, with neighbours.  A patch of size d along a dim begins at
    ``centre - d // 2`` and has d pixels.  The centre is the centroid, rounded to a pixel, as in
    `InstancesAccessor.windows`.  Image and mask are 0 beyond the image's border.  Every item is read when it is asked
    for.

    Examples
    --------
    >>> import xarray as xr
    >>> from xlabelstats.patches import LabelPatches
    >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
    >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 6, 9]], dims=("y", "x"))
    >>> patches = LabelPatches(image, mask, 3, classes={2: "round", 7: "long"})
    >>> len(patches), patches.classes
    (2, ['long', 'round'])
    >>> patches[0]["label"], patches[0]["class"]
    (2, 1)
    >>> patches[1]["image"]
    array([[[0., 0., 0.],
            [1., 2., 3.],
            [5., 6., 9.]]], dtype=float32)
    """

    def __init__(
        self,
        image: xr.DataArray,
        mask: xr.DataArray,
        patch_size: int | Sequence[int] | Mapping[Any, int],
        *,
        labels: Any = None,
        classes: Any = None,
        balanced: bool = False,
        with_mask: bool = False,
        seed: int | None = None,
    ) -> None:
        image, mask = as_array(image), check_mask(as_array(mask))
        check_image(image)
        check_on_host("LabelPatches", image=image, mask=mask)
        self.image = XarrayImageStack(image, letters_of(image.dims, may_be_given=False))
        _check_space(self.image, image, mask)
        letters = letters_of(mask.dims, "the mask", may_be_given=False)
        axes = [letters.index(letter) for letter in spatial(letters)]
        self._size = _sizes(patch_size, [mask.dims[axis] for axis in axes])
        subject = find_whole(None, mask, labels)
        check_present(subject)
        objects = in_order(subject)
        window = Window(np.array(self._size)[np.argsort(axes)], np.ones(len(axes), bool))
        starts = window.starts(objects)[:, axes]
        codes: np.ndarray | None = None
        self.classes: list[Any] | None = None
        if classes is not None:
            codes, self.classes = _classes_of(objects.ids, classes)
        items = _balanced(codes, balanced, seed)
        self.labels = objects.ids if items is None else objects.ids[items]
        self._starts = starts if items is None else starts[items]
        self.targets = codes if codes is None or items is None else codes[items]
        self.weights = _weights(self.targets, len(self.labels))
        self.mask = XarrayImageStack(mask) if with_mask else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The item of a position, counted from the end if it is negative."""
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"there is no item {i} of {len(self)}")
        box = self._starts[i].tolist(), self._size
        item = {"image": self.image.extract_patch(0, None, *box), "label": int(self.labels[i])}
        if self.targets is not None:
            item["class"] = int(self.targets[i])
        if self.mask is not None:
            item["mask"] = self.mask.extract_patch(0, None, *box, dtype=None)[0]
        return item

    def __repr__(self) -> str:
        size = " x ".join(map(str, self._size))
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"<{type(self).__name__} {len(self)} patches of {size}{classes}, from {self.image}>"


def _check_space(stack: XarrayImageStack, image: xr.DataArray, mask: xr.DataArray) -> None:
    """Complain if image and mask do not match, or an object would have several patches; without reading pixels."""
    check_match(image, mask)
    shared = [dim for dim in image.dims if dim in mask.dims]
    other = [dim for dim in image.dims if dim not in mask.dims]
    letter = dict(zip(image.dims, stack.original_axes, strict=True))
    beyond = [dim for dim in shared if letter[dim] not in "ZYX"]
    if beyond:
        raise ValueError(
            f"the mask has the dim {beyond[0]!r}, which is not in space; make patches of one place along it at a time: "
            f".isel({beyond[0]}=0), of image and mask"
        )
    lacking = [dim for dim in other if letter[dim] in "ZYX"]
    if lacking:
        raise ValueError(f"the image has the dim {lacking[0]!r} in space, which the mask lacks; choose one plane of it")
    several = [dim for dim in other if letter[dim] in "ST" and image.sizes[dim] != 1]
    if several:
        raise ValueError(
            f"the image has {image.sizes[several[0]]} places along {several[0]!r}, for one mask; "
            f"choose one: image.isel({several[0]}=0)"
        )


def _sizes(size: Any, dims: list[Any]) -> list[int]:
    """The size of a patch along every dim (Z)YX."""
    if isinstance(size, Mapping):
        if set(size) != set(dims):
            raise ValueError(f"patch_size has the dims {tuple(size)}; give one number for each of {tuple(dims)}")
        given: Any = [size[dim] for dim in dims]
    else:
        given = size if isinstance(size, Sequence | np.ndarray) else [size] * len(dims)
    sizes = whole_numbers(given, "patch_size")
    if len(sizes) != len(dims):
        raise ValueError(f"patch_size has {len(sizes)} numbers; give one for each of {tuple(dims)}, or one for all")
    if min(sizes) < 1:
        raise ValueError(f"patch_size is at least 1 pixel along every dim, not {size}")
    return sizes


def _classes_of(ids: np.ndarray, classes: Any) -> tuple[np.ndarray, list[Any]]:
    """The class of every label as a position in the sorted classes that occur, and these."""
    import pandas as pd

    if isinstance(classes, xr.DataArray):
        if classes.dims != (LABEL,) or LABEL not in classes.coords:
            raise ValueError(
                f"classes are an array along {LABEL!r}, with the labels as its coordinate; these have the dims "
                f"{classes.dims} and the coordinates {tuple(classes.coords)}"
            )
        classes = classes.to_series()
    elif isinstance(classes, Mapping):
        classes = pd.Series(classes, dtype=None if classes else object)
    if not isinstance(classes, pd.Series):
        raise TypeError(
            f"classes are a mapping from label to class, a Series or a DataArray, not {type(classes).__name__}"
        )
    if not classes.index.is_unique:
        twice = classes.index[classes.index.duplicated()][0]
        raise ValueError(f"classes has the label {twice} more than once; each label has one class")
    found = classes.reindex(ids)
    lacking = ids[found.isna().to_numpy()]
    if lacking.size:
        raise ValueError(
            f"{lacking.size} labels have no class, the first is {lacking[0]}; "
            "give each one, or take those that have: labels=list(classes)"
        )
    try:
        names, codes = np.unique(found.to_numpy(), return_inverse=True)
    except TypeError:
        kinds = sorted({type(value).__name__ for value in found})
        raise TypeError(f"classes are all numbers or all names, not {' and '.join(kinds)}") from None
    return codes.astype(np.int64), names.tolist()


def _balanced(codes: np.ndarray | None, balanced: bool, seed: int | None) -> np.ndarray | None:
    """The object of every item, where classes take turns; None where every object comes once."""
    if not balanced:
        if seed is not None:
            raise ValueError("seed is for balanced=True; without it, every object comes once, in order")
        return None
    if codes is None:
        raise ValueError("balanced=True needs classes, the class of every label")
    rng = np.random.default_rng(0 if seed is None else seed)
    groups = [np.flatnonzero(codes == code) for code in range(codes.max(initial=-1) + 1)]
    longest = max(map(len, groups), default=0)
    rounds = [
        np.concatenate([rng.permutation(group) for _ in range(-(-longest // len(group)))])[:longest] for group in groups
    ]
    return np.stack(rounds, axis=1).ravel() if rounds else np.zeros(0, np.intp)


def _weights(targets: np.ndarray | None, n: int) -> np.ndarray:
    """Weights of items by which every class is drawn equally often; the same for all without classes."""
    if targets is None or n == 0:
        return np.full(n, 1 / max(n, 1))
    counts = np.bincount(targets)
    return 1 / (len(counts) * counts[targets])
