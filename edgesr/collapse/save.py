"""Collapsed weights as a file: tensors by layer, the certificate in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgesr.collapse.certificate import Certificate
from edgesr.errors import OutputExistsError
from edgesr.network import Network


def save(network: Network, certificate: Certificate, path: Path, *, force: bool = False) -> Path:
    """Write the constants of a collapsed network as safetensors.

    The header holds the network's name, scale, colour, value range and the certificate, as JSON.

    Raises:
        OutputExistsError: the file is there and `force` is not given.
    """
    from safetensors.torch import save as to_bytes

    if path.exists() and not force:
        raise OutputExistsError(f"`{path}` is there already; --force overwrites it")
    facts = {
        "name": network.name,
        "scale": network.scale,
        "colour": network.colour,
        "value_range": network.value_range,
    }
    header = {"edgesr": json.dumps(facts), "certificate": json.dumps(certificate.to_dict())}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    # Clones, since layers may share a tensor and the format does not.
    tensors = {key: value.clone() for key, value in network.module.state_dict().items()}
    try:
        beside.write_bytes(to_bytes(tensors, metadata=header))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
