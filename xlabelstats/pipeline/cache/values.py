"""Numbers, text, and lists and mappings of them as JSON from which they come back with their types."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

# The one key of a mapping that stands for what JSON has no word for.
TAGS = ("__tuple__", "__numpy__", "__complex__", "__bytes__", "__mapping__")


def encode(value: Any, what: str) -> Any:
    """A value as JSON can hold it; ``what`` names it in the complaint about one that is no such value."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return {"__numpy__": _encode_array(np.asarray(value), what), "scalar": True}
    if isinstance(value, np.ndarray):
        return {"__numpy__": _encode_array(value, what)}
    if type(value) is tuple:
        return {"__tuple__": [encode(each, what) for each in value]}
    if type(value) is list:
        return [encode(each, what) for each in value]
    if type(value) is complex:
        return {"__complex__": [value.real, value.imag]}
    if type(value) is bytes:
        return {"__bytes__": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not set(value) & set(TAGS):
            return {key: encode(each, what) for key, each in value.items()}
        return {"__mapping__": [[encode(key, what), encode(each, what)] for key, each in value.items()]}
    raise TypeError(
        f"{what} holds a value of type {type(value).__name__}, which cannot be stored; numbers, text, and "
        "lists, tuples and dicts of them can"
    )


def decode(value: Any) -> Any:
    """The value that `encode` made JSON of."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "__numpy__" in value:
        array = _decode_array(value["__numpy__"])
        return array[()] if "scalar" in value else array
    if "__tuple__" in value:
        return tuple(decode(each) for each in value["__tuple__"])
    if "__complex__" in value:
        return complex(*value["__complex__"])
    if "__bytes__" in value:
        return base64.b64decode(value["__bytes__"])
    if "__mapping__" in value:
        return {decode(key): decode(each) for key, each in value["__mapping__"]}
    return {key: decode(each) for key, each in value.items()}


def _encode_array(array: np.ndarray, what: str) -> dict[str, Any]:
    if array.dtype.kind not in "biufcmMUS":
        raise TypeError(f"{what} holds an array of {array.dtype}, which cannot be stored; make it numbers or text")
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "content": content}


def _decode_array(found: dict[str, Any]) -> np.ndarray:
    content = base64.b64decode(found["content"])
    return np.frombuffer(content, np.dtype(found["dtype"])).reshape(found["shape"]).copy()
