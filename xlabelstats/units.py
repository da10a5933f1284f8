"""Units of coordinates, which are written in several ways."""

from __future__ import annotations

from collections.abc import Iterable

# What units of coordinates are called in OME-Zarr, and how else they are written.
UNITS = {
    "angstrom": ("Å", "å"),
    "nanometer": ("nm", "nanometre"),
    "micrometer": ("um", "µm", "μm", "micron", "microns", "micrometre"),
    "millimeter": ("mm", "millimetre"),
    "centimeter": ("cm", "centimetre"),
    "meter": ("m", "metre"),
    "kilometer": ("km", "kilometre"),
    "inch": ("in",),
    "foot": ("ft",),
    "nanosecond": ("ns",),
    "microsecond": ("us", "µs", "μs"),
    "millisecond": ("ms",),
    "second": ("s", "sec", "seconds"),
    "minute": ("min", "minutes"),
    "hour": ("h", "hr", "hours"),
    "day": ("d", "days"),
}


def spelt_out(units: str) -> str:
    """Units as OME-Zarr writes them, singular and in small letters; those that it does not know as they are."""
    # Of symbols the case counts: mm and Mm differ.
    written = units.strip() if len(units.strip()) <= 2 else units.strip().lower()
    forms = {written, written.removesuffix("s") if len(written) > 3 else written}
    return next((name for name, others in UNITS.items() if forms & {name, *others}), units)


def common_units(units: Iterable[str]) -> str:
    """The units that all are in, as they are written, or spelt out if they are written in several ways; else none."""
    written = set(units)
    found = written if len(written) == 1 else set(map(spelt_out, written))
    return found.pop() if len(found) == 1 else ""
