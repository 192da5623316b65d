"""A graph while it is being rewritten, with the shape of every node at hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from edgesr.graph import add_constant, channels_of_input, constant_of, tidy

SAMPLE_SIZE = (96, 120)
"""Input height and width at which shapes are known; divides by every `pad_multiple` in use."""


class Editor:
    """Inserts, replaces and measures nodes of one `GraphModule`, in place.

    Constants are never changed but replaced, so that a graph that shares them stays as it is.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self._values: dict[fx.Node, Any] = {}
        self._dropped: set[fx.Node] = set()
        floats = (t for t in module.state_dict().values() if t.is_floating_point())
        self.dtype = next((t.dtype for t in floats), torch.float32)
        shape = (1, channels_of_input(module), *SAMPLE_SIZE)
        image = torch.empty(shape, dtype=self.dtype, device="meta")
        with torch.no_grad():
            _Recorder(module, self._values).run(image)

    @property
    def nodes(self) -> Iterator[fx.Node]:
        """The nodes there were, in execution order, less those dropped meanwhile."""
        for node in list(self.module.graph.nodes):
            if node not in self._dropped:
                yield node

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape at `SAMPLE_SIZE`."""
        return tuple(int(side) for side in self._values[node].shape)

    def width(self, node: fx.Node) -> int:
        """Number of channels."""
        return self.shape(node)[1]

    def constant(self, node: Any) -> Tensor | None:
        """The tensor behind a constant's node; None for anything else."""
        return constant_of(self.module, node)

    def add_constant(self, value: Tensor, name: str, before: fx.Node) -> fx.Node:
        """A new constant, read just before `before`."""
        with self.module.graph.inserting_before(before):
            node = add_constant(self.module, value.detach().clone(), name)
        self._values[node] = value.to("meta")
        return node

    def call(
        self, target: Any, *args: Any, before: fx.Node, like: fx.Node | None = None
    ) -> fx.Node:
        """A new call just before `before`, said to come from the layer of `like`."""
        with self.module.graph.inserting_before(before):
            node = self.module.graph.call_function(target, args)
        node.meta = {
            key: value for key, value in (like or before).meta.items() if key == "nn_module_stack"
        }
        self._measure(node)
        return node

    def set_args(self, node: fx.Node, *args: Any) -> None:
        """New arguments for a call; what comes after it must keep its shapes."""
        before = node.all_input_nodes
        node.args = args
        self._measure(node)
        for x in before:
            self._drop(x)

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """Let everyone who read `old` read `new`; drop `old` and what only it read."""
        old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
        self._drop(old)

    def finish(self) -> fx.GraphModule:
        """Drop what is unused and make the graph callable."""
        return tidy(self.module)

    def _drop(self, node: fx.Node) -> None:
        """A node that nothing reads would still count as a reader of its inputs."""
        if node.users or node.op == "placeholder" or node in self._dropped:
            return
        inputs = node.all_input_nodes
        self.module.graph.erase_node(node)
        self._dropped.add(node)
        for x in inputs:
            self._drop(x)

    def _measure(self, node: fx.Node) -> None:
        args = map_arg(node.args, lambda n: self._values[n])
        with torch.no_grad():
            self._values[node] = node.target(*args)  # type: ignore[operator]


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, values: dict[fx.Node, Any]) -> None:
        super().__init__(module)
        self._values = values

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        # Constants as well: only shapes are computed.
        self._values[n] = value.to("meta") if isinstance(value, Tensor) else value
        return self._values[n]


def arguments(node: fx.Node) -> tuple[Any, ...]:
    """The arguments of a call, typed so that they can be taken apart."""
    return node.args


def only_user(node: fx.Node) -> fx.Node | None:
    """The single reader of `node`; None when there are none or several."""
    users = list(node.users)
    return users[0] if len(users) == 1 else None
