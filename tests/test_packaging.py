"""What pyproject says is what is there."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    found = set()
    for package, folder in folders.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert listed == found


def test_top_level_is_the_agreed_one():
    expected = {
        "pyproject.toml", "edgesr", "export", "quantize", "benchmarks", "tests", "android-demo",
        "docs", "README.md", "Makefile", "LICENSE",
    }  # fmt: skip
    ignored = {"out", "runs", "build", "dist", "__pycache__"}
    found = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    assert {n for n in found - ignored if not n.endswith(".egg-info")} == expected


def test_constraints_are_within_the_requirements():
    from importlib.metadata import version

    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, wanted = line.split("==")
            assert version(name).split("+")[0] == wanted
