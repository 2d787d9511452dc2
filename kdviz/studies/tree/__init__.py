"""Soft decision trees with and without the experiment's teacher: accuracy against depth, and what nodes learned."""

from kdviz.studies.tree.nodes import ShownTree, path_of, read_tree, tree_answers, tree_inputs, tree_roles
from kdviz.studies.tree.report import TreeReport, read_tree_report
from kdviz.studies.tree.study import TreeStudy

__all__ = [
    "ShownTree",
    "TreeReport",
    "TreeStudy",
    "path_of",
    "read_tree",
    "read_tree_report",
    "tree_answers",
    "tree_inputs",
    "tree_roles",
]
