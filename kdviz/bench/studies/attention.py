"""The time of the attention study over that of the bare forward passes that it needs."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from kdviz.bench.rise.forward import best_batches, fast_form, run_bare, seconds_in_turn
from kdviz.bench.rows import Measurement
from kdviz.core.vocabulary import Split
from kdviz.data import bundled_digits
from kdviz.experiment import load_experiment
from kdviz.saliency import RandomMasks
from kdviz.studies.attention import AttentionStudy, own_models


def bench_study(device: torch.device, quick: bool = False, seed: int = 0) -> Iterator[Measurement]:
    """A study of three models, from the images to the table, over as many bare forward passes at the best batch size.

    Args:
        device: Device of the models.
        quick: One group of images instead of four, and fewer tries.
        seed: Seed of images and masks.
    """
    experiment, samples = load_experiment("mnist"), bundled_digits()[Split.BUNDLED]
    count, n_masks, tries = (32, 2000, 2) if quick else (128, 2000, 3)
    probes = experiment.input.normalise(samples.images[:1]).to(device) * RandomMasks((28, 28)).render(0, 8, device)
    forms = {role: fast_form(run.on(device), probes) for role, run in experiment.runs.items()}
    sizes = [(role, size) for role, form in forms.items() for size in best_batches(form, probes)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        settings = {"n_masks": n_masks, "seed": seed}
        study = AttentionStudy(
            replace(experiment, folder=path),
            samples,
            own_models(experiment),
            count,
            settings=settings,
            device=str(device),
        )

        def run_study() -> None:
            """All but the selection of the images, which is made once."""
            for file in [entry for entry in path.rglob("*.*") if entry.is_file()]:
                file.unlink()
            deque(study.run(), maxlen=0)

        bare = [partial(run_bare, forms[role], probes, size, count * n_masks) for role, size in sizes]
        ours, *seconds = seconds_in_turn([run_study, *bare], tries, device)
    best = [min(least for least, (role, _) in zip(seconds, sizes, strict=True) if role == name) for name in forms]
    yield Measurement(
        "study_overhead",
        f"attention study of three MNIST models: time / bare forward passes, {count} images, {n_masks} masks",
        ours / sum(best),
        "x",
        {"study_seconds": ours, "bare_seconds": sum(best), "images": count, "masks": n_masks},
    )
    yield Measurement(
        "study_2000_images_minutes",
        f"that for 2,000 images, {n_masks} masks",
        ours / count * 2000 / 60,
        "min",
    )
