"""Colours of the page and its charts, light and dark: one list for both kinds of output."""

from __future__ import annotations

import re
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"

LIGHT = {
    "page": "#f6f7f9", "card": "#ffffff", "ink": "#16191d", "soft": "#56606c", "line": "#d5dae1",
    "grid": "#e6e9ee", "code": "#eef1f4", "accent": "#1f5fae", "shade": "#0b14221f",
    "bad": "#b3261e", "warn": "#7a4f00", "good": "#1b6e3c",
    "bad-wash": "#fbe9e7", "warn-wash": "#fdf1dc", "good-wash": "#e4f3ea",
    "c0": "#2563b0", "c1": "#b4560b", "c2": "#0b766e", "c3": "#9c27b0", "c4": "#55700f",
    "c5": "#b91c4b",
}  # fmt: skip
DARK = {
    "page": "#12151a", "card": "#1b2027", "ink": "#e7eaee", "soft": "#a3adb9", "line": "#353d48",
    "grid": "#2a313a", "code": "#262d36", "accent": "#82b6f2", "shade": "#00000073",
    "bad": "#ff8a80", "warn": "#f4bf6a", "good": "#7fd6a0",
    "bad-wash": "#3a1f1e", "warn-wash": "#362a14", "good-wash": "#16301f",
    "c0": "#7ab3f5", "c1": "#f0a35a", "c2": "#4fd1c0", "c3": "#e09af0", "c4": "#b5cf5e",
    "c5": "#ff92b0",
}  # fmt: skip
SERIES = 6
"""Colours that tell series apart; more series share them and differ by name."""


def variables(colours: dict[str, str]) -> str:
    """As CSS custom properties."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def chart_style() -> str:
    """CSS of the charts, in terms of the variables."""
    return (TEMPLATES / "chart.css").read_text(encoding="utf-8")


def standalone(svg: str, colours: dict[str, str] = LIGHT) -> str:
    """A chart as a file of its own: style inside, colours filled in, a background behind it.

    Variables are replaced, since few viewers of SVG files know them.
    """
    style = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found.group(1)], chart_style())
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    width, height = size.groups()
    head, body = svg.split(">", 1)
    head = f'{head} width="{width}" height="{height}"'
    background = f'<rect width="100%" height="100%" fill="{colours["card"]}"/>'
    return f"{head}><style>{style}</style>{background}{body}\n"
