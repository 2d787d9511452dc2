"""Checkpoints as people have them, each written by its library: opened whole, with what is recorded beside them."""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
import pytest
import torch
from checkpoint_files import AVERAGE, STUDENT, TEACHER, Small, below, same, saved, trained
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import (
    open_model_file,
    read_checkpoint,
    recorded_classes,
    recorded_input,
    recorded_network,
)

# any key --------------------------------------------------------------------------------------------------------------

KEYS = [
    *("state_dict", "model", "net", "params", "params_ema", "model_state", "model_state_dict", "model_ema", "ema"),
    *("state_dict_ema", "student", "teacher", "network", "weights", "generator", "some_name"),
]


@pytest.mark.parametrize("key", KEYS)
def test_a_state_dict_under_a_key(tmp_path, key):
    network, optimiser, scheduler = trained()
    content = {
        key: network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 7,
        "class_weights": torch.tensor([1.0, 2.0, 3.0]),
    }
    read = open_model_file(saved(tmp_path, content))
    (weights,) = read.weights
    assert (read.kind, weights.key) == ("torch", key)
    assert same(weights.tensors, network.state_dict())
    assert weights.is_ema == ("ema" in key)
    assert read.recorded == {"epoch": 7, "class_weights": [1.0, 2.0, 3.0]}
    assert read.notes == ("Not used: 'optimizer', 'lr_scheduler'.",)
    assert same(read_checkpoint(saved(tmp_path, content)), network.state_dict())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_state_dict_deep_inside(tmp_path, depth):
    content = STUDENT
    for _ in range(depth):
        content = {"inner": content, "step": 1}
    read = open_model_file(saved(tmp_path, content))
    assert [weights.key for weights in read.weights] == [".".join(["inner"] * depth)]
    assert same(read.weights[0].tensors, STUDENT)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_keep_their_type(tmp_path, kind):
    tensors = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in STUDENT.items()}
    assert same(open_model_file(saved(tmp_path, {"net": tensors})).weights[0].tensors, tensors)
    save_file(tensors, tmp_path / "half.safetensors")
    read = open_model_file(tmp_path / "half.safetensors")
    assert (read.kind, same(read.weights[0].tensors, tensors)) == ("safetensors", True)


def test_facts_in_safetensors(tmp_path):
    texts = {"format": "pt", "arch": "squeezenet1_1", "classes": '["a", "b"]', "odd": "[1"}
    save_file(STUDENT, tmp_path / "a.safetensors", metadata=texts)
    recorded = open_model_file(tmp_path / "a.safetensors").recorded
    assert recorded == {"arch": "squeezenet1_1", "classes": ["a", "b"], "odd": "[1"}
    assert (recorded_network(recorded), recorded_classes(recorded)) == ("torchvision/squeezenet1_1", ("a", "b"))


# as libraries write them ----------------------------------------------------------------------------------------------


def test_the_reference_script_of_torchvision(tmp_path):
    """References: pytorch/vision, references/classification/train.py and utils.py (ExponentialMovingAverage)."""
    network, optimiser, scheduler = trained()
    average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
    args = argparse.Namespace(
        model="resnet50",
        data_path="/data",
        val_resize_size=232,
        val_crop_size=224,
        interpolation="bilinear",
        weights=None,
    )
    content = {
        "model": network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 89,
        "args": args,
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "model_ema": average.state_dict(),
    }
    read = open_model_file(saved(tmp_path, content, "model_89.pth"))
    assert [(weights.key, weights.is_ema) for weights in read.weights] == [("model_ema", True), ("model", False)]
    assert same(read.weights[0].tensors, average.state_dict())
    assert (
        read.notes[0]
        == "The weights averaged over training (EMA), under 'model_ema', are used; the others are under 'model'."
    )
    assert read.recorded["epoch"] == 89
    assert recorded_network(read.recorded) == "resnet50"  # timm has one, too
    assert recorded_input(read.recorded) == {"size": (224, 224), "resize": 232, "interpolation": "bilinear"}
    assert same(read_checkpoint(tmp_path / "model_89.pth"), network.state_dict())


def test_torchdistill(tmp_path):
    """Reference: yoshitomo-matsubara/torchdistill, common/main_util.py (save_ckpt)."""
    network, optimiser, scheduler = trained()
    content = {
        "model": network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "best_value": np.float64(71.2),
        "lr_scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(config="configs/kd.yaml", device="cuda", student_only=False, seed=None),
    }
    read = open_model_file(saved(tmp_path, content, "student.pt"))
    assert same(read.weights[0].tensors, network.state_dict())
    assert read.recorded["best_value"] == 71.2
    assert read.recorded["args"]["config"] == "configs/kd.yaml"
    assert recorded_network(read.recorded) is None


def test_the_example_of_torch_for_imagenet(tmp_path):
    """Reference: pytorch/examples, imagenet/main.py: model_best.pth.tar, which is no tar."""
    network, optimiser, scheduler = trained()
    content = {
        "epoch": 3,
        "arch": "squeezenet1_1",
        "state_dict": below("module.", network.state_dict()),
        "best_acc1": torch.tensor(60.5),
        "optimizer": optimiser.state_dict(),
        "scheduler": scheduler.state_dict(),
    }
    path = saved(tmp_path, content, "model_best.pth.tar")
    assert same(read_checkpoint(path), network.state_dict())
    recorded = open_model_file(path).recorded
    assert (recorded["best_acc1"], recorded_network(recorded)) == (60.5, "torchvision/squeezenet1_1")


def test_the_training_checkpoints_of_timm(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_resnet", num_classes=3)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    args = argparse.Namespace(
        model="test_resnet.r160_in1k",
        img_size=96,
        crop_pct=0.875,
        interpolation="bicubic",
        mean=None,
        std=None,
        in_chans=3,
    )
    average = timm.utils.ModelEmaV3(network)
    saver = timm.utils.CheckpointSaver(
        network, optimiser, args=args, model_ema=average, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(4, np.float64(0.5))
    read = open_model_file(tmp_path / "last.pth.tar")
    assert [weights.key for weights in read.weights] == ["state_dict_ema", "state_dict"]
    assert read.weights[0].tensors.keys() == network.state_dict().keys()
    assert (read.recorded["epoch"], read.recorded["metric"]) == (4, 0.5)
    assert recorded_network(read.recorded) == "timm/test_resnet"
    assert recorded_input(read.recorded) == {
        "size": (96, 96),
        "resize": 109,
        "interpolation": "bicubic",
        "channels": 3,
    }


def test_accelerate_and_others_with_parts_of_training(tmp_path):
    rng = {
        "random_state": (3, (1, 2), None),
        "numpy_random_seed": np.random.RandomState(0).get_state(),
        "torch": torch.get_rng_state(),
    }
    content = {
        "model_state_dict": STUDENT,
        "rng_state": rng,
        "history": {"loss": [0.5], "acc": torch.rand(3)},
        "step": 5,
    }
    read = open_model_file(saved(tmp_path, content))
    assert [weights.key for weights in read.weights] == ["model_state_dict"]
    assert read.recorded == {"step": 5}


def test_classes_of_an_image_folder(tmp_path):
    content = {
        "model": STUDENT,
        "args": argparse.Namespace(arch="squeezenet1_1"),
        "class_to_idx": {"b": 1, "a": 0, "c": 2},
    }
    assert recorded_classes(open_model_file(saved(tmp_path, content)).recorded) == ("a", "b", "c")


# several models -------------------------------------------------------------------------------------------------------


def test_teacher_and_student_under_keys(tmp_path):
    path = saved(tmp_path, {"teacher": TEACHER, "student": STUDENT, "epoch": 1})
    read = open_model_file(path)
    assert [weights.key for weights in read.weights] == ["student", "teacher"]
    assert read.notes == ("There are several state dicts: 'student' is used, and 'teacher' can be chosen by key=.",)
    chosen = open_model_file(path, key="teacher")
    assert same(chosen.weights[0].tensors, TEACHER)
    assert len(chosen.weights) == 1
    with pytest.raises(ModelError, match=r"no weights under 'pupil'; it has 'student', 'teacher'"):
        open_model_file(path, key="pupil")


@pytest.mark.parametrize(
    "prefixes", [("student.", "teacher."), ("model_s.", "model_t."), ("kd_student.", "teacher_net.")]
)
def test_teacher_and_student_in_one_state_dict(tmp_path, prefixes):
    student, teacher = prefixes
    tensors = {**below(teacher, TEACHER), **below(student, STUDENT), "criterion.weight": torch.ones(3)}
    read = open_model_file(saved(tmp_path, {"state_dict": tensors}))
    assert [weights.key for weights in read.weights] == [f"state_dict.{student[:-1]}", f"state_dict.{teacher[:-1]}"]
    assert same(read.weights[0].tensors, STUDENT)
    assert same(read.weights[1].tensors, TEACHER)
    assert same(read_checkpoint(tmp_path / "checkpoint.pth"), STUDENT)


def test_a_part_of_one_state_dict_can_be_chosen(tmp_path):
    path = saved(tmp_path, {**below("backbone.", STUDENT), **below("decoder.", TEACHER)})
    assert [weights.key for weights in open_model_file(path).weights] == [""]
    (chosen,) = open_model_file(path, key="decoder").weights
    assert (chosen.key, same(chosen.tensors, TEACHER)) == ("decoder", True)


def test_the_average_in_one_state_dict(tmp_path):
    tensors = {**below("model.", STUDENT), **below("ema_model.", AVERAGE)}
    first, second = open_model_file(saved(tmp_path, tensors)).weights
    assert (first.key, first.is_ema, second.key, second.is_ema) == ("ema_model", True, "model", False)
    assert same(first.tensors, AVERAGE)


def test_parts_of_one_network_stay_together(tmp_path):
    network = squeezenet1_1(num_classes=2).state_dict()  # features. and classifier. are both more than one tensor
    (weights,) = open_model_file(saved(tmp_path, network)).weights
    assert same(weights.tensors, network)


# Lightning ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lightning():
    return pytest.importorskip("lightning")


def _module(lightning):
    class Distiller(lightning.LightningModule):
        def __init__(self, arch="resnet50", lr=0.1, classes=("cat", "dog", "fox"), folder=pathlib.Path("data")):
            super().__init__()
            self.save_hyperparameters()
            self.model = Small()

        def training_step(self, batch, _):
            return self.model(batch[0]).sum()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    return Distiller()


@pytest.fixture(scope="session")
def lightning_files(lightning, tmp_path_factory) -> dict[str, pathlib.Path]:
    """After one step of training, plain and with averaged weights."""
    from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(2, 3, 3, 3)), batch_size=2)
    paths = {}
    for name, callbacks in (("plain", []), ("averaged", [WeightAveraging()])):
        folder = tmp_path_factory.mktemp(name)
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[ModelCheckpoint(folder), *callbacks],
        )  # fmt: skip
        trainer.fit(_module(lightning), data)
        (paths[name],) = folder.glob("*.ckpt")
    return paths


@pytest.mark.filterwarnings("ignore")
def test_lightning(lightning_files):
    read = open_model_file(lightning_files["plain"])
    (weights,) = read.weights
    assert (weights.key, weights.is_ema) == ("state_dict", False)
    assert all(name.startswith("model.") for name in weights.tensors)
    assert read.recorded["hyper_parameters"]["folder"] == "data"
    assert recorded_network(read.recorded) == "resnet50"
    assert recorded_classes(read.recorded) == ("cat", "dog", "fox")
    assert read_checkpoint(lightning_files["plain"]).keys() == STUDENT.keys()
    assert "Not used: 'loops', 'callbacks', 'optimizer_states', 'lr_schedulers'." in read.notes or read.notes


@pytest.mark.filterwarnings("ignore")
def test_averaged_weights_of_lightning(lightning_files):
    read = open_model_file(lightning_files["averaged"])
    assert [(weights.key, weights.is_ema) for weights in read.weights] == [
        ("state_dict", True),
        ("current_model_state", False),
    ]
