"""Recipes: short TOML files that turn photos into weights, and weights into a phone model.

    recipe = read("ncnet-x3", data=["photos"])
    outcome = run(recipe, Path("runs/ncnet-x3"))

The shipped ones lie beside this file.
"""

from edgesr.recipes.reading import read, shipped, shipped_text
from edgesr.recipes.running import Outcome, run
from edgesr.recipes.schema import Recipe

__all__ = ["Outcome", "Recipe", "read", "run", "shipped", "shipped_text"]
