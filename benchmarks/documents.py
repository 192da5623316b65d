"""Results that grow row by row: read what is there, write after every row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgesr.errors import BadFileError
from edgesr.manifest import write_atomically

Document = dict[str, Any]
"""`version`, `command`, `rows`, and what else the command notes."""


def read_document(path: Path, version: int) -> Document:
    """An earlier result, or one without rows.

    Raises:
        BadFileError: the file is no result of this kind, or of another version.
    """
    if not path.exists():
        return {"rows": []}
    try:
        document: Document = json.loads(path.read_text())
        if document["version"] == version and isinstance(document["rows"], list):
            return document
    except (ValueError, KeyError, TypeError) as error:
        raise BadFileError(f"{path} is not a result of this command: {error!r}") from error
    raise BadFileError(f"{path} is not a result of this command, or of another version of it")


def write_document(document: Document, path: Path) -> None:
    """As JSON, whole or not at all."""
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())
