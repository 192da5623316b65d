"""The winner as a recipe: trained as plain-m-x3 is, exported for the device of the search."""

from __future__ import annotations

from edgesr.recipes import shipped_text

MODEL = "plain-m-x3"
"""The shipped recipe whose stages are taken."""


def recipe_text(network: str, why: str, *, target: str, shape: tuple[int, int]) -> str:
    """TOML for `edgesr train`.

    Args:
        network: registry name.
        why: what was found; becomes the comment at the top.
        target: of `edgesr.targets`.
        shape: height and width of the low-resolution input.
    """
    stages = shipped_text(MODEL).partition("[stage.")
    training = (stages[1] + stages[2]).partition("[export]")[0]
    comment = "".join(f"# {line}\n" for line in why.splitlines())
    size = f"{shape[0]}x{shape[1]}"
    return (
        f'{comment}network = "{network}"\n\n{training}[export]\ntarget = "{target}"\n'
        f'shape = "{size}"\n'
    )
