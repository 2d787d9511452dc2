"""Soft decision trees and sparse linear classifiers: their arithmetic against second, differently written forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdviz.data import LabelledImages
from kdviz.distill import TrainingConfig, fit
from kdviz.distill.objectives.losses import distillation_loss
from kdviz.models.networks import DEPTHS, SoftTree, SparseLinear, build_network, networks, tree_name


def tree_of(depth=3, classes=4, **settings):
    """A tree of 2 x 3 pixels in float64, whose nodes differ."""
    torch.manual_seed(0)
    tree = SoftTree(classes, 1, (2, 3), depth, **settings).double()
    with torch.no_grad():
        tree.decisions.weight.normal_()
        tree.decisions.bias.normal_()
        tree.leaves.normal_(std=2)
    return tree


def walk(tree, pixels):
    """Leaf by leaf from the root, one number at a time: [(path probability, distribution)] of one sample."""
    weights, biases = tree.decisions.weight.detach().numpy(), tree.decisions.bias.detach().numpy()
    leaves = tree.leaves.detach().numpy()
    found = []

    def visit(node, probability):
        if node >= len(biases):
            values = [math.exp(value) for value in leaves[node - len(biases)]]
            found.append((probability, [value / sum(values) for value in values]))
            return
        score = tree.beta * (sum(w * x for w, x in zip(weights[node], pixels, strict=True)) + biases[node])
        right = 1 / (1 + math.exp(-score))
        visit(2 * node + 1, probability * (1 - right))
        visit(2 * node + 2, probability * right)

    visit(0, 1.0)
    return found


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_the_answer_is_the_mixture_of_all_leaves(beta):
    tree, inputs = tree_of(beta=beta).eval(), torch.randn(5, 1, 2, 3, dtype=torch.float64)
    answers, paths = tree(inputs).softmax(1).detach().numpy(), tree.path_probabilities(inputs).detach().numpy()
    for sample, pixels in enumerate(inputs.flatten(1).tolist()):
        leaves = walk(tree, pixels)
        np.testing.assert_allclose(paths[sample], [probability for probability, _ in leaves], rtol=1e-6)
        mixture = np.sum([probability * np.array(q) for probability, q in leaves], 0)
        np.testing.assert_allclose(answers[sample], mixture, rtol=1e-6)
        assert int(tree.path(inputs)[sample]) == int(np.argmax([probability for probability, _ in leaves]))


def cross_entropy_of_leaves(tree, inputs, targets, temperature=1.0):
    """The paper's: the mean over samples of sum_l P_l CE(target, Q_l), with leaves softened by a temperature."""
    loss = 0.0
    for pixels, target in zip(inputs.flatten(1).tolist(), targets.tolist(), strict=True):
        for probability, q in walk(tree, pixels):
            softened = [value ** (1 / temperature) for value in q]
            logs = [math.log(value / sum(softened)) for value in softened]
            loss -= probability * sum(t * value for t, value in zip(target, logs, strict=True)) / len(targets)
    return loss


def balance_of(tree, inputs):
    """The paper's penalty, of the branches' use in one batch."""
    balance, all_leaves = 0.0, [walk(tree, pixels) for pixels in inputs.flatten(1).tolist()]
    for level in range(tree.depth):
        width = 2 ** (tree.depth - level)  # leaves below a node of this level
        for node in range(2**level):
            below = range(node * width, (node + 1) * width)
            reach = sum(leaves[leaf][0] for leaves in all_leaves for leaf in below)
            right = sum(leaves[leaf][0] for leaves in all_leaves for leaf in below[width // 2 :])
            share = right / reach
            balance -= 2.0**-level * 0.5 * (math.log(share) + math.log(1 - share))
    return tree.balance * balance


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (4.0, 0.7), (2.0, 1.0)])
def test_loss_and_penalty_are_the_papers_criterion(temperature, alpha):
    # Its targets are the mean of labels and teacher: alpha .5 at T = 1, but for the entropy of the teacher's part.
    tree, inputs = tree_of().train(), torch.randn(6, 1, 2, 3, dtype=torch.float64)
    teacher, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 1, 0])
    for _ in range(40):  # the running means as after many batches like this one
        tree(inputs)
        tree.penalty()
    kd = distillation_loss(tree(inputs), teacher, labels, temperature=temperature, alpha=alpha)
    soft = (teacher / temperature).softmax(1)
    entropy = -float((soft * soft.log()).sum(1).mean())
    hard = cross_entropy_of_leaves(tree, inputs, F.one_hot(labels, 4).double())
    softened = cross_entropy_of_leaves(tree, inputs, soft, temperature) - entropy
    balance = balance_of(tree, inputs)
    expected = (1 - alpha) * hard + alpha * temperature**2 * softened + balance
    assert float(kd.detach() + tree.penalty(temperature, alpha).detach()) == pytest.approx(expected, rel=1e-4)
    assert balance > 0.05  # so that it is part of what was compared


def test_the_mean_use_of_a_branch_is_a_running_one_at_deeper_levels_only():
    tree = tree_of(depth=2)
    batches = torch.randn(2, 8, 1, 2, 3, dtype=torch.float64)
    for batch in batches:
        tree.train()(batch)
        tree.penalty()
    root = [np.mean([sum(p for p, _ in walk(tree, x)[2:]) for x in batch.flatten(1).tolist()]) for batch in batches]
    left = [np.mean([sum(p for p, _ in walk(tree, x)[:2]) for x in batch.flatten(1).tolist()]) for batch in batches]
    assert float(tree.turned_right[0]) == pytest.approx(root[1])
    assert float(tree.reached[1]) == pytest.approx(0.25 * left[0] + 0.5 * left[1])  # begins at 0, halves each time


def test_a_penalty_belongs_to_one_pass_in_training():
    tree, inputs = tree_of().train(), torch.randn(2, 1, 2, 3, dtype=torch.float64)
    tree(inputs)
    assert tree.penalty() > 0
    with pytest.raises(AssertionError, match="forward pass"):
        tree.penalty()
    tree.eval()(inputs)
    with pytest.raises(AssertionError, match="forward pass"):
        tree.penalty()


def test_registered_trees_have_the_depth_of_their_name():
    for depth in DEPTHS:
        tree = build_network(tree_name(depth), classes=3, channels=1, size=(4, 4))
        assert tree.depth == depth
        assert f"{depth} linear decisions" in (networks[tree_name(depth)].__doc__ or "")
    assert tree_name(8) == "soft_tree"


# sparse linear --------------------------------------------------------------------------------------------------------


def test_the_sparse_linear_classifier_solves_its_penalised_problem():
    # At the minimum of CE + penalty * sum |w| the gradient of CE is -penalty * sign(w), and within +-penalty at 0.
    torch.manual_seed(0)
    inputs, labels = torch.randn(60, 5, 1, 1), torch.randint(0, 3, (60,))
    network, penalty = SparseLinear(3, 5, penalty=0.05), 0.05
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(600):
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
        network.after_step(0.5)
    network.zero_grad()
    F.cross_entropy(network(inputs), labels).backward()
    weight, gradient = network.weight.detach(), network[1].weight.grad
    assert 0 < int((weight == 0).sum()) < weight.numel()
    torch.testing.assert_close(gradient[weight != 0], -penalty * weight[weight != 0].sign(), atol=1e-4, rtol=0)
    assert (gradient[weight == 0].abs() <= penalty + 1e-4).all()


# training -------------------------------------------------------------------------------------------------------------


def test_a_training_adds_the_networks_penalty_and_takes_its_own_step(small_digits):
    class Recorder(torch.nn.Linear):
        rates, penalties = [], 0

        def forward(self, images):
            return super().forward(images.flatten(1))

        def penalty(self, temperature, alpha):
            assert alpha == 0  # there is no teacher
            self.penalties += 1
            return 1000 + 0 * self.weight.sum()

        def after_step(self, learning_rate):
            self.rates.append(learning_rate)

    few = small_digits.take(torch.arange(8))
    samples = LabelledImages(few.images, few.labels, few.classes, "train")
    network = Recorder(196, 10)
    config = TrainingConfig(epochs=1, batch_size=4, learning_rate=0.01, bf16="off")
    end = list(fit(network, samples, samples, lambda pixels: pixels.float() / 255, config))[-1]
    assert network.penalties == 2
    assert network.rates == [0.01, 0.01]
    assert end.loss > 1000
