"""A strided transposed convolution is a convolution followed by pixel shuffle.

    conv_transpose2d(x; W, b, stride s, padding p, output_padding e)
        =>  pixel_shuffle(conv2d(pad(x); V, b repeated), s)

Output pixel `s*j + r` receives `x[i] * W[k]` wherever `s*j + r + p = s*i + k`, so with `d = i - j`

    V[r][d] = W[r + p - s*d],   ceil((p - K + 1) / s) <= d <= floor((s - 1 + p) / s)

and pixels outside x count as zero in both. Exact, borders included, when the output is s times
the input: `K + e = s + 2p` (FSRCNN: 9 + (s - 1) = s + 8). Others are left to the writer.
"""

from __future__ import annotations

import torch
from edgesr.export.lower.editor import Editor, arguments
from torch import Tensor, fx

from edgesr.graph import aten, is_call
from edgesr.targets import Forms


def rewrite(editor: Editor, forms: Forms) -> list[str]:
    """Apply the rule everywhere; returns what was done."""
    done = []
    for node in editor.nodes:
        if is_call(node, aten.conv_transpose2d.input) and _whole_multiple(editor, node):
            _split(editor, node)
            done.append(f"transposed convolution {node.name} is a convolution and a pixel shuffle")
    return done


def _whole_multiple(editor: Editor, node: fx.Node) -> bool:
    _, weight, _, stride, padding, extra, groups, dilation = arguments(node)
    kernel = editor.constant(weight)
    if kernel is None or groups != 1 or dilation != [1, 1] or stride[0] != stride[1]:
        return False
    sides = zip(kernel.shape[2:], padding, extra, stride, strict=True)
    return all(k + e == s + 2 * p for k, p, e, s in sides)


def _split(editor: Editor, node: fx.Node) -> None:
    x, weight, bias, stride, padding, _, _, _ = arguments(node)
    block: int = stride[0]
    kernel = editor.constant(weight)
    assert kernel is not None and isinstance(x, fx.Node)
    phases, (top, bottom), (left, right) = phase_kernels(kernel, block, padding)
    new_weight = editor.add_constant(phases, f"{node.name}_phases", node)
    offset = editor.constant(bias)
    new_bias = None
    if offset is not None:
        repeated = offset.repeat_interleave(block**2)
        new_bias = editor.add_constant(repeated, f"{node.name}_bias", node)
    even = top == bottom and left == right
    if not even:
        sides = [left, right, top, bottom]
        x = editor.call(aten.pad.default, x, sides, "constant", 0.0, before=node)
    around = [top, left] if even else [0, 0]
    conv = editor.call(
        aten.conv2d.default, x, new_weight, new_bias, [1, 1], around, [1, 1], 1, before=node
    )  # fmt: skip
    shuffled = conv
    if block > 1:
        shuffled = editor.call(aten.pixel_shuffle.default, conv, block, before=node)
    editor.replace(node, shuffled)


def phase_kernels(
    kernel: Tensor, block: int, padding: list[int]
) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """V of the formula above, and the zeros the map needs (before, after) in rows and columns.

    Args:
        kernel: I x O x kh x kw, as `conv_transpose2d` takes it.
        block: the stride.
        padding: rows, columns.

    Returns:
        (O * block * block) x I x rows x columns, output channels in pixel shuffle's order.
    """
    taps, margins = [], []
    for size, p in zip(kernel.shape[2:], padding, strict=True):
        first, last = -((size - 1 - p) // block), (block - 1 + p) // block
        taps.append([[r + p - block * d for d in range(first, last + 1)] for r in range(block)])
        margins.append((-first, last))
    rows, columns = taps
    inputs, outputs = kernel.shape[:2]
    phases = torch.zeros(
        outputs, block, block, inputs, len(rows[0]), len(columns[0]), dtype=kernel.dtype
    )
    for r, c in torch.cartesian_prod(torch.arange(block), torch.arange(block)).tolist():
        for i, row in enumerate(rows[r]):
            for j, column in enumerate(columns[c]):
                if 0 <= row < kernel.shape[2] and 0 <= column < kernel.shape[3]:
                    phases[:, r, c, :, i, j] = kernel[:, :, row, column].T
    return phases.flatten(0, 2), margins[0], margins[1]
