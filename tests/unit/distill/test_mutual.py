"""Mutual learning: the loss of Zhang et al. (2018), and a training of several networks as a plain loop does it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdviz.distill import TrainingConfig, distillation_loss
from kdviz.distill.storage.run_files import new_network
from kdviz.distill.teaching.mutual import fit_together
from kdviz.experiment import InputSpec

SPEC = InputSpec(size=(14, 14), channels=1, mean=(0.2,), std=(0.5,))
CONFIG = TrainingConfig(
    epochs=2, batch_size=40, temperature=1.0, optimizer="sgd", learning_rate=0.02, device="cpu", bf16="off"
)


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("peers", [1, 2, 4])
def test_the_gradient_is_half_that_of_equation_7(peers):
    """CE + mean_l KL(p_l || p_k): summed by hand, with its gradient p - onehot + p - mean of p_l."""
    student, others = logits(0, 6, 5).requires_grad_(), logits(1, peers, 6, 5)
    labels = torch.arange(6) % 5
    loss = distillation_loss(student, others[0] if peers == 1 else others, labels, temperature=1.0, alpha=0.5)
    loss.backward()
    p, q = student.detach().exp(), others.exp()
    p, q = p / p.sum(1, keepdim=True), q / q.sum(2, keepdim=True)
    onehot = torch.eye(5, dtype=torch.float64)[labels]
    expected = (2 * p - onehot - q.mean(0)) / 6
    torch.testing.assert_close(2 * student.grad, expected, rtol=0, atol=1e-6)
    # The value differs by what does not depend on the student: how far the peers are from their mean.
    equation = -(onehot * p.log()).sum(1).mean() + (q * (q.log() - p.log())).sum(2).mean()
    among_peers = (q * (q.log() - q.mean(0).log())).sum(2).mean()
    torch.testing.assert_close(2 * loss.detach(), equation - among_peers, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def few(small_digits):
    return small_digits.take(torch.arange(120)), small_digits.take(torch.arange(120, 150))


def networks(*names: str) -> list[nn.Module]:
    return [new_network(name, SPEC, 10, seed) for seed, name in enumerate(names)]


class Memory:
    """A checkpoint that keeps the joint state of one epoch, as a file would."""

    def __init__(self, keep: int):
        self.keep, self.state = keep, None

    def load(self):
        return copy.deepcopy(self.state)

    def save(self, state):
        if state["epoch"] == self.keep:
            self.state = copy.deepcopy(state)


def trained(cohort, few, config=CONFIG, checkpoint=None):
    progress = list(fit_together(cohort, *few, SPEC.normalise, [config] * len(cohort), checkpoint=checkpoint))
    return progress, [network.state_dict() for network in cohort]


def plain_loop(cohort, few, config):
    """The same without kdviz's training: one batch after the other, each network in turn, then the best epoch's."""
    train, validation = few
    inputs, held_out = SPEC.normalise(train.images), SPEC.normalise(validation.images)
    optimizers = [
        torch.optim.SGD(network.parameters(), lr=config.learning_rate, momentum=0.9, nesterov=True)
        for network in cohort
    ]
    best = [(-1.0, {})] * len(cohort)
    for epoch in range(1, config.epochs + 1):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(config.seed * 100_003 + epoch))
        for start in range(0, len(train), config.batch_size):
            batch = order[start : start + config.batch_size]
            for k, network in enumerate(cohort):
                with torch.no_grad():
                    said = torch.stack(
                        [F.softmax(other(inputs[batch]), 1) for j, other in enumerate(cohort) if j != k]
                    ).mean(0)
                own = F.log_softmax(network(inputs[batch]), 1)
                hard = -own[torch.arange(len(batch)), train.labels[batch]].mean()
                soft = (torch.xlogy(said, said) - said * own).sum(1).mean()
                optimizers[k].zero_grad()
                (0.5 * hard + 0.5 * soft).backward()
                optimizers[k].step()
        for k, network in enumerate(cohort):
            accuracy = float((network(held_out).argmax(1) == validation.labels).float().mean())
            if accuracy > best[k][0]:
                best[k] = accuracy, copy.deepcopy(network.state_dict())
    return [state for _, state in best]


@pytest.mark.parametrize("names", [("paper_fc", "paper_fc"), ("paper_fc", "paper_fc", "paper_fc")], ids=len)
def test_it_trains_as_a_plain_loop_does(few, names):
    _, weights = trained(networks(*names), few)
    expected = plain_loop(networks(*names), few, CONFIG)
    for ours, theirs in zip(weights, expected, strict=True):
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)


def test_peers_make_a_difference_and_are_left_in_their_modes(few):
    cohort = networks("paper_fc", "paper_cnn")
    progress, together = trained(cohort, few)
    _, alone = trained(networks("paper_fc", "paper_fc"), few)
    assert not torch.equal(together[0]["1.weight"], alone[0]["1.weight"])
    assert all(len(each) == 2 for each in progress)
    assert not any(each.warnings for both in progress for each in both)
    assert not any(network.training for network in cohort)


def test_a_peer_is_asked_without_gradient_and_without_dropout(few):
    cohort, asked = networks("paper_fc", "paper_cnn"), []
    cohort[1].register_forward_hook(lambda network, *_: asked.append((torch.is_grad_enabled(), network.training)))
    trained(cohort, few)
    assert set(asked) == {(True, True), (False, False)}
    assert asked.count((True, True)) == 2 * 3


def test_an_interrupted_cohort_ends_with_the_same_weights(few):
    """With dropout, and Adam's moments, after an epoch that both have ended."""
    config = TrainingConfig(epochs=3, batch_size=40, device="cpu", bf16="off")
    memory = Memory(keep=2)
    first, weights = trained(networks("paper_fc", "paper_cnn"), few, config, memory)
    again, resumed = trained(networks("paper_fc", "paper_cnn"), few, config, memory)
    assert len(again) == len(first) - 2 * 3  # the steps of two epochs of 3 are not done again; their ends are said
    for ours, theirs in zip(weights, resumed, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_saved_is_of_one_epoch(few):
    """Between the ends of an epoch of the first and the last network nothing is written."""
    saved = []

    class Written(Memory):
        def save(self, state):
            saved.append((state["epoch"], [part["epoch"] for part in state["parts"]]))

    trained(networks("paper_fc", "paper_fc"), few, checkpoint=Written(keep=0))
    assert saved == [(1, [1, 1]), (2, [2, 2])]
