"""DepthToSpace of an int8 model as compilers of NPUs want it: between Q and DQ.

edgesr writes it on the codes themselves, which CPUs run fastest. QNN's compiler knows an operator
as a quantized one only between DequantizeLinear and QuantizeLinear, of the same scale: the codes
come out as they went in.
"""

from __future__ import annotations

import onnx
from onnx import helper


def between_quantizers(model: onnx.ModelProto) -> None:
    """Rewrite every DepthToSpace whose codes come from a QuantizeLinear, in place."""
    graph = model.graph
    made_by = {output: node for node in graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        before = made_by.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if before is None or before.op_type != "QuantizeLinear":
            nodes.append(node)
            continue
        grid, codes, result = list(before.input[1:3]), node.input[0], node.output[0]
        mover = onnx.NodeProto()
        mover.CopyFrom(node)
        mover.input[0], mover.output[0] = f"{result}.from", f"{result}.moved"
        nodes += [
            helper.make_node("DequantizeLinear", [codes, *grid], [mover.input[0]]),
            mover,
            helper.make_node("QuantizeLinear", [mover.output[0], *grid], [result]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
