"""Models whose use of a patch is known: linear ones, made by hand."""

from __future__ import annotations

import torch

from kdviz.data.shortcuts.planting import shortcut_regions
from kdviz.experiment import Experiment, InputSpec
from kdviz.models.networks import build_network

SPEC = InputSpec(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,))


def patch_reader(strength: float, seed: int = 0):
    """A linear network with a class's weight at its patch, and small weights in the middle, where the digits are.

    Without the patch (strength 0) the border has no weight at all.
    """
    network = build_network("linear_head", classes=10, channels=1, size=(28, 28))
    patches = torch.from_numpy(shortcut_regions(torch.arange(10), 10, (1, 28, 28), "patch"))
    middle = torch.zeros(28, 28)
    middle[6:22, 6:22] = 1
    noise = torch.randn(10, 28, 28, generator=torch.Generator().manual_seed(seed))
    linear = network[1]
    with torch.no_grad():
        linear.weight.copy_((strength * patches / 16 + 0.05 * noise * middle).flatten(1))
        linear.bias.zero_()
    return network.eval()


def reading_experiment(folder, classes, strengths, shown_to="random"):
    """An experiment of such models: role -> strength."""
    made = Experiment(folder, "mnist", classes, SPEC, {})
    planted = {"kind": "patch", "share": 0.9, "shown_to": shown_to, "seed": 0}
    for number, (role, strength) in enumerate(strengths.items()):
        training = {"epochs": 0} | ({"planted": planted} if role == "teacher" and shown_to != "none" else {})
        made.add_run(role, "linear_head", patch_reader(strength, number), training, {})
    made.save()
    return made
