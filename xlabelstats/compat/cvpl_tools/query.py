"""What a folder of results holds already."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Query:
    """What a folder holds; it can be awaited, which gives itself.

    Attributes
    ----------
    commit : datetime or None
        When the last result in the folder was kept; None if there is none.
    url : str
        The folder, as a path or URL.

    Examples
    --------
    >>> from xlabelstats.compat.cvpl_tools import cdir_commit
    >>> cdir_commit("memory://results/none")
    Query(commit=None, url='memory://results/none')
    """

    commit: datetime | None
    url: str

    def __await__(self) -> Generator[Any, None, Query]:
        yield from ()
        return self
