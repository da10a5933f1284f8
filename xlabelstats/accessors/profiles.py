"""``.instances`` of an image: the morphological profile of every object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.object_quantiles import ObjectQuantileCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.multiscale import as_array


class ProfileCalls(ObjectQuantileCalls):
    """The call of `InstancesAccessor` that measures what CellProfiler measures."""

    @documented(ObjectQuantileCalls.quantiles, take=())
    def profile(
        self,
        mask: Mask,
        families: str | Iterable[str] = "all",
        *,
        scale: int | Iterable[int] = 3,
        levels: int = 256,
        range: Any = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        batch_size: int | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Measure the morphological profile of every object: the features of CellProfiler, some hundreds of numbers.

        Parameters
        ----------
        mask : DataArray of integers
            The label of every pixel, 2-D or 3-D.
        families : str or iterable of str, default "all"
            Any of the families below.
        scale : int or sequence of int, default 3
            For texture: the distance, in pixels, between the two pixels of a pair.  Each number is an element of the
            dim ``scale``.
        levels : int, default 256
            For texture: the number of grey levels, from 2 to 256.
        range : (low, high) or "object", optional
            For texture: the range of values that is divided evenly into grey levels.  By default the range of the
            image's dtype, if that has 16 bits or fewer; other images need a range.  A dark image of 16 bits fills only
            a few of the levels: give the range that it uses, such as ``(0, 4096)``.  ``"object"`` takes the range of
            each object's own pixels, which makes texture independent of brightness.  Pixels beyond the range get the
            first or the last level.
        labels : int or sequence of int, optional
            Only these objects, in this order.  A label that does not occur has area, sum and closest labels 0, and NaN
            elsewhere.  All labels of the mask still count as neighbours.
        skipna : bool, optional
            Leave NaN pixels out (the default): they do not belong to the object in the channel where they are NaN.  Or
            let them make the measures of that channel NaN.
        batch_size : int, optional
            The number of objects that are measured together, and the chunk along ``label`` of a lazy result.  By
            default as many as have values of 192 MiB together.  Batches limit the memory; each reads only the part of a
            stored array that it needs.  A large array that is computed first, such as ``image - background``, is
            computed once and measured in one batch.

        Returns
        -------
        Dataset
            One variable per measure: ``(label, *other, *dims)`` if it reads the image, with ``other`` the image's dims
            that the mask lacks, such as ``c``; ``(label, *dims)`` if it needs only the mask.  The further dims are
            ``scale``, ``angle``, ``step``, ``ring``, ``order``, ``axis`` and those of `regionprops`.  Lazy for dask
            input; only the mask is read immediately.  ``to_dataframe(names="cellprofiler")`` gives the columns of
            CellProfiler, ``to_anndata(X="features")`` an annotated table of all of them.

        Warns
        -----
        UserWarning
            With ``"all"``, a family was left out that cannot be measured here: Zernike moments and radial distributions
            of 3-D masks, texture of an image that needs a ``range``, correlation where it is not clear which dim has
            the channels.  For texture: the pixels of the objects fill few grey levels, or may do so in lazy arrays,
            which are not read for that; or, of arrays in memory, clearly more than 1 % of them are beyond ``range``.
            For neighbors: the spacing of the coordinates differs along the dims, and the closest labels are those in
            pixels.

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image does not hold numbers; image or mask is on a GPU: move them
            first.
        ValueError
            A family is unknown; the mask is neither 2-D nor 3-D; texture was asked for by name and needs a ``range``;
            correlation was asked for by name, and there is one channel; ``scale``, ``levels`` or ``range`` is given
            without texture; else as `aggregate`.
        NotImplementedError
            A family was asked for by name that is defined for 2-D masks only, and the mask is 3-D.

        Notes
        -----
        The families are:

        - ``intensity``: sum, mean, spread, extremes and quartiles of the pixels, the same of those at the edge, the
          centre of light and how far it is from the object's centre.
        - ``shape``: area or volume, perimeter or surface, axes, radii, Feret diameters, moments.
        - ``texture``: Haralick's 13 features of pairs of pixels, per scale and angle.
        - ``granularity``: how much of the light each of 16 openings takes away, per ``step``.
        - ``radial_distribution``: where the light lies between centre and edge, in four rings (2-D).
        - ``zernike``, ``radial_zernike``: Zernike moments of the shape and of the light to order 9 (2-D).
        - ``correlation``: how every pair of channels goes together, along the dim ``c`` of the image, or its only other
          dim if that is neither time nor space.
        - ``neighbors``: how many objects touch it, on how much of its outline, and which are the closest.

        Every number is measured on the object's own pixels.  It does not depend on other objects, chunks or the border
        of the image, except for ``neighbors``, and for positions, which are those in the image.  Lengths are in pixels;
        different spacings along the dims are not corrected.  Intensities are those of the image, not rescaled.
        Undefined numbers are NaN; some of them are 0 in CellProfiler.  The page *Measures* of the docs has every
        definition, its source, and what differs from CellProfiler.

        Each measure is one of `xlabelstats.measures` too: ``image.labels.measure(mask, ("area", "granularity"))``
        measures some of them, with lengths in the units of the coordinates, and ``("granularity", {"length": 8})``
        changes a parameter.

        Examples
        --------
        >>> import xlabelstats
        >>> image, mask = xlabelstats.datasets.nuclei2d()
        >>> profile = image.instances.profile(mask, ["shape", "texture"])
        >>> profile["texture_contrast"].sel(angle=90, scale=3, label=1).item()  # doctest: +ELLIPSIS
        1...
        >>> profile.labels.to_dataframe().shape[0] == profile.sizes["label"]
        True
        """
        from xlabelstats.instances.profile import names_of, profile

        return profile(
            self._array,
            as_array(mask),
            names_of(families),
            scale=scale,
            levels=levels,
            range=range,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            batch_size=batch_size,
            align=align,
        )
