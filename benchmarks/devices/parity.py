"""Does the device compute what the artifact computes here?

The golden input is a pattern any language can compute; the manifest holds 1,024 samples of the
output that was proved against the integer reference (int8) or the graph in torch (float) when the
file was written. The artifact is run here once more, is held against those samples, and its whole
output is then what the device's is compared with: hash, largest difference, PSNR. A runtime of
this machine is held against the samples alone, which costs one call.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgesr.benchmarks.devices.device import Parity, Payload
from edgesr.export import verify_script

from edgesr.errors import BadFileError
from edgesr.manifest import Manifest, read_manifest
from edgesr.runtime import open_session
from edgesr.runtime.pixels import Array, to_image

DYNAMIC_SHAPE = (96, 120)
"""Golden tile of an artifact that takes any size and has no recorded output."""


@dataclass(frozen=True)
class Golden:
    """The proved output of an artifact."""

    output: Array
    reference: str
    manifest: Manifest

    def compare(self, output: Array) -> Parity:
        """Hold a device's raw output against it.

        Raises:
            BadFileError: another number of values, or NaN.
        """
        if output.size != self.output.size:
            raise BadFileError(
                f"the device put out {output.size} values for {self.manifest.artifact}, "
                f"{self.output.size} were expected"
            )
        raw = np.ascontiguousarray(output.astype(self.output.dtype, copy=False))
        return _apart(
            raw.reshape(self.output.shape), self.output, self.manifest, self.reference, _sha256(raw)
        )


def recorded_parity(infer: Callable[[Array], Array], manifest: Manifest) -> Parity | None:
    """Hold a runtime of this machine against the samples in the manifest.

    Args:
        infer: runs the artifact: its input tensor to its output.
        manifest: of the artifact.

    Returns:
        Of 1,024 samples; None where none were recorded, as for a network that torch runs.

    Raises:
        BadFileError: what was recorded is not of this artifact's output.
    """
    recorded = manifest.parity.get("golden")
    if not recorded:
        return None
    image = verify_script.pattern(recorded["height"], recorded["width"], recorded["channels"])
    output = infer(verify_script.to_tensor(image, asdict(manifest)))
    got, want = _samples(output, recorded["samples"], manifest.artifact)
    row = (1, 1, -1, 1)
    proved = manifest.parity.get("reference", "network")
    reference = f"what was checked against the {proved} at export, {got.size} values"
    return _apart(got.reshape(row), want.reshape(row), manifest, reference, _sha256(output))


def _apart(got: Array, want: Array, manifest: Manifest, reference: str, sha256: str) -> Parity:
    images = [to_image(tensor, manifest).astype(np.int32) for tensor in (got, want)]
    difference = np.abs(images[0] - images[1])
    error = float(np.mean(np.square(difference, dtype=np.float64)))
    return Parity(
        reference=reference,
        sha256=sha256,
        exact=got.tobytes() == want.tobytes(),
        max_lsb=int(difference.max()),
        identical=float(np.mean(difference == 0)),
        psnr=10 * math.log10(255**2 / error) if error else None,
    )


def _sha256(output: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()


def _samples(output: Array, recorded: str, artifact: object) -> tuple[Array, Array]:
    """The output where samples were recorded, and those.

    Raises:
        BadFileError: they are not as many.
    """
    got = output.reshape(-1)[verify_script.positions(output.size)]
    samples = base64.b64decode(recorded)
    if len(samples) != got.nbytes:
        raise BadFileError(f"the recorded output of {artifact} is damaged; export it again")
    return got, np.frombuffer(samples, output.dtype)


def payload_for(artifact: Path) -> Payload:
    """The artifact with the golden pattern as its input.

    Raises:
        BadFileError: no artifact, no manifest, or a broken one.
    """
    manifest = read_manifest(artifact)
    recorded = manifest.parity.get("golden", {})
    height = manifest.height or recorded.get("height") or DYNAMIC_SHAPE[0]
    width = manifest.width or recorded.get("width") or DYNAMIC_SHAPE[1]
    channels = 3 if manifest.colour == "rgb" else 1
    image = verify_script.pattern(height, width, channels)
    return Payload(artifact, manifest, verify_script.to_tensor(image, asdict(manifest)))


def golden_for(payload: Payload) -> Golden:
    """Run the artifact here and check that it still gives what was proved at export.

    Raises:
        BadFileError: its output is not the recorded one: the file or the runtime has changed.
    """
    session = open_session(payload.artifact)
    output = session.infer(payload.golden)
    info, proof = session.info(), payload.manifest.parity
    reference = f"{info.runtime} {info.version} on this machine"
    recorded = proof.get("golden", {}).get("samples")
    if recorded:
        _check_recorded(output, recorded, payload, proof)
        reference += f", which was checked against the {proof.get('reference', 'network')}"
    return Golden(output, reference, payload.manifest)


def _check_recorded(output: Array, recorded: str, payload: Payload, proof: dict[str, Any]) -> None:
    got, want = _samples(output, recorded, payload.artifact)
    allowed = float(proof.get("tolerance", 0))
    if payload.manifest.precision != "int8":
        allowed *= payload.manifest.value_range
    worst = float(np.abs(got.astype(np.float64) - want).max())
    if worst > 2 * allowed:  # both may be off the reference, to either side
        raise BadFileError(
            f"{payload.artifact} puts out values up to {worst:g} away from those recorded when it "
            f"was exported (allowed {2 * allowed:g}); export it again"
        )
