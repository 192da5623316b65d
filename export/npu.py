"""The step after parity for targets that are NPUs: the vendor's compiler, and its simulator."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.export import verify, verify_script
from edgesr.export.compile import COMPILERS
from edgesr.export.writers import Graph

from edgesr.errors import ParityError, UnsupportedError
from edgesr.manifest import Manifest
from edgesr.network import Network
from edgesr.targets import Target

LEAST_PSNR = 35.0
"""dB between the simulator's pixels and the integer reference's. Vendors round sums their own way,
which leaves 49 to 52 dB on plain networks; a wrong scale or order of channels leaves 10 to 25."""


def compile_for(
    target: Target,
    artifact: Path,
    graph: Graph,
    network: Network,
    manifest: Manifest,
    *,
    require_full: bool = False,
) -> dict[str, Any]:
    """Compile `artifact` beside itself; what the manifest keeps of it as `compiled`.

    Raises:
        DeviceError: the compiler is not installed (the message says how), or failed.
        UnsupportedError: `require_full`, and operators were left to the CPU.
        ParityError: the simulator's pixels are not the reference's.
    """
    pattern, _ = verify.images(manifest)
    tensor = verify_script.to_tensor(pattern, asdict(manifest))
    compiled = COMPILERS[target.compiler].compile_file(
        artifact, target.chip, artifact.parent, tensor
    )
    placement = compiled.placement
    if require_full and not placement.full:
        left = ", ".join(dict.fromkeys(placement.on_cpu or ())) or "some operators"
        raise UnsupportedError(
            f"{target.name} leaves {left} of `{network.name}` to the CPU; --require-full forbids it"
        )
    kept = compiled.to_dict()
    if compiled.output is not None:
        kept["parity"] = _parity(target, compiled.output, graph, network, manifest)
    return kept


def _parity(
    target: Target, output: verify.Array, graph: Graph, network: Network, manifest: Manifest
) -> dict[str, Any]:
    pattern, _ = verify.images(manifest)
    want = verify.expected(graph, network, pattern, manifest)
    # Some simulators put channels last whatever the file says.
    got = output if output.shape == want.shape else output.transpose(0, 3, 1, 2)
    difference = got.astype(np.float64) - want
    error = float(np.mean(difference**2))
    psnr = 10 * math.log10(255**2 / error) if error else None
    if psnr is not None and psnr < LEAST_PSNR:
        raise ParityError(
            f"{manifest.artifact} in the simulator of {target.name} is {psnr:.1f} dB from the "
            f"integer reference (at least {LEAST_PSNR:g}); nothing was kept"
        )
    return {
        "reference": "integer reference",
        "max_lsb": int(np.abs(difference).max()),
        "identical": float(np.mean(difference == 0)),
        "psnr": psnr,
    }
