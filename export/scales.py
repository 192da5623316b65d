"""One TFLite file with a signature per scale: `x2`, `x3`, `x4`.

Each scale is exported and proved by itself first, then the files become one
(`edgesr.export.tflite.signatures`), whose every signature must give what its own file gave.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgesr.export.pipeline import Shape, export
from edgesr.export.tflite.signatures import merge

from edgesr.errors import OutputExistsError, ParityError, UsageError
from edgesr.manifest import sha256_of, write_atomically
from edgesr.network import Network
from edgesr.runtime import open_session
from edgesr.scales import scale_text


@dataclass(frozen=True)
class Merged:
    """A file of several scales."""

    path: Path
    signatures: tuple[str, ...]
    size: int
    """Bytes."""
    apart: int
    """Bytes of the files it was made of."""


def export_scales(
    networks: Sequence[Network],
    *,
    shape: Shape,
    out: Path | str = ".",
    precision: str = "fp32",
    io: str = "uint8",
    force: bool = False,
) -> Merged:
    """Write one TFLite file for networks that differ in their scale.

    Beside it, `FILE.json` has the manifest of each signature.

    Raises:
        UsageError: fewer than two, or two of one scale.
        OutputExistsError: the file is there and `force` is off.
        ParityError: a signature differs from its own file in a single value; nothing is kept.
    """
    names = [f"x{scale_text(network.scale)}" for network in networks]
    if len(set(names)) != len(names) or len(names) < 2:
        raise UsageError(f"a file of several scales needs at least two, each once, not {names}")
    stem = networks[0].name.replace(f"-{names[0]}", "", 1)
    size = f"{shape[0]}x{shape[1]}"
    path = Path(out) / f"{stem}-{'+'.join(names)}_{precision}_{size}.tflite"
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; --force overwrites it")
    with tempfile.TemporaryDirectory() as folder:
        made = [
            export(network, target="tflite", precision=precision, shape=shape, out=folder, io=io)
            for network in networks
        ]
        contents = {name: one.path.read_bytes() for name, one in zip(names, made, strict=True)}
        content = merge(contents, f"{stem}: super-resolution, a signature per scale")
        for name, one in zip(names, made, strict=True):
            _check(content, name, one.path)
    manifests = {
        name: dataclasses.asdict(one.manifest) for name, one in zip(names, made, strict=True)
    }
    write_atomically(path, content)
    facts = {"artifact": path.name, "sha256": sha256_of(path), "signatures": manifests}
    beside = path.with_name(path.name + ".json")
    write_atomically(beside, (json.dumps(facts, indent=2) + "\n").encode())
    return Merged(path, tuple(names), len(content), sum(map(len, contents.values())))


def _check(content: bytes, name: str, single: Path) -> None:
    """Run a signature and the file it was made of on the same noise."""
    from ai_edge_litert.interpreter import Interpreter

    session = open_session(single)
    facts = session.manifest
    rng = np.random.default_rng(0)
    noise = rng.random((1, facts.height or 0, facts.width or 0, 3 if facts.colour == "rgb" else 1))
    top = facts.value_range if facts.dtype == "float32" else 127
    x = (noise * top).astype(facts.dtype)
    interpreter = Interpreter(model_content=content, num_threads=1)
    got = interpreter.get_signature_runner(name)(x=x)["y"]
    if not np.array_equal(got, session.infer(x)):
        raise ParityError(f"signature {name} differs from its own file {single.name}")
