"""A training of three small models on a few digits, for tests that interrupt it."""

from __future__ import annotations

from dataclasses import replace

import torch
from conftest import SMALL

from kdviz.data import LabelledImages, bundled_digits
from kdviz.distill import TrainingConfig, train_experiment
from kdviz.distill.experiment_trainer import ModelSource

QUICK = TrainingConfig(epochs=4, batch_size=50, device="cpu", bf16="off")


def few_digits() -> dict[str, LabelledImages]:
    digits = bundled_digits()["bundled"]
    small = replace(digits, images=digits.images[:, :, ::2, ::2].contiguous())
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    parts = {"train": order[:200], "validation": order[200:260], "test": order[260:300]}
    return {name: small.take(index, name) for name, index in parts.items()}


def stages_of(out, config=QUICK, splits=None, **more):
    more = {"teachers": [ModelSource("paper_fc")], **more}
    splits = splits or few_digits()
    return train_experiment(splits, SMALL, "folder", out, config, student=ModelSource("paper_fc"), **more)
