"""An image stack: patches of one array, in the order that patch-based trainers ask for."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike

from xlabelstats.engine.runs import native
from xlabelstats.inputs import check_on_host
from xlabelstats.multiscale import as_array
from xlabelstats.patches.axes import LETTERS, check_axes, folded, letters_of, spatial
from xlabelstats.patches.sources import as_source, place_of


class XarrayImageStack:
    """An array that serves patches to patch-based trainers, with the methods of CAREamics' ``ImageStack``.

    Parameters
    ----------
    data : DataArray or DataTree
        Of numbers: numpy, dask, or opened lazily; of a tree of scales the finest is taken.  With ``axes`` also an
        array without named dims: numpy, dask, `zarr.Array` or `h5py.Dataset`.
    axes : str, optional
        A letter of ``STCZYX`` for every dim of ``data``, in order, such as ``"TCYX"``.  By default they are found from
        the names of the dims, in upper or lower case, singular or plural:

        - S: s, sample, scene, series, position, field, label;
        - T: t, time, timepoint, frame;
        - C: c, channel, band;
        - Z: z, depth, plane;
        - Y: y, row, height, lat, latitude;
        - X: x, column, col, width, lon, longitude.
    source : str, optional
        Where the image comes from; trainers may name files after it.  By default, for a whole array in a store, its
        path ``file#/name``, from which `load_image_stacks` loads it; for any other array, a unique name.

    Raises
    ------
    ValueError
        The name of a dim is not in this list, or two dims are the same axis; Y or X is missing; ``axes`` does not fit,
        or is missing for an array without named dims; or a tree holds more than one image.
    TypeError
        ``data`` does not hold real numbers, or is not an array.

    Notes
    -----
    Only the chunks that a patch lies in are read.  Zarr and HDF5 are read directly, and so are dask arrays made by
    ``open_zarr`` or ``from_zarr``.  Of other dask arrays, the blocks of a patch are computed in the process that asks,
    again for every patch.

    A stack can be pickled, and used by forked and by spawned workers; none inherits an open file.  An array in memory
    is copied to spawned workers.  So is a numpy memmap: all of it is read and copied.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from xlabelstats.patches import XarrayImageStack
    >>> image = xr.DataArray(np.arange(24).reshape(2, 3, 4), dims=("channel", "y", "x"))
    >>> stack = XarrayImageStack(image, source="nuclei")
    >>> stack
    <XarrayImageStack nuclei: SCYX (1, 2, 3, 4), int64>
    >>> stack.extract_patch(0, channels=[1], coords=(1, -1), patch_size=(2, 3))
    array([[[ 0., 16., 17.],
            [ 0., 20., 21.]]], dtype=float32)
    """

    def __init__(self, data: Any, axes: str | None = None, *, source: str | None = None) -> None:
        data = as_array(data)
        array = data.variable if isinstance(data, xr.DataArray) else data
        if not all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__")):
            raise TypeError(f"an image stack is made of a DataArray, not {type(data).__name__}; see load_image_stacks")
        check_on_host("an image stack", image=data)
        if np.dtype(array.dtype).kind not in "biuf":
            raise TypeError(f"an image stack holds real numbers, not {array.dtype}; cast it with .astype('float32')")
        if axes is not None:
            self._axes = check_axes(axes, len(array.shape))
        elif isinstance(array, xr.Variable):
            self._axes = letters_of(array.dims)
        else:
            raise ValueError(
                f"a {type(array).__name__} does not name its dims; say what they are with axes=, "
                f"a letter of {LETTERS} for each of the {len(array.shape)}"
            )
        self._array = as_source(array)
        place = place_of(self._array) if source is None else str(source)
        self._source = f"array-{uuid.uuid4().hex[:12]}" if place is None else place
        self._original_shape = tuple(map(int, array.shape))
        self._shape = folded(self._axes, self._original_shape)
        self._dtype = np.dtype(array.dtype)
        self._order = [self._axes.index(letter) for letter in LETTERS if letter in self._axes]

    @property
    def source(self) -> str:
        """Where the image comes from."""
        return self._source

    @property
    def data_shape(self) -> tuple[int, ...]:
        """The shape SC(Z)YX: sample and time folded into S, sample outer and time inner; S and C may be 1."""
        return self._shape

    @property
    def data_dtype(self) -> np.dtype:
        """The dtype of the data, whatever that of the patches."""
        return self._dtype

    @property
    def original_data_shape(self) -> tuple[int, ...]:
        """The shape of the data as it was given."""
        return self._original_shape

    @property
    def original_axes(self) -> str:
        """A letter of ``STCZYX`` for every dim of the data as it was given."""
        return self._axes

    def extract_patch(
        self,
        sample_idx: int,
        channels: Sequence[int] | None,
        coords: Sequence[int],
        patch_size: Sequence[int],
        *,
        dtype: DTypeLike | None = np.float32,
    ) -> np.ndarray:
        """A patch of one sample, 0 where it lies outside the image.

        Parameters
        ----------
        sample_idx : int
            The sample: with both S and T it is ``s * (size of T) + t``.
        channels : sequence of int or None
            The channels, in the order wanted; None for all.
        coords : sequence of int
            The first pixel, (Z)YX; it may be negative, and may lie beyond the end.
        patch_size : sequence of int
            The size in pixels, (Z)YX.
        dtype : numpy.dtype, default float32
            Of the patch; None for that of the data.

        Returns
        -------
        numpy.ndarray
            C(Z)YX, a new array.

        Raises
        ------
        IndexError
            There is no such sample.
        ValueError
            There is no such channel; ``coords`` or ``patch_size`` does not have one number for each of (Z)YX; or a size
            is not positive.
        TypeError
            These are not whole numbers.
        """
        start, size = self._whole(coords, "coords"), self._whole(patch_size, "patch_size")
        if min(size) < 1:
            raise ValueError(f"patch_size is at least 1 pixel along every axis, not {size}")
        key = self._samples(sample_idx)
        key["C"], rows = self._channels(channels)
        n = self._shape[1] if rows is None else len(rows)
        patch = np.zeros((n, *size), native(self._dtype if dtype is None else np.dtype(dtype)))
        low = [max(a, 0) for a in start]
        high = [min(a + d, end) for a, d, end in zip(start, size, self._shape[2:], strict=True)]
        if any(b <= a for a, b in zip(low, high, strict=True)):
            return patch
        key |= zip(spatial(self._axes), map(slice, low, high), strict=True)
        pixels = np.asarray(self._array[tuple(key[letter] for letter in self._axes)]).transpose(self._order)
        pixels = pixels.reshape(-1, *(b - a for a, b in zip(low, high, strict=True)))
        inside = [slice(a - first, b - first) for a, b, first in zip(low, high, start, strict=True)]
        patch[(slice(None), *inside)] = pixels if rows is None else pixels[rows]
        return patch

    def _samples(self, sample_idx: int) -> dict[str, Any]:
        """Where along S and T a sample is."""
        (sample,) = whole_numbers([sample_idx], "sample_idx")
        if not 0 <= sample < self._shape[0]:
            raise IndexError(f"there is no sample {sample}: {self} has {self._shape[0]}, counted from 0")
        times = self._original_shape[self._axes.index("T")] if "T" in self._axes else 1
        s, t = divmod(sample, times)
        return {"S": slice(s, s + 1), "T": slice(t, t + 1)}

    def _channels(self, channels: Sequence[int] | None) -> tuple[Any, np.ndarray | None]:
        """What to read along C, each channel once, and which of what is read makes the channels of the patch."""
        n = self._shape[1]
        if channels is None:
            return slice(0, n), None
        wanted = whole_numbers(channels, "channels")
        lacking = [channel for channel in wanted if not 0 <= channel < n]
        if lacking:
            raise ValueError(f"there is no channel {lacking[0]}: {self} has {n}, counted from 0")
        if not wanted:
            raise ValueError("channels is empty; name at least one, or give None for all")
        read, rows = np.unique(wanted, return_inverse=True)
        first, last = int(read[0]), int(read[-1])
        return slice(first, last + 1) if last - first + 1 == read.size else read, rows

    def _whole(self, numbers: Sequence[int], what: str) -> list[int]:
        axes, whole = spatial(self._axes), whole_numbers(numbers, what)
        if len(whole) != len(axes):
            raise ValueError(f"{what} has a number for each of {axes}, {len(axes)} in all, not {len(whole)}")
        return whole

    def __repr__(self) -> str:
        axes = f"SC{spatial(self._axes)}"
        return f"<{type(self).__name__} {self._source}: {axes} {self._shape}, {self._dtype}>"


def whole_numbers(numbers: Any, what: str) -> list[int]:
    """Numbers as ints, or a complaint if they are none, or no sequence."""
    if not isinstance(numbers, Iterable) or isinstance(numbers, str | bytes):
        raise TypeError(f"{what} is a sequence of whole numbers, such as [0, 1], not {numbers!r}")
    found = []
    for number in numbers:
        try:
            found.append(operator.index(number))
        except TypeError:
            raise TypeError(f"{what} is made of whole numbers, not {number!r}") from None
    return found
