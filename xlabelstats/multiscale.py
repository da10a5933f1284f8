"""Images and masks at several scales, as trees of arrays: which array is meant."""

from __future__ import annotations

from typing import Any

import xarray as xr


def as_array(given: Any) -> Any:
    """The finest array of a tree, in place of the tree; anything else as it is."""
    return finest(given) if isinstance(given, xr.DataTree) else given


def finest(tree: xr.DataTree) -> xr.DataArray:
    """The array with the most pixels of those that a tree holds."""
    return levels_of(tree)[0]


def levels_of(tree: xr.DataTree) -> list[xr.DataArray]:
    """The arrays that a tree holds, one per scale, all of one name: that with the most pixels first."""
    arrays = {node.path: _only_array(node) for node in tree.subtree if node.data_vars}
    if not arrays:
        raise ValueError("this tree holds no array: a multiscale image has one per scale, such as tree['scale0/image']")
    if len({array.name for array in arrays.values()}) > 1:
        found = ", ".join(f"{path.rstrip('/')}/{array.name}" for path, array in arrays.items())
        raise ValueError(f"this tree holds more than the scales of one image ({found}); choose one: tree['path/name']")
    return sorted(arrays.values(), key=lambda array: -array.size)


def at_scale(tree: xr.DataTree, scale: str) -> xr.DataArray:
    """The array of the scale of a name."""
    if scale not in tree.children:
        raise ValueError(f"there is no scale {scale!r}; there are: {', '.join(map(str, tree.children))}")
    return finest(tree.children[scale])


def _only_array(node: xr.DataTree) -> xr.DataArray:
    names = list(node.data_vars)
    if len(names) > 1:
        raise ValueError(
            f"the node {node.path!r} of this tree holds {len(names)} arrays ({', '.join(map(str, names))}), "
            f"so it is not clear which one is the image; choose one: tree[{f'{node.path}/{names[0]}'.lstrip('/')!r}]"
        )
    return node.data_vars[names[0]]
