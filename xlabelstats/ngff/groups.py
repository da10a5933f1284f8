"""Groups of an OME-Zarr: what they say of themselves, and additions below an image that are complete or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlabelstats.placement import PLACING, put_in_place, scratch_beside, target_of, told_when_full
from xlabelstats.store import as_store, beyond_specification, is_key

if TYPE_CHECKING:
    import zarr

LABELS, TABLES = "labels", "tables"

# The versions that are read and written, by the format of Zarr that they are kept in.
VERSIONS = {2: "0.4", 3: "0.5"}


@dataclass(frozen=True)
class Addition:
    """Something new below an image, while it is written.

    Attributes
    ----------
    image : zarr.Group
        The image, to read.
    group : zarr.Group
        Where it is written.
    folder : Path
        The folder of that group.
    scratch : Path
        A path on the same disk for anything that is needed until it is written.
    """

    image: zarr.Group
    group: zarr.Group
    folder: Path
    scratch: Path

    @property
    def version(self) -> str:
        """The version of OME-Zarr."""
        return VERSIONS[self.image.metadata.zarr_format]


def about(group: zarr.Group) -> Mapping[str, Any]:
    """What OME-Zarr says of a group: below a key of its own since version 0.5."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    return attributes.get("ome", attributes)


def image_in(group: zarr.Group, where: str) -> dict[str, Any]:
    """What a group says of the image that it is, or a complaint that it is none."""
    said = about(group)
    images = said.get("multiscales")
    if not images:
        below = sorted(name for name, _ in group.groups())
        if "plate" in said:
            below = [each["path"] for each in said["plate"].get("wells", [])]
        elif "well" in said:
            below = [each["path"] for each in said["well"].get("images", [])]
        listed = ", ".join(map(repr, below[:5])) + (", ..." if len(below) > 5 else "")
        what = next((name for name in ("plate", "well") if name in said), "Zarr group without an image of OME-Zarr")
        advice = f"; open what is below it: {listed}" if below else ""
        raise ValueError(f"{where} is a {what}{advice}")
    # Version 0.4 may leave out its number; before it, axes were text or not there.
    named = all(isinstance(axis, Mapping) for axis in images[0].get("axes") or [""])
    unsaid = VERSIONS[group.metadata.zarr_format] if named else "before 0.4"
    version = str(said.get("version") or images[0].get("version") or unsaid)
    if version not in VERSIONS.values():
        known = " and ".join(VERSIONS.values())
        raise ValueError(f"{where} is OME-Zarr {version}, and only {known} are read; convert it to one of these")
    return dict(images[0])


def listed_in(image: zarr.Group, kind: str) -> list[str]:
    """The names of the labels, or tables, of an image."""
    group: Any = image.get(kind)
    return list(about(group).get(kind, ())) if hasattr(group, "groups") else []


@contextmanager
def addition(path: str | os.PathLike[str], kind: str, name: str, overwrite: bool, nbytes: float) -> Iterator[Addition]:
    """A group to write to, which is put below an image, and listed there, once it is written."""
    import zarr

    if not isinstance(name, str) or not is_key(name) or name.startswith("."):
        raise ValueError(f"{name!r} cannot be the name of a folder below {kind!r}; take letters, digits, '-' and '_'")
    target = target_of(os.path.join(os.fspath(path), kind, name), overwrite)
    root = target.parent.parent
    try:
        image = zarr.open_group(as_store(root), mode="r", use_consolidated=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no OME-Zarr image at {root}; write the image there first") from None
    image_in(image, str(root))
    form = image.metadata.zarr_format
    with told_when_full([target], nbytes), scratch_beside([target, target]) as (partial, scratch):
        group = zarr.open_group(as_store(partial), mode="w-", zarr_format=form)
        yield Addition(image, group, partial, scratch)
        with PLACING:
            put_in_place(partial, target, overwrite)
            _list(image, root, kind, name)


def _list(image: zarr.Group, root: Path, kind: str, name: str) -> None:
    """Add a name to the list that an image has of its labels or tables."""
    import zarr

    form, group = image.metadata.zarr_format, image.get(kind)
    attributes: dict[str, Any] = {} if group is None else group.attrs.asdict()
    names = [*(each for each in listed_in(image, kind) if each != name), name]
    if kind == LABELS and form == 3:
        attributes["ome"] = {"version": VERSIONS[form], **attributes.get("ome", {}), kind: names}
    else:
        attributes[kind] = names
    # Metadata is replaced as a file, since not every version of zarr writes it in one step.
    with scratch_beside([root / kind]) as (aside,):
        zarr.open_group(as_store(aside), mode="w-", zarr_format=form, attributes=attributes)
        for file in sorted(aside.iterdir(), reverse=True):
            os.replace(file, root / kind / file.name)
        aside.rmdir()
    if zarr.open_group(as_store(root), mode="r").metadata.consolidated_metadata is not None:
        # Else readers would take the image for one without what was added.
        with beyond_specification():
            zarr.consolidate_metadata(as_store(root), zarr_format=form)
