"""TFLite metadata: what the tensors mean, for tools that read the file without edgesr.

The metadata schema (`metadata_schema.fbs`, identifier M001) ships with no package we depend on.
Its few tables that describe an image are packed here by hand; the numbers are the field ids of
the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers

from edgesr.network import Network

_IMAGE_PROPERTIES = 2
"""In the union ContentProperties."""
_NORMALIZATION_OPTIONS = 1
"""In the union ProcessUnitOptions."""
_RGB, _GRAYSCALE = 1, 2
_PARSER_VERSION = "1.0.0"

Fields = list[tuple[int, Callable[[Any], None]]]


def pack(network: Network, input_name: str, output_name: str) -> bytes:
    """The metadata of a network whose input and output are images.

    Normalization is `(pixel - 0) / (255 / value_range)`; integer models share it and then apply
    the tensor's scale, which gives the pixel back.
    """
    b = flatbuffers.Builder(1024)
    image = _tensor(b, network, input_name, "low-resolution image, NHWC")
    result = _tensor(b, network, output_name, f"the image enlarged {network.scale} times, NHWC")
    inputs, outputs = _vector(b, [image]), _vector(b, [result])
    subgraph = _table(b, {2: inputs, 3: outputs})
    fields = {
        0: b.CreateString(network.name),
        1: b.CreateString(describe(network)),
        3: _vector(b, [subgraph]),
        5: b.CreateString(network.licence),
        7: b.CreateString(_PARSER_VERSION),
    }
    b.Finish(_table(b, fields), file_identifier=b"M001")
    return bytes(b.Output())


def describe(network: Network) -> str:
    """One line: name, scale, colour, range, paper."""
    colour = {"rgb": "RGB", "y": "luma (BT.601)"}[network.colour]
    text = f"{network.name}: {colour} super-resolution x{network.scale}"
    text += f", values in [0, {network.value_range:g}]"
    return f"{text}. {network.paper}" if network.paper else text


def _tensor(b: Any, network: Network, name: str, description: str) -> int:
    b.StartObject(2)
    b.PrependInt8Slot(0, _RGB if network.colour == "rgb" else _GRAYSCALE, 0)
    image = b.EndObject()
    content = _table(b, {1: image}, kinds={0: _IMAGE_PROPERTIES})
    normalization = _table(b, {0: _floats(b, 0.0), 1: _floats(b, 255.0 / network.value_range)})
    unit = _table(b, {1: normalization}, kinds={0: _NORMALIZATION_OPTIONS})
    stats = _table(b, {0: _floats(b, network.value_range), 1: _floats(b, 0.0)})
    names = _vector(b, [b.CreateString(n) for n in ("batch", "height", "width", "channel")])
    return _table(
        b,
        {
            0: b.CreateString(name),
            1: b.CreateString(description),
            2: names,
            3: content,
            4: _vector(b, [unit]),
            5: stats,
        },
    )


def _table(b: Any, offsets: dict[int, int], *, kinds: dict[int, int] | None = None) -> int:
    """A table of offsets by field id, and of union types (`kinds`)."""
    ids = [*offsets, *(kinds or {})]
    b.StartObject(max(ids) + 1)
    for field, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, kind in (kinds or {}).items():
        b.PrependUint8Slot(field, kind, 0)
    return int(b.EndObject())


def _vector(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _floats(b: Any, value: float) -> int:
    b.StartVector(4, 1, 4)
    b.PrependFloat32(value)
    return int(b.EndVector())
