"""A small experiment in the manner of CIFAR-10's, which is passed on without its pictures: untrained networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kdviz.data import LabelledImages, image_folder
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, InputSpec, load_experiment
from kdviz.experiment.fetching import record_pictures
from kdviz.experiment.picture_source import PictureSource
from kdviz.studies.predictions.evaluation import record_predictions

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPEC = InputSpec((32, 32), 3, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
QUALITY = 75
SOURCE = PictureSource("torchvision/CIFAR10", "test", "data.example.org", 170, QUALITY)
EACH = 2  # pictures of a class


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Different pictures of soft colours with some noise, 32 x 32."""
    generator = np.random.default_rng(seed)
    made = []
    for _number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        soft = np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC), np.float32)
        noisy = soft + generator.normal(0, 6, soft.shape)
        made.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return made


def originals(seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """The test pictures as a library has them, in an order of its own: uint8 (N, 3, 32, 32), and their labels."""
    count = EACH * len(CLASSES)
    order = np.random.default_rng(1).permutation(count)
    pixels = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures(count, seed)])
    return pixels[order], [int(number) // EACH for number in order]


def copies(folder: Path, seed: int = 0) -> Path:
    """The test pictures as JPEG files in class folders, sorted by class, with a few to train on beside them."""
    for split, first in (("test", seed), ("train", 100), ("val", 200)):
        for number, picture in enumerate(pictures(EACH * len(CLASSES), first)):
            path = folder / split / CLASSES[number // EACH] / f"{number % EACH:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, "JPEG", quality=QUALITY)
    return folder


def test_samples(data: Path) -> LabelledImages:
    return image_folder(data, SPEC.size)["test"]


def make_experiment(folder: Path, data: Path) -> Experiment:
    """Write an experiment on the copies in ``data``: predictions and fingerprints, and no picture of them."""
    made = Experiment(folder, "folder", CLASSES, SPEC, {}, "CIFAR-10")
    test, logits = test_samples(data), {}
    for seed, role in enumerate(("teacher", "kd_student", "student")):
        network = new_network("airbench_small", SPEC, len(CLASSES), seed).eval()
        made.add_run(role, "airbench_small", network, {"epochs": 0}, {})
        with torch.inference_mode():
            logits[role] = network(SPEC.normalise(test.images))
    record_predictions(made, test.split, test.labels, logits)
    made.save()
    record_pictures(made, test, SOURCE)
    return load_experiment(folder)
