"""What each target runs, one file per family; adding a target is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from edgesr.errors import UsageError
from edgesr.targets.target import INT8_FORMS, Forms, Precision, Shuffle, Target

__all__ = ["INT8_FORMS", "Forms", "Precision", "Shuffle", "Target", "find_target", "target_names"]


def target_names() -> tuple[str, ...]:
    """Every target, sorted."""
    return tuple(sorted(_targets()))


def find_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in _targets():
        raise UsageError(f"no target is called `{name}`; there are {', '.join(target_names())}")
    return _targets()[name]


@cache
def _targets() -> dict[str, Target]:
    """`TARGETS` of every file in this folder, by name."""
    files = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "target"]
    families = [importlib.import_module(f"{__name__}.{file}").TARGETS for file in sorted(files)]
    return {target.name: target for family in families for target in family}
