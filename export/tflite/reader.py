"""Look into a TFLite file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgesr.errors import BadFileError


def load(path: Path) -> Any:
    """The file as the schema's object tree (`ModelT`).

    Raises:
        BadFileError: it is not a TFLite file, or cut short.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = Path(path).read_bytes()
    if content[4:8] != b"TFL3":
        raise BadFileError(f"{path} is not a TFLite file (its identifier is {content[4:8]!r})")
    try:
        return schema.ModelT.InitFromPackedBuf(content, 0)
    except Exception as error:
        raise BadFileError(f"{path} is damaged: {error}") from error


def operator_counts(path: Path) -> dict[str, int]:
    """Operator name to how often it occurs, all subgraphs together."""
    return dict(Counter(operator_list(path)))


def operator_list(path: Path) -> list[str]:
    """Names of the operators in the order they run."""
    from ai_edge_litert import schema_py_generated as schema

    model = load(path)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    codes = [names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    return [codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators]


def metadata_of(path: Path) -> dict[str, bytes]:
    """Metadata entries by name: `min_runtime_version`, `TFLITE_METADATA`."""
    model = load(path)
    return {
        entry.name.decode(): bytes(model.buffers[entry.buffer].data)
        for entry in model.metadata or []
    }


def fully_delegated(path: Path) -> bool:
    """Whether LiteRT hands the whole graph to one XNNPACK partition on this machine."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    partitions = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
    ends = {d["index"] for d in interpreter.get_output_details()}
    starts = {d["index"] for d in interpreter.get_input_details()}
    if len(partitions) != 1:
        return False
    return starts <= set(partitions[0]["inputs"]) and ends == set(partitions[0]["outputs"])
