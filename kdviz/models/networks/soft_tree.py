"""Soft decision trees, which explain an answer by a path: N. Frosst and G. Hinton (2017, arXiv:1711.09784)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdviz.models.networks.registry import networks

DEPTH = 8
"""Decisions on a path of ``soft_tree``, as in the paper's experiments on MNIST."""

DEPTHS = (2, 4, 6, DEPTH)
"""The depths of the registered trees: ``soft_tree`` and ``soft_tree_<depth>``."""

BALANCE = 0.1
"""Weight of the balance penalty at the root (section 3.1)."""

_LEAST = 1e-6  # a share that a penalty takes the logarithm of


class SoftTree(nn.Module):
    """A complete binary tree of linear decisions with a distribution over the classes at each leaf.

    An inner node i takes the right branch with probability p_i(x) = sigmoid(beta (x w_i + b_i)); the path probability
    P_l(x) of a leaf l is the product along its path, and Q_l = softmax(phi_l) its distribution (section 2). Nodes are
    numbered by level from the root, 0; the children of node i are 2 i + 1 (left) and 2 i + 2 (right).

    In evaluation mode the network answers with the mixture of all leaves, log sum_l P_l(x) Q_l, whose softmax is the
    mixture itself. The paper names two answers, this one and that of the leaf with the greatest path probability; the
    mixture is continuous in the input, which gradients, RISE and a temperature need. :meth:`path` is the other one,
    which the explanation shows; studies report both.

    The training criterion is sum_l P_l(x) CE(targets, Q_l) with balanced branches (section 3). In training mode the
    network returns s = sum_l P_l(x) log Q_l instead of logits of the mixture: since softmax only takes a constant
    from s, cross entropy with any targets plus -log sum_k exp(s_k) is that criterion. The second term and the balance
    are :meth:`penalty`, which a training adds to its loss. So every loss against a teacher works with a tree; the
    paper's criterion is ``soft_targets`` at T = 1 and alpha = .5. At another T it is that of leaves softmax(phi_l / T).

    (N, C, H, W) -> logits (N, classes).

    Args:
        classes: Number of classes.
        channels: Number of input channels.
        size: Height and width of the input.
        depth: Decisions on a path, >= 1; there are 2^depth leaves.
        beta: Inverse temperature of the decisions, > 0: the higher, the harder.
        balance: Weight of the balance penalty at the root, >= 0; it halves with each level.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: tuple[int, int] = (28, 28),
        depth: int = DEPTH,
        beta: float = 1.0,
        balance: float = BALANCE,
    ):
        super().__init__()
        self.depth, self.beta, self.balance = depth, beta, balance
        self.decisions = nn.Linear(channels * size[0] * size[1], 2**depth - 1)
        # The leaves break the symmetry, so that inputs which never differ from 0 keep a weight of 0.
        nn.init.zeros_(self.decisions.weight)
        nn.init.zeros_(self.decisions.bias)
        self.leaves = nn.Parameter(0.1 * torch.randn(2**depth, classes))
        shares = [2.0**-level for level in range(depth) for _ in range(2**level)]
        self.register_buffer("_shares", torch.tensor(shares), persistent=False)
        # Running means of the probability to reach a node, and to go right there.
        self.register_buffer("reached", torch.zeros(2**depth - 1))
        self.register_buffer("turned_right", torch.zeros(2**depth - 1))
        self._last: tuple[Tensor, list[Tensor]] | None = None

    _shares: Tensor
    reached: Tensor
    turned_right: Tensor

    def forward(self, images: Tensor) -> Tensor:
        right = self.scores(images).sigmoid()
        with torch.autocast(images.device.type, enabled=False):  # products of probabilities need float32
            levels = self._reached(right)
            if not self.training:
                mixture = levels[-1] @ self.leaf_probabilities()  # (N, classes)
                return mixture.clamp(min=torch.finfo(mixture.dtype).tiny).log()
            self._last = (right, levels) if torch.is_grad_enabled() else None
            return levels[-1] @ self.leaves.log_softmax(1)

    def penalty(self, temperature: float = 1.0, alpha: float = 0.0) -> Tensor:
        """What the training criterion has beside the loss of the logits, for the last batch; it is taken once.

        Args:
            temperature, alpha: Those of the distillation, whose loss has the factor T^2; alpha is 0 without a teacher.
        """
        last, self._last = self._last, None
        assert last is not None, "a penalty belongs to a forward pass in training mode"
        right, levels = last
        penalty = self._imbalance(right, levels)
        for weight, divisor in ((1 - alpha, 1.0), (alpha * temperature**2, temperature)):
            if weight:
                penalty = penalty + weight * self._disagreement(levels[-1], divisor)
        return penalty

    def scores(self, images: Tensor) -> Tensor:
        """The scores beta (x w_i + b_i) of inner nodes, float32 (N, nodes): above 0 the right branch is likelier."""
        return self.beta * self.decisions(images.flatten(1)).to(self.decisions.weight.dtype)

    def path_probabilities(self, images: Tensor) -> Tensor:
        """P of every leaf, float32 (N, leaves), from left to right; each row sums to 1."""
        return self._reached(self.scores(images).sigmoid())[-1]

    def leaf_probabilities(self) -> Tensor:
        """Q of every leaf, float32 (leaves, classes); each row sums to 1."""
        return self.leaves.softmax(1)

    def path(self, images: Tensor) -> Tensor:
        """The leaf with the greatest path probability of each sample, int64 (N,), from left to right."""
        return self.path_probabilities(images).argmax(1)

    def _reached(self, right: Tensor) -> list[Tensor]:
        """The probabilities to reach the nodes of each level, (N, 2^level), the leaves last."""
        levels = [right.new_ones(len(right), 1)]
        for level in range(self.depth):
            to_right = levels[-1] * right[:, 2**level - 1 : 2 ** (level + 1) - 1]
            levels.append(torch.stack([levels[-1] - to_right, to_right], 2).flatten(1))
        return levels

    def _disagreement(self, paths: Tensor, temperature: float) -> Tensor:
        """-log sum_k exp(s_k), mean over the batch: >= 0, and 0 where the leaves that share a sample agree."""
        return -(paths @ (self.leaves / temperature).log_softmax(1)).logsumexp(1).mean()

    def _imbalance(self, right: Tensor, levels: list[Tensor]) -> Tensor:
        """Cross entropy of (.5, .5) and each node's mean use of its branches, weighted by 2^-level (equations 4, 5).

        The mean is a running one, over more batches at deeper levels, which fewer samples reach (section 3.1).
        """
        reach = torch.cat(levels[:-1], 1)
        reached = self._running(self.reached, reach.mean(0))
        turned_right = self._running(self.turned_right, (reach * right).mean(0))
        share = (turned_right / reached.clamp(min=_LEAST)).clamp(_LEAST, 1 - _LEAST)
        entropies = -0.5 * (share.log() + (1 - share).log())
        return self.balance * (self._shares * entropies).sum()

    def _running(self, buffer: Tensor, value: Tensor) -> Tensor:
        """The exponential mean over about 2^level batches; the gradient is that of the newest."""
        mean = buffer * (1 - self._shares) + value * self._shares
        buffer.copy_(mean.detach())
        return mean


def tree_name(depth: int) -> str:
    """The name of the registered tree of a depth; of another depth, a name that is unknown."""
    return "soft_tree" if depth == DEPTH else f"soft_tree_{depth}"


def _of_depth(depth: int) -> Callable[..., SoftTree]:
    def tree(classes: int = 10, channels: int = 1, size: tuple[int, int] = (28, 28)) -> SoftTree:
        return SoftTree(classes, channels, size, depth)

    tree.__doc__ = (
        f"A soft decision tree, which explains an answer by {depth} linear decisions (Frosst & Hinton, 2017)."
    )
    return tree


for _depth in DEPTHS:
    networks.add(tree_name(_depth), _of_depth(_depth))
