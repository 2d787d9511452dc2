"""The paper's MNIST study, trained in the usual way and by kdviz."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from kdviz.bench.rows import Measurement
from kdviz.bench.steps import explanation_costs, teaching_costs
from kdviz.core.devices import choose_device
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages, bundled_digits, mnist
from kdviz.distill import MNIST_INPUT, TrainingConfig, fit, predict_logits
from kdviz.distill.storage.run_files import new_network

TEMPERATURES = (1.0, 4.0, 16.0, 64.0)


def bench_train(
    device: str, quick: bool = False, data: str | None = None, epochs: int | None = None
) -> Iterator[Measurement]:
    """Time the whole study of the paper (a teacher, a student alone, one distilled at each of four temperatures).

    The usual way has a DataLoader, float32, and the teacher evaluated in each step. Both ways train the same
    networks with the same recipe for the same number of epochs, one after the other, part by part. Then the student's
    epoch with each loss between explanations, with a learned temperature and with a peer is timed against one without.

    Args:
        device: A torch device, or ``auto``.
        quick: Train on 4,000 of the bundled digits for two epochs.
        data: Folder of MNIST; None downloads it. Not used when quick.
        epochs: Epochs of each training; default: 2 when quick, else the paper's 12.
    """
    splits = _few_digits() if quick else mnist(data)
    config = TrainingConfig(epochs=epochs or (2 if quick else 12), device=device)
    usual, ours = _UsualWay(splits, config), _OurWay(splits, config)
    seconds: dict[str, list[float]] = {}
    accuracy: dict[str, list[float]] = {}
    for part, temperature in ((Role.TEACHER, None), ("alone", None), *((f"T = {t:g}", t) for t in TEMPERATURES)):
        for way in (usual, ours):
            start = time.monotonic()
            network = way.train(part, temperature)
            seconds.setdefault(part, []).append(time.monotonic() - start)
            accuracy.setdefault(part, []).append(_accuracy(network, splits[Split.TEST], device))
    totals = [sum(pair[way] for pair in seconds.values()) for way in (0, 1)]
    details = {"epochs": config.epochs, "train_samples": len(splits[Split.TRAIN])}
    yield Measurement(
        "speed_ratio",
        "the paper's MNIST study: usual loop / kdviz",
        totals[0] / totals[1],
        "x",
        {"usual_seconds": totals[0], "kdviz_seconds": totals[1], **details},
    )
    for part, (slow, fast) in seconds.items():
        yield Measurement(
            f"speed_{_key(part)}", f"{part}: usual loop / kdviz", slow / fast, "x", {"kdviz_seconds": fast}
        )
    assert ours.teacher is not None
    assert ours.teacher_logits is not None
    yield from explanation_costs(splits, config, ours.teacher, ours.teacher_logits)
    yield from teaching_costs(splits, config, ours.teacher, ours.teacher_logits)
    students = [pair for part, pair in accuracy.items() if part != Role.TEACHER]
    names = {"teacher": [accuracy[Role.TEACHER]], "students": students}
    for name, pairs in names.items():
        usual_mean, our_mean = (sum(pair[way] for pair in pairs) / len(pairs) for way in (0, 1))
        yield Measurement(
            f"accuracy_difference_{name}",
            f"test accuracy of the {name}: kdviz - usual loop",
            100 * (our_mean - usual_mean),
            "points",
            {"usual": usual_mean, "kdviz": our_mean},
        )


def _key(part: str) -> str:
    return part.replace(" = ", "").lower()


def _few_digits() -> dict[str, LabelledImages]:
    digits = bundled_digits()[Split.BUNDLED]
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    indices = {Split.TRAIN: order[:4000], Split.VALIDATION: order[4000:4500], Split.TEST: order[4500:]}
    return {name: digits.take(index, name) for name, index in indices.items()}


def _accuracy(network: nn.Module, samples: LabelledImages, device: str) -> float:
    logits = predict_logits(network, samples, MNIST_INPUT.normalise, device=device)
    return float((logits.argmax(1) == samples.labels).float().mean())


def _fresh(part: str, config: TrainingConfig) -> nn.Module:
    return new_network("paper_cnn" if part == Role.TEACHER else "paper_fc", MNIST_INPUT, 10, config.seed)


class _OurWay:
    """kdviz's training: the data in memory, bfloat16 where it is fast, and the teacher's logits computed once."""

    def __init__(self, splits: dict[str, LabelledImages], config: TrainingConfig):
        self._splits, self._config = splits, config
        self.teacher: nn.Module | None = None
        self.teacher_logits: Tensor | None = None

    def train(self, part: str, temperature: float | None) -> nn.Module:
        network = _fresh(part, self._config)
        config = self._config if temperature is None else replace(self._config, temperature=temperature)
        soft = None if temperature is None else self.teacher_logits
        for _ in fit(
            network, self._splits[Split.TRAIN], self._splits[Split.VALIDATION], MNIST_INPUT.normalise, config, soft
        ):
            pass
        if part == Role.TEACHER:
            self.teacher = network
            self.teacher_logits = predict_logits(
                network, self._splits[Split.TRAIN], MNIST_INPUT.normalise, device=config.device, bf16=config.bf16
            )
        return network


class _Pictures(Dataset[tuple[Tensor, int]]):
    """A data set like torchvision's: pictures, converted to tensors on access, with their labels."""

    def __init__(self, samples: LabelledImages):
        self._samples, self._transform = samples, ToTensor()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._samples.picture(index)), int(self._samples.labels[index])


class _UsualWay:
    """The loop of most tutorials: DataLoader, float32, the teacher in each step."""

    def __init__(self, splits: dict[str, LabelledImages], config: TrainingConfig):
        self._splits, self._config = splits, config
        self._device = choose_device(config.device)
        self._teacher: nn.Module | None = None

    def train(self, part: str, temperature: float | None) -> nn.Module:
        network = _fresh(part, self._config).to(self._device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self._config.learning_rate)
        torch.manual_seed(self._config.seed)
        loader = DataLoader(_Pictures(self._splits[Split.TRAIN]), batch_size=self._config.batch_size, shuffle=True)
        validation = DataLoader(_Pictures(self._splits[Split.VALIDATION]), batch_size=500)
        best, state = -1.0, copy.deepcopy(network.state_dict())
        for _ in range(self._config.epochs):
            network.train()
            for images, labels in loader:
                loss = self._loss(network, images.to(self._device), labels.to(self._device), temperature)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            accuracy = self._validation_accuracy(network, validation)
            if accuracy > best:
                best, state = accuracy, copy.deepcopy(network.state_dict())
        network.load_state_dict(state)
        network.eval()
        if part == Role.TEACHER:
            self._teacher = network
        return network

    def _loss(self, network: nn.Module, images: Tensor, labels: Tensor, temperature: float | None) -> Tensor:
        logits = network(images)
        if temperature is None or self._teacher is None:
            return F.cross_entropy(logits, labels)
        with torch.no_grad():
            teacher_logits = self._teacher(images)
        soft = F.kl_div(
            F.log_softmax(logits / temperature, 1), F.softmax(teacher_logits / temperature, 1), reduction="batchmean"
        )
        alpha = float(self._config.alpha)
        return (1 - alpha) * F.cross_entropy(logits, labels) + alpha * temperature**2 * soft

    @torch.no_grad()
    def _validation_accuracy(self, network: nn.Module, loader: DataLoader) -> float:
        network.eval()
        correct = [(network(images.to(self._device)).argmax(1).cpu() == labels).float() for images, labels in loader]
        return float(torch.cat(correct).mean())
