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
from kdviz.core.files import rows_where
from kdviz.core.vocabulary import Role
from kdviz.distill.objectives.layers import INPUT, FeatureHook, head_of
from kdviz.experiment import Experiment
from kdviz.models.networks import SoftTree
from kdviz.studies.tree.table import NAME, NODE_SCHEMA, NODES


def node_rows(tree: SoftTree, role: str, seed: int, shares: np.ndarray) -> Iterator[dict[str, Any]]:
    """The rows of a tree in tree_nodes.parquet; ``shares`` are those of the samples at its leaves, (leaves,)."""
    about = {"role": role, "depth": tree.depth, "seed": seed}
    weights, biases = tree.decisions.weight.detach().numpy(), tree.decisions.bias.detach().tolist()
    logits = tree.leaves.detach().numpy()
    for node, share in enumerate(node_shares(shares)):
        leaf = node - len(biases)
        inner = {"weights": weights[node], "bias": biases[node], "logits": None} if leaf < 0 else {}
        yield {**about, "node": node, "share": share, **(inner or {"weights": None, "logits": logits[leaf]})}


def node_shares(leaves: np.ndarray) -> np.ndarray:
    """The share at each node, by level from the root, from those at the leaves: (nodes,)."""
    levels = [np.asarray(leaves, np.float64)]
    while len(levels[-1]) > 1:
        levels.append(levels[-1].reshape(-1, 2).sum(1))
    return np.concatenate(levels[::-1])


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


@dataclass(frozen=True)
class ShownTree:
    """A tree of a study, to be looked at.

    Attributes:
        network: The tree in evaluation mode: (N, C, H, W) as the experiment's models take it, or features
            (N, width, 1, 1), -> logits (N, classes). It is explained like any model:
            ``kdviz.explain(experiment.with_model("tree", network), ...)``.
        role: ``kd_student`` or ``student``.
        seed: Seed of its training.
        shares: Share of the test samples whose most probable path goes through each node, float64 (nodes,).
    """

    network: SoftTree
    role: str
    seed: int
    shares: np.ndarray

    @property
    def depth(self) -> int:
        return self.network.depth

    def mixtures(self) -> np.ndarray:
        """The distribution over the classes below each node, its leaves weighted by their shares, (nodes, classes)."""
        leaves = self.network.leaf_probabilities().double().numpy()
        weights = self.shares[-len(leaves) :] + 1e-9  # also where no sample comes
        sums, totals = [leaves * weights[:, None]], [weights]
        for _ in range(self.depth):
            sums.append(sums[-1].reshape(-1, 2, leaves.shape[1]).sum(1))
            totals.append(totals[-1].reshape(-1, 2).sum(1))
        return np.concatenate(sums[::-1]) / np.concatenate(totals[::-1])[:, None]


def read_tree(experiment: Experiment, role: str, depth: int) -> ShownTree:
    """A tree of a study.

    Raises:
        ExperimentError: There is no such tree, or the table is damaged.
    """
    rows = [row for row in _rows(experiment) if (row["role"], row["depth"]) == (role, depth)]
    if not rows:
        raise ExperimentError(
            "'{folder}' keeps no tree of depth {depth} of the role '{role}'.",
            folder=experiment.folder,
            depth=depth,
            role=role,
        )
    rows.sort(key=lambda row: row["node"])
    inner, leaves = rows[: 2**depth - 1], rows[2**depth - 1 :]
    try:
        weights, biases = (torch.tensor([row[name] for row in inner]) for name in ("weights", "bias"))
        logits = torch.tensor([row["logits"] for row in leaves])
        tree = SoftTree(logits.shape[1], weights.shape[1], (1, 1), depth)
        state = {"decisions.weight": weights, "decisions.bias": biases, "leaves": logits}
        tree.load_state_dict({**tree.state_dict(), **state})
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ExperimentError(
            "The trees of '{folder}' are damaged; make them anew.", folder=experiment.folder
        ) from error
    shares = np.array([row["share"] for row in rows], np.float64)
    return ShownTree(tree.eval().requires_grad_(False), role, rows[0]["seed"], shares)


def _rows(experiment: Experiment) -> list[dict[str, Any]]:
    return experiment.table(NODES).to_pylist() if experiment.has_table(NODES) else []


def tree_answers(experiment: Experiment, split: str) -> dict[tuple[str, int], np.ndarray]:
    """(Role, depth) -> classes that each tree of tree_nodes.parquet gives a split's samples, int64 (N,).

    Of the teacher, with depth 0, too. Empty where the split was not measured.
    """
    if not experiment.has_table(NAME):
        return {}
    seeds = tree_roles(experiment)
    table = rows_where(experiment.table(NAME, ["role", "depth", "seed", "split", "predicted"]), "split", split)
    answers = {}
    for row in table.to_pylist():
        key = row["role"], row["depth"] or 0
        if row["predicted"] and (key[0] == Role.TEACHER or seeds.get(key, -1) == row["seed"]):
            answers[key] = np.array(row["predicted"], np.int64)
    return answers


def tree_inputs(experiment: Experiment, backbone: str, inputs: Tensor) -> Tensor:
    """What the trees take of the models' input (N, C, H, W): the same, or the features of a role, (N, width, 1, 1)."""
    if not backbone:
        return inputs
    model = experiment.runs[backbone].model
    head, _ = head_of(model, inputs)
    with FeatureHook(model, [head + INPUT]) as hook, torch.no_grad():
        model(inputs)
        return hook.take()[0].flatten(1).float()[:, :, None, None]


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
