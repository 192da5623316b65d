"""Several TFLite files as one, with a signature each: a scale per signature.

A subgraph per file, one list of buffers: weights that are equal in several files are stored once,
so a network that shares its trunk between scales (MDSR) is hardly larger than one of its files.

    interpreter.get_signature_runner("x2")(x=image)["y"]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"


def merge(files: Mapping[str, bytes], description: str) -> bytes:
    """One file whose signatures are the keys of `files`.

    Args:
        files: signature name to a file with one subgraph and one signature; the first one also
            becomes `serving_default`, which interpreters without signatures run.
        description: of the whole.
    """
    merged = schema.ModelT()
    merged.version, merged.description = 3, description
    merged.operatorCodes, merged.subgraphs, merged.signatureDefs = [], [], []
    merged.buffers = [schema.BufferT()]  # the empty one comes first
    codes: dict[tuple[int, int], int] = {}
    stored: dict[bytes, int] = {}
    for name, content in files.items():
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        (graph,), (signature,) = model.subgraphs, model.signatureDefs
        own_codes = [_code(code, merged, codes) for code in model.operatorCodes]
        for tensor in graph.tensors:
            tensor.buffer = _buffer(model.buffers[tensor.buffer], merged, stored)
        for operator in graph.operators:
            operator.opcodeIndex = own_codes[operator.opcodeIndex]
        graph.name = name
        signature.signatureKey, signature.subgraphIndex = name, len(merged.subgraphs)
        merged.subgraphs.append(graph)
        merged.signatureDefs.append(signature)
    packer = flatbuffers.Builder(sum(map(len, files.values())) + (1 << 16))
    packer.Finish(merged.Pack(packer), file_identifier=_IDENTIFIER)
    return bytes(packer.Output())


def _code(code: Any, merged: Any, known: dict[tuple[int, int], int]) -> int:
    key = (code.builtinCode, code.version)
    if key not in known:
        known[key] = len(merged.operatorCodes)
        merged.operatorCodes.append(code)
    return known[key]


def _buffer(buffer: Any, merged: Any, stored: dict[bytes, int]) -> int:
    if buffer.data is None or len(buffer.data) == 0:
        return 0
    content = np.asarray(buffer.data, np.uint8).tobytes()
    if content not in stored:
        stored[content] = len(merged.buffers)
        merged.buffers.append(buffer)
    return stored[content]
