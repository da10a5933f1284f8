"""Channels of images as colours that add up."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.artist import Artist

# Two channels show as magenta and green, whose sum is white and which most colour-blind readers tell apart.
ONE, TWO = ("white",), ("magenta", "lime")
MORE = ("cyan", "magenta", "yellow", "red", "lime", "blue")


@dataclass(frozen=True)
class Channels:
    """The channels to draw.

    Attributes
    ----------
    dim : Hashable or None
        The dim that they lie along, None for an image without one.
    rows : list of int
        Their indices along it.
    names : list of str
    colors : array (channel, 3)
        From 0 to 1.
    """

    dim: Hashable | None
    rows: list[int]
    names: list[str]
    colors: np.ndarray

    @property
    def index(self) -> dict[Hashable, list[int]]:
        """The channels as an index of the image."""
        return {} if self.dim is None else {self.dim: self.rows}

    @property
    def alone(self) -> dict[Hashable, int]:
        """The one channel of them, which the title names; with more, the legend does."""
        return {} if self.dim is None or len(self.rows) != 1 else {self.dim: self.rows[0]}

    def handles(self) -> list[Artist]:
        """What a legend shows: a patch per channel, if there are several."""
        from matplotlib.patches import Patch

        if len(self.names) < 2:
            return []
        return [Patch(color=tuple(c), label=name) for c, name in zip(self.colors, self.names, strict=True)]


def choose_channels(image: xr.DataArray, dim: Hashable | None, channels: Any, colors: Any) -> Channels:
    """The channels asked for, by coordinate, or by index where there is none, and their colours."""
    if dim is None:
        if channels is not None:
            raise ValueError(f"the image has no dim of channels to choose from; its dims are {image.dims}")
        return Channels(None, [0], [""], _colors(colors, [""]))
    known = image[dim].to_numpy().tolist() if dim in image.coords else list(range(image.sizes[dim]))
    wanted = known if channels is None else _as_list(channels)
    if not wanted:
        raise ValueError("there are no channels to draw")
    rows = list(range(len(known))) if channels is None else [_row(channel, known, dim) for channel in wanted]
    names = [str(channel) if dim in image.coords else f"{dim} {channel}" for channel in wanted]
    found = _colors(_by_position(colors, wanted), names)
    return Channels(dim, rows, names, found)


def blend(values: np.ndarray, colors: np.ndarray, contrast: Sequence[float]) -> np.ndarray:
    """Channels (channel, ...) stretched, coloured and added: ``(..., 3)`` in uint8."""
    low, high = _percentiles(contrast)
    rgb = np.zeros((*values.shape[1:], 3), np.float32)
    for channel, color in zip(values, colors, strict=True):
        rgb += stretch(channel, low, high)[..., None] * color.astype(np.float32)
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values from 0 at the one percentile to 1 at the other; NaN is 0."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.float32)
    black, white = np.percentile(finite, (low, high))
    if black == white:
        # Of sparse objects, both may be background.
        black, white = finite.min(), finite.max()
    if black == white:
        return np.zeros(values.shape, np.float32)
    scaled = np.clip((values - black) / (white - black), 0, 1)
    return np.nan_to_num(scaled, nan=0.0).astype(np.float32)


def _row(channel: Any, known: list[Any], dim: Hashable) -> int:
    """The index of the one channel of a name."""
    if channel not in known:
        raise ValueError(f"there is no channel {channel!r}; there are: {', '.join(map(str, known))}")
    if known.count(channel) > 1:
        raise ValueError(
            f"{known.count(channel)} channels are called {channel!r}, so it is not clear which one is meant; "
            f"give each a name of its own: image.assign_coords({{{dim!r}: [...]}})"
        )
    return known.index(channel)


def _percentiles(contrast: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in contrast)
    except (TypeError, ValueError):
        raise TypeError(f"contrast is two percentiles, such as (1, 99.8), not {contrast!r}") from None
    if not 0 <= low < high <= 100:
        raise ValueError(f"contrast is two percentiles from 0 to 100, the lower first, not {contrast!r}")
    return low, high


def _by_position(colors: Any, wanted: list[Any]) -> Any:
    """Colours given by channel, in the order of the channels."""
    if not isinstance(colors, Mapping):
        return colors
    lacking = [channel for channel in wanted if channel not in colors]
    if lacking:
        raise ValueError(f"colors has none for the channel {lacking[0]!r}")
    return [colors[channel] for channel in wanted]


def _colors(colors: Any, names: list[str]) -> np.ndarray:
    from matplotlib.colors import to_rgb

    n = len(names)
    if colors is None:
        if n > len(MORE):
            raise ValueError(
                f"{n} channels are more than the {len(MORE)} colours there are; choose some with channels=, "
                "or give a colour for each with colors="
            )
        colors = ONE if n == 1 else TWO if n == 2 else MORE[:n]
    colors = _as_list(colors)
    if len(colors) != n:
        raise ValueError(f"colors has {len(colors)} for {n} channels; give each channel one")
    return np.array([to_rgb(color) for color in colors])


def _as_list(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
