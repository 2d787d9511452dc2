"""Figures of a study of trees."""

from kdviz.figures.tree.depth import accuracy_against_depth, tree_title
from kdviz.figures.tree.weights import weight_picture

__all__ = ["accuracy_against_depth", "tree_title", "weight_picture"]
