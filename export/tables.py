"""Files of networks for any scale where the scale does not fold into convolutions: x2.35, x3.1.

The last step then stays what it is, with everything that depends on sizes alone written down for
one image size: tables of places, and of weights.
"""

from __future__ import annotations

from edgesr.export.lower.fixed_size import at_size
from torch import fx

from edgesr.errors import UnsupportedError, UsageError
from edgesr.network import Network
from edgesr.scales import period, scale_text
from edgesr.targets import Target

Shape = tuple[int, int]

LARGEST = 200 << 20
"""Bytes of tables. ArbSR has 12 numbers for every output pixel, Meta-SR 260."""


def size_for(network: Network, target: Target, precision: str, shape: Shape | None) -> Shape | None:
    """The image size to write tables for; None where none are needed.

    Raises:
        UnsupportedError: tables of real numbers have no int8 form, and no NPU runs gathers.
        UsageError: tables are of one image size, and none is given, or one the network cannot take.
    """
    folds = getattr(network.module, "folds", None)
    if folds is None or folds():
        return None
    why = (
        f"x{scale_text(network.scale)} repeats only every {period(network.scale)} input pixels, "
        "and a filter of that period would hold millions of numbers; so the file gets tables of "
        "places and weights,"
    )
    if target.compiler or precision.startswith("int"):
        lacking = "no NPU runs" if target.compiler else "have no int8 form"
        # Ethos-U takes strides up to 3: fifths would leave a convolution to the CPU beside it.
        better = "halves" if target.compiler else "halves, fifths"
        raise UnsupportedError(
            f"{why} which {lacking}. Choose a scale of smaller numbers ({better}), "
            "or fp32 or fp16 for a CPU"
        )
    if shape is None:
        raise UsageError(
            f"{why} which are of one image size: give --shape HEIGHTxWIDTH. Or write one file for "
            "all scales and sizes: --scale any"
        )
    check_multiple(network, shape)
    return shape


def check_multiple(network: Network, shape: Shape) -> None:
    """Refuse sides that do not divide: tiles of this file start at such multiples only.

    Raises:
        UsageError: it names the multiple.
    """
    multiple = network.pad_multiple
    if any(side % multiple for side in shape):
        size = f"{shape[0]}x{shape[1]}"
        raise UsageError(f"`{network.name}` takes sides that divide by {multiple}, not {size}")


def write_down(network: Network, shape: Shape) -> fx.GraphModule:
    """The network's graph at this image size.

    Raises:
        UnsupportedError: the tables would be larger than `LARGEST`.
    """
    assert isinstance(network.module, fx.GraphModule)
    graph = at_size(network.module, *shape)
    taken = sum(table.numel() * 4 for table in graph.buffers())
    if taken > LARGEST:
        raise UnsupportedError(
            f"the tables of x{scale_text(network.scale)} for {shape[0]}x{shape[1]} would take "
            f"{taken >> 20} MiB, of which at most {LARGEST >> 20} are written: give a smaller "
            "--shape, or write an ONNX or OpenVINO file for all scales with --scale any"
        )
    return graph
