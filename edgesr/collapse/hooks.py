"""Networks that know how to fuse themselves.

The names are those of timm's `reparameterize_model` and of RepVGG's descendants: a submodule with
`fuse()` is replaced by what that returns; `reparameterize()` and `switch_to_deploy()` work in
place. They are called on a copy, and what they promise is checked.
"""

from __future__ import annotations

import copy
import inspect

from torch import nn

_NAMES = ("fuse", "reparameterize", "switch_to_deploy")


def has_hooks(module: nn.Module) -> bool:
    """Whether a submodule offers to fuse itself."""
    return any(_offer(part) for part in module.modules())


def reparameterized(module: nn.Module) -> nn.Module:
    """A copy whose submodules (and itself) have fused themselves."""
    root = nn.ModuleDict({"module": copy.deepcopy(module)})
    _visit(root)
    return root["module"]


def _visit(parent: nn.Module) -> None:
    for name, child in list(parent.named_children()):
        offered = _offer(child)
        if offered is not None:
            result = getattr(child, offered)()
            if offered == "fuse" and isinstance(result, nn.Module):
                parent._modules[name] = child = result
        _visit(child)


def _offer(module: nn.Module) -> str | None:
    """The first such method; a submodule that happens to be called `fuse` is none."""
    return next((n for n in _NAMES if inspect.ismethod(getattr(module, n, None))), None)
