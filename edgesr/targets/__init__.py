"""What each target runs, one file per target; adding a target is adding a file."""

from __future__ import annotations

import importlib
import pkgutil

from edgesr.errors import UsageError
from edgesr.targets.target import INT8_FORMS, Forms, Precision, Target

__all__ = ["INT8_FORMS", "Forms", "Precision", "Target", "find_target", "target_names"]


def target_names() -> tuple[str, ...]:
    """Every target, sorted: the files of this folder that define `TARGET`."""
    return tuple(
        sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "target")
    )


def find_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in target_names():
        raise UsageError(f"no target is called `{name}`; there are {', '.join(target_names())}")
    target = importlib.import_module(f"{__name__}.{name}").TARGET
    assert isinstance(target, Target)
    return target
