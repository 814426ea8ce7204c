"""Training: videos in, a checkpoint out."""

from vcodec.training.recipe import Recipe, load_recipe, recipe_names
from vcodec.training.run import run

__all__ = ["Recipe", "load_recipe", "recipe_names", "run"]
