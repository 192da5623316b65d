"""The arrows between packages point one way: nothing low imports something high."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "edgesr": ROOT / "edgesr",
    "edgesr.export": ROOT / "export",
    "edgesr.quantize": ROOT / "quantize",
    "edgesr.benchmarks": ROOT / "benchmarks",
}
RANKS = {
    "edgesr.errors": 0,
    "edgesr.scales": 1,
    "edgesr.network": 1,
    "edgesr.allocator": 1,
    "edgesr.bfloat16": 1,
    "edgesr.lifeline": 1,
    "edgesr.processor": 1,
    "edgesr.manifest": 1,
    "edgesr.spelling": 2,
    "edgesr.graph": 2,
    "edgesr.data": 3,
    "edgesr.metrics": 3,
    "edgesr.models": 3,
    "edgesr.weights": 3,
    "edgesr.reach": 3,
    "edgesr.analysis": 3,
    "edgesr.train": 4,
    "edgesr.adapt": 4,
    "edgesr.collapse": 4,
    "edgesr.runtime": 5,
    "edgesr.targets": 5,
    "edgesr.quantize": 6,
    "edgesr.quantize.doctor": 9,
    "edgesr.quantize.plot": 9,
    "edgesr.export.lower": 6,
    "edgesr.export": 8,
    "edgesr.evaluate": 9,
    "edgesr.precisions": 9,
    "edgesr.recipes": 9,
    "edgesr.benchmarks": 10,
    "edgesr.benchmarks.fuzz": 11,
    "edgesr.design": 10,
    "edgesr.android": 11,
    "edgesr.cli": 11,
}


def rank(module: str) -> int | None:
    """Rank of the longest registered prefix of `module`."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        found = RANKS.get(".".join(parts[:length]))
        if found is not None:
            return found
    return None


def modules():
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            name = ".".join([package, *path.relative_to(folder).with_suffix("").parts])
            yield name.removesuffix(".__init__"), path


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: str(v).split("/")[-1])
def test_imports_point_downwards(name, path):
    own = rank(name)
    if own is None:  # the package's own __init__ names its parts lazily
        return
    for imported, line in imports(path):
        other = rank(imported)
        if imported.startswith("edgesr.") and other is not None:
            assert other <= own, f"{path.name}:{line}: {name} imports {imported}, which is higher"


def test_every_module_has_a_rank():
    unranked = [n for n, p in modules() if rank(n) is None and n not in ("edgesr", "edgesr.cli")]
    assert not unranked
