"""Units of coordinates, which are written in several ways."""

from __future__ import annotations

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
    """Units as OME-Zarr writes them; those that it does not know as they are."""
    return next((name for name, others in UNITS.items() if units in others), units)
