"""The trees that a study shows, as tables of nodes, and the path of a sample through one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.models.networks import SoftTree
from kdviz.studies.tree.table import NODE_SCHEMA, NODES


def node_rows(tree: SoftTree, role: str, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of a tree in tree_nodes.parquet."""
    about = {"role": role, "depth": tree.depth, "seed": seed}
    weights, biases = tree.decisions.weight.detach().numpy(), tree.decisions.bias.detach().tolist()
    for node, bias in enumerate(biases):
        yield {**about, "node": node, "weights": weights[node], "bias": bias, "logits": None}
    for leaf, logits in enumerate(tree.leaves.detach().numpy(), len(biases)):
        yield {**about, "node": leaf, "weights": None, "bias": None, "logits": logits}


def write_nodes(experiment: Experiment, rows: list[dict[str, Any]]) -> None:
    """Replace tree_nodes.parquet."""
    # The bytes of a number compress better beside their like.
    columns = ["weights.list.element", "logits.list.element"]
    options: dict[str, Any] = {"use_byte_stream_split": columns, "use_dictionary": ["role"]}
    experiment.write_table_parts(NODES, NODE_SCHEMA, [pa.Table.from_pylist(rows, NODE_SCHEMA)], **options)


def tree_roles(experiment: Experiment) -> dict[tuple[str, int], int]:
    """(Role, depth) -> seed of each tree in tree_nodes.parquet; empty without the table."""
    if not experiment.has_table(NODES):
        return {}
    table = experiment.table(NODES, ["role", "depth", "seed"])
    rows = zip(table["role"].to_pylist(), table["depth"].to_pylist(), table["seed"].to_pylist(), strict=True)
    return {(role, depth): seed for role, depth, seed in rows}


def read_tree(experiment: Experiment, role: str, depth: int) -> SoftTree:
    """A tree of the study as a network in evaluation mode: (N, C, H, W) as the experiment's models take it, or features
    (N, width, 1, 1) -> logits (N, classes).

    It is explained like any model: ``kdviz.explain(experiment.with_model("tree", tree), ...)``.

    Raises:
        ExperimentError: There is no such tree, or the table is damaged.
    """
    rows = [row for row in _rows(experiment) if (row["role"], row["depth"]) == (role, depth)]
    inner = sorted((row for row in rows if row["weights"] is not None), key=lambda row: row["node"])
    leaves = sorted((row for row in rows if row["logits"] is not None), key=lambda row: row["node"])
    if not rows:
        raise ExperimentError(
            "'{folder}' keeps no tree of depth {depth} of the role '{role}'.",
            folder=experiment.folder,
            depth=depth,
            role=role,
        )
    sizes = {len(row["weights"]) for row in inner}, {len(row["logits"]) for row in leaves}
    if (len(inner), len(leaves)) != (2**depth - 1, 2**depth) or any(len(size) != 1 for size in sizes):
        raise ExperimentError("The trees of '{folder}' are damaged; make them anew.", folder=experiment.folder)
    width, classes = sizes[0].pop(), sizes[1].pop()
    tree = SoftTree(classes, width, (1, 1), depth)
    with torch.no_grad():
        tree.decisions.weight.copy_(torch.tensor([row["weights"] for row in inner]))
        tree.decisions.bias.copy_(torch.tensor([row["bias"] for row in inner]))
        tree.leaves.copy_(torch.tensor([row["logits"] for row in leaves]))
    return tree.eval().requires_grad_(False)


def _rows(experiment: Experiment) -> list[dict[str, Any]]:
    return experiment.table(NODES).to_pylist() if experiment.has_table(NODES) else []


# paths ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A decision on a sample's path.

    Attributes:
        node: Number of the inner node.
        right: Whether the path goes on to the right.
        probability: Probability of this branch, in [.5, 1] on the most probable path but where that of a whole
            subtree outweighs it.
    """

    node: int
    right: bool
    probability: float


@dataclass(frozen=True)
class Path:
    """The most probable path of a sample, and the tree's answer.

    Attributes:
        steps: Its decisions from the root.
        leaf: Number of its leaf among all nodes.
        probability: Path probability, the product of the steps'.
        leaf_class, leaf_share: The likeliest class of the leaf, and its probability there.
        answer, answer_share: The likeliest class of the mixture of all leaves, and its probability.
    """

    steps: tuple[Step, ...]
    leaf: int
    probability: float
    leaf_class: int
    leaf_share: float
    answer: int
    answer_share: float

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes of the path, the leaf last."""
        return (*(step.node for step in self.steps), self.leaf)

    @property
    def explains_answer(self) -> bool:
        """Whether its leaf says the tree's answer."""
        return self.leaf_class == self.answer


@torch.no_grad()
def path_of(tree: SoftTree, inputs: Tensor) -> Path:
    """The path of one sample, (1, ...) as the tree takes it."""
    scores = tree.scores(inputs)[0]
    paths = tree.path_probabilities(inputs)[0]
    leaf = int(paths.argmax())
    node, steps = 0, []
    for level in reversed(range(tree.depth)):
        right = bool(leaf >> level & 1)
        steps.append(Step(node, right, float((scores[node] if right else -scores[node]).sigmoid())))
        node = 2 * node + 1 + right
    at_leaf, mixture = tree.leaf_probabilities()[leaf], tree(inputs)[0].softmax(0)
    return Path(
        tuple(steps),
        node,
        float(paths[leaf]),
        int(at_leaf.argmax()),
        float(at_leaf.max()),
        int(mixture.argmax()),
        float(mixture.max()),
    )


def class_mixtures(tree: SoftTree, reach: np.ndarray | None = None) -> np.ndarray:
    """The distribution over the classes below each node, leaves last, float64 (nodes, classes).

    Args:
        tree: The tree.
        reach: Weight of each leaf, such as its mean path probability; None: equal ones.
    """
    leaves = tree.leaf_probabilities().double().numpy()
    weights = np.full(len(leaves), 1 / len(leaves)) if reach is None else np.asarray(reach, np.float64)
    levels = [leaves]
    sums, shares = leaves * weights[:, None], weights
    for _ in range(tree.depth):
        sums, shares = sums.reshape(-1, 2, sums.shape[1]).sum(1), shares.reshape(-1, 2).sum(1)
        levels.append(sums / np.maximum(shares, 1e-300)[:, None])
    return np.concatenate(levels[::-1])
