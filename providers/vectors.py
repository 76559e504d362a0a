"""Embedding vectors as they travel: little-endian float32 in base64 (a quarter of the bytes of JSON numbers), or JSON numbers."""

import math
import sys
from array import array
from collections.abc import Sequence

Vector = Sequence[float]
"""An `array` of float32 where it came packed, else a list."""


def unpacked(packed: bytes) -> Vector:
    """ValueError if these are no finite float32."""
    vector = array("f")
    vector.frombytes(packed)
    if sys.byteorder == "big":
        vector.byteswap()
    if not math.isfinite(sum(vector)):
        raise ValueError("a vector holds what is no number")
    return vector


def packed(vector: Vector) -> bytes:
    """msgspec writes these bytes as base64."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()
