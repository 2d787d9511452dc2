"""Pictures by a generator that is trained against the teacher alone."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from kdviz.distill.objectives.layers import INPUT, FeatureHook, head_of
from kdviz.distill.random_state import with_own_random_state
from kdviz.distill.training import TrainingProgress
from kdviz.distill.transfer_sets.generator import NOISE, PictureGenerator
from kdviz.distill.transfer_sets.inversion import (
    activation_loss,
    disagreement,
    information_entropy_loss,
    one_hot_loss,
)
from kdviz.distill.transfer_sets.registry import TransferTask, register_transfer_set

ACTIVATION, ENTROPY, ADVERSARIAL = 0.1, 5.0, 1.0
"""Weights of the losses beside the one-hot loss: the first two as Chen et al. (2019) have them for MNIST."""

BATCH = 128
GENERATOR_RATE, STUDENT_RATE = 5e-3, 1e-3
"""Learning rates of Adam."""
STUDENT_STEPS = 5
"""Steps of the student for each step of the generator, as Fang et al. (2019) take them."""
FEWEST_STEPS = 400


@register_transfer_set("generated", is_trained=True)
def generated(task: TransferTask) -> Generator[TrainingProgress, None, Tensor]:
    """By a generator that the teacher's answers train, and a student that disagrees (Chen et al., Fang et al., 2019).

    The pictures of the training are kept, not those of its end alone (Fang et al., 2021, "Contrastive model inversion",
    section 3.3): a generator that moves on forgets what it drew before. Where more are drawn than are asked for, each
    new batch takes the place of a random one.
    """
    game = _Game(task)
    yield from with_own_random_state(game.steps(), torch.device(task.device))
    return game.pictures(task.count)


class _Game:
    """A generator that seeks pictures on which a student disagrees with the teacher, and that student."""

    def __init__(self, task: TransferTask):
        self._task, self._teacher = task, task.teacher
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(task.seed)
            generator = PictureGenerator(task.spec.channels, task.spec.size)
        self._generator = generator.to(task.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._student = task.student().to(task.device).train()
        self._generator_optimizer = torch.optim.Adam(self._generator.parameters(), GENERATOR_RATE)
        self._student_optimizer = torch.optim.Adam(self._student.parameters(), STUDENT_RATE)
        self._random = torch.Generator().manual_seed(task.seed)
        self._kept: list[tuple[Tensor, Tensor]] = []  # uint8 pictures, and the teacher's logits of them

    def steps(self) -> Iterator[TrainingProgress]:
        """Train both; each step keeps its pictures."""
        torch.default_generator.manual_seed(self._task.seed)  # of the student's dropout
        count = self._task.steps or max(FEWEST_STEPS, math.ceil(self._task.count / BATCH))
        batches = max(FEWEST_STEPS, math.ceil(self._task.count / BATCH))
        head, _ = head_of(self._teacher, self._inputs(torch.zeros(2, self._task.spec.channels, *self._task.spec.size)))
        with FeatureHook(self._teacher, [head + INPUT]) as hook:
            for step in range(1, count + 1):
                newest = self._draw(hook)
                if len(self._kept) < batches:
                    self._kept.append(newest)
                else:
                    self._kept[self._any()] = newest
                self._teach(*newest)
                for _ in range(STUDENT_STEPS - 1):
                    self._teach(*self._kept[self._any()])
                yield TrainingProgress(1, 1, step, count)

    def pictures(self, count: int) -> Tensor:
        """``count`` of the kept pictures, drawn evenly from all steps: uint8 (count, C, H, W)."""
        pictures = torch.cat([batch for batch, _ in self._kept])
        return pictures[torch.randperm(len(pictures), generator=self._random)[:count]]

    def _any(self) -> int:
        return int(torch.randint(len(self._kept), (), generator=self._random))

    def _inputs(self, pictures: Tensor) -> Tensor:
        return self._task.spec.normalise(pictures.to(self._task.device))

    def _draw(self, hook: FeatureHook) -> tuple[Tensor, Tensor]:
        """One step of the generator: its pictures, and the teacher's logits of them."""
        noise = torch.randn(BATCH, NOISE, generator=self._random).to(self._task.device)
        pictures = self._generator(noise)  # (BATCH, C, H, W)
        inputs = self._inputs(pictures)
        logits = self._teacher(inputs)
        loss = one_hot_loss(logits) + ACTIVATION * activation_loss(hook.take()[0].flatten(1))
        loss = loss + ENTROPY * information_entropy_loss(logits)
        loss = loss - ADVERSARIAL * disagreement(self._student(inputs), logits)
        self._generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._generator_optimizer.step()
        return (pictures.detach() * 255).round().to("cpu", torch.uint8), logits.detach()

    def _teach(self, pictures: Tensor, logits: Tensor) -> None:
        """One step of the student towards the teacher."""
        loss = disagreement(self._student(self._inputs(pictures)), logits)
        self._student_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._student_optimizer.step()
