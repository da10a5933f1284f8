"""Packages that are not always there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# CuPy has a package for every version of CUDA.
CUPY = "pip install 'xlabelstats[gpu]' for CUDA 12, 'xlabelstats[gpu-cuda13]' for CUDA 13"


def need(module: str, extra: str, what: str) -> Any:
    """Import a module of an optional package, or say which extra of the package has it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"{what} needs {package}, which is not installed: pip install 'xlabelstats[{extra}]'", name=error.name
        ) from error
