"""Channels of networks whose layers depend on each other: pruned, trained, saved, and built again by their names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from optional import needs
from torchvision.models import SwinTransformer, VisionTransformer

from kdviz.compress.dependent_channels import prune_dependent_channels
from kdviz.core.errors import ModelError, SettingError
from kdviz.data import LabelledImages
from kdviz.experiment import Experiment, InputSpec, load_experiment
from kdviz.models.networks import build_network
from kdviz.studies.compression.making import Making, make_run
from kdviz.studies.compression.names import PRUNE
from kdviz.studies.compression.steps import Step, plan_steps

pytestmark = needs("torch_pruning", reason='needs torch-pruning: pip install "kdviz[prune]"')

COLOURS = InputSpec((32, 32), 3, (0.5,) * 3, (0.25,) * 3)
RECORD = {"epochs": 1, "batch_size": 16, "learning_rate": 0.001, "seed": 0, "unfreeze": "all"}


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(name, classes=4, channels=3, size=(32, 32)).eval()


def samples(split: str, count: int, side: int = 32) -> LabelledImages:
    images = torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return LabelledImages(images, torch.arange(count) % 4, ("a", "b", "c", "d"), split)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/mobilenet_v2", "timm/convnext_atto"])
def test_a_pruned_network_is_built_again_from_its_record_and_pruned_again(tmp_path, name):
    experiment = Experiment(tmp_path / "it", "folder", ("a", "b", "c", "d"), COLOURS, {}, "It")
    experiment.add_run("student", name, built(name), RECORD, {})
    experiment.save()
    splits = {split: samples(split, 32) for split in ("train", "validation")}
    sizes = [parameters(experiment.runs["student"].model)]
    for of in ("student", "student_pruned"):
        planned = plan_steps(experiment, of, [Step(PRUNE, 0.5)])
        making = Making(experiment, splits, {}, "cpu", with_teacher=False)
        making.check(planned)
        for _stage in make_run(making, planned[0]):
            pass
        opened = load_experiment(experiment.folder).runs[planned[0].role]
        sizes.append(parameters(opened.model))
        inputs = COLOURS.normalise(splits["train"].images[:4])
        made = experiment.runs[planned[0].role].model(inputs)
        assert torch.equal(opened.model(inputs), made)
        assert made.shape == (4, 4)
    assert sizes[1] < 0.3 * sizes[0]
    assert sizes[2] < 0.3 * sizes[1]
    assert not list(experiment.folder.glob("*.pt*"))


@pytest.mark.slow
def test_a_pruned_vision_transformer_is_built_again_from_its_record_and_pruned_again(tmp_path):
    large = replace(COLOURS, size=(160, 160))
    experiment = Experiment(tmp_path / "it", "folder", ("a", "b", "c", "d"), large, {}, "It")
    network = build_network("timm/test_vit", classes=4, channels=3, size=(160, 160)).eval()
    experiment.add_run("student", "timm/test_vit", network, RECORD, {})
    experiment.save()
    splits = {split: samples(split, 8, 160) for split in ("train", "validation")}
    blocks = []
    for of in ("student", "student_pruned"):
        planned = plan_steps(experiment, of, [Step(PRUNE, 0.5)])
        for _stage in make_run(Making(experiment, splits, {}, "cpu", with_teacher=False), planned[0]):
            pass
        opened = load_experiment(experiment.folder).runs[planned[0].role]
        inputs = large.normalise(splits["train"].images[:2])
        assert torch.equal(opened.model(inputs), experiment.runs[planned[0].role].model(inputs))
        block = opened.model.blocks[0]
        blocks.append((block.attn.num_heads, block.mlp.fc1.out_features))
    whole = network.blocks[0]
    assert blocks[0] == (whole.attn.num_heads // 2, whole.mlp.fc1.out_features // 2)
    assert blocks[1] == (1, whole.mlp.fc1.out_features // 4)  # one head always stays


VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 16}
KINDS = {
    "torchvision/vit_b_16": (lambda: VisionTransformer(16, 8, 2, 4, 32, 128, num_classes=4), {}),
    "torchvision/swin_t": (lambda: SwinTransformer([4, 4], 16, [1, 1], [2, 2], [2, 2], num_classes=4), {}),
    "transformers/vit": (None, {"config": {**VIT, "patch_size": 8, "num_channels": 3}}),
}
"""Name of a network -> its class in a tiny form, in the place of what torchvision builds, and its settings."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_pruned_transformer_of_a_library_is_a_run_whose_file_is_smaller(tmp_path, monkeypatch, name):
    tiny, settings = KINDS[name]
    if tiny is None:
        pytest.importorskip("transformers", reason='needs transformers: pip install "kdviz[transformers]"')
    else:
        monkeypatch.setattr(torchvision.models, "get_model", lambda _name, **_arguments: tiny())
    small = replace(COLOURS, size=(16, 16))
    experiment = Experiment(tmp_path / "it", "folder", ("a", "b", "c", "d"), small, {}, "It")
    torch.manual_seed(0)
    network = build_network(name, classes=4, channels=3, size=(16, 16), settings=settings).eval()
    experiment.add_run("student", name, network, RECORD, {})
    experiment.runs["student"].settings.update(settings)
    experiment.save()
    splits = {split: samples(split, 8, 16) for split in ("train", "validation")}
    planned = plan_steps(experiment, "student", [Step(PRUNE, 0.5)])
    making = Making(experiment, splits, {}, "cpu", with_teacher=False)
    making.check(planned)
    for _stage in make_run(making, planned[0]):
        pass
    opened = load_experiment(experiment.folder)
    run, parent = opened.runs["student_pruned"], opened.runs["student"]
    inputs = small.normalise(splits["train"].images[:4])
    assert torch.equal(run.model(inputs), experiment.runs["student_pruned"].model(inputs))
    assert run.model(inputs).shape == (4, 4)
    sizes = [(experiment.folder / each.weights).stat().st_size for each in (run, parent)]
    assert sizes[0] < 0.85 * sizes[1]
    halved = {shape[0] for key, shape in run.settings["shapes"].items() if key.endswith("bias")}
    assert halved == {"torchvision/swin_t": {32, 64}, "torchvision/vit_b_16": {64}}.get(name, {16, 64})


def test_what_would_not_be_built_again_is_refused():
    class Fixed(torch.nn.Module):
        """It computes with the number of channels that it was built with."""

        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 4)

        def forward(self, images):
            return self.last(self.first(images).mean((2, 3)) * 8 / self.first.out_channels)

    class Other(Fixed):
        def forward(self, images):
            return -super().forward(images)

    inputs, targets = torch.rand(8, 3, 8, 8), torch.arange(8) % 4
    assert prune_dependent_channels(Fixed(), Fixed, 0.5, inputs, targets).shapes["first.weight"] == [4, 3, 3, 3]
    with pytest.raises(ModelError, match="built again, it would answer otherwise"):
        prune_dependent_channels(Fixed(), Other, 0.5, inputs, targets)


@pytest.mark.parametrize(
    "shapes",
    [
        {"conv1.weight": [65, 3, 7, 7]},
        {"conv1.weight": [64, 3]},
        {"conv1.weight": [0, 3, 7, 7]},
        {"conv1.weight": ["1", 3, 7, 7]},
        {"nothing": [1]},
        {"conv1.__class__": [1]},
        [1],
    ],
)
def test_shapes_of_a_file_that_cannot_be_are_refused(shapes):
    with pytest.raises(SettingError, match="must name tensors that it has"):
        build_network("torchvision/resnet18", classes=4, channels=3, size=(32, 32), settings={"shapes": shapes})
