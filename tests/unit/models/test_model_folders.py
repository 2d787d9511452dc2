"""Folders of timm and transformers, and checkpoints in several files, written by these libraries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import STUDENT, Small, same, saved
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import (
    open_model_file,
    read_checkpoint,
    recorded_classes,
    recorded_input,
    recorded_network,
)

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)).resize((400, 300), 3)


def prepared(wanted: dict, picture: Image.Image = PICTURE) -> torch.Tensor:
    """(3, H, W): the picture as ``recorded_input`` says; the middle is cut out as torchvision does."""
    resize, size = wanted.get("resize"), wanted["size"]
    mode = InterpolationMode(wanted.get("interpolation", "bicubic"))
    if resize is not None:
        picture = v2.functional.resize(picture, [resize] if isinstance(resize, int) else list(resize), mode)
    pixels = torch.from_numpy(np.array(v2.functional.center_crop(picture, list(size)))).permute(2, 0, 1) / 255
    return v2.functional.normalize(pixels, list(wanted["mean"]), list(wanted["std"]))


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_model_file(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# timm -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def timm():
    return pytest.importorskip("timm")


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_of_timm(timm, tmp_path, safe):
    network = timm.create_model("test_vit", num_classes=3, img_size=64)
    timm.models.save_for_hf(network, tmp_path, model_config={"label_names": ["a", "b", "c"]}, safe_serialization=safe)
    read = open_model_file(tmp_path)
    assert (read.kind, read.path) == ("timm_folder", tmp_path)
    assert same(read.weights[0].tensors, network.state_dict())
    assert recorded_network(read.recorded) == "timm/test_vit"
    assert recorded_classes(read.recorded) == ("a", "b", "c")
    assert read.recorded["config"]["num_classes"] == 3
    assert "model.safetensors" in read.notes[0] or not safe
    wanted = recorded_input(read.recorded)
    assert wanted
    transform = timm.data.create_transform(**timm.data.resolve_data_config(read.recorded["config"]["pretrained_cfg"]))
    torch.testing.assert_close(prepared(wanted), transform(PICTURE), rtol=0, atol=1e-5)


TIMM = [
    *("resnet18", "tf_efficientnet_lite2", "vit_base_patch16_384", "mobilenetv3_small_100", "beit_base_patch16_224"),
    "convnext_tiny.fb_in22k_ft_in1k_384",
]


@pytest.mark.parametrize("name", TIMM)
def test_inputs_of_timm_are_as_its_own_transform(timm, name):
    described = json.loads(json.dumps(timm.get_pretrained_cfg(name).to_dict()))
    wanted = recorded_input({"pretrained_cfg": described})
    assert wanted
    transform = timm.data.create_transform(**timm.data.resolve_data_config(described))
    torch.testing.assert_close(prepared(wanted), transform(PICTURE), rtol=0, atol=1e-5)


# transformers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def vit_folder(transformers, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    names = {0: "cat", 1: "dog", 2: "fox"}
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, id2label=names,
        label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_folder_of_transformers(vit_folder):
    read = open_model_file(vit_folder)
    assert read.kind == "transformers_folder"
    assert same(read.weights[0].tensors, load_file(vit_folder / "model.safetensors"))
    assert recorded_network(read.recorded) == "transformers/vit"
    assert recorded_classes(read.recorded) == ("cat", "dog", "fox")
    assert read.recorded["config"]["architectures"] == ["ViTForImageClassification"]
    assert recorded_input(read.recorded) == {
        "size": (32, 32), "resize": (32, 32), "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3,
        "channels": 3,
    }  # fmt: skip


def test_the_weights_of_a_folder_bring_its_settings(vit_folder):
    read = open_model_file(vit_folder / "model.safetensors")
    assert (read.kind, recorded_network(read.recorded)) == ("transformers_folder", "transformers/vit")


def test_a_model_in_several_files(transformers, vit_folder, tmp_path):
    whole = load_file(vit_folder / "model.safetensors")
    model = transformers.ViTForImageClassification.from_pretrained(vit_folder)
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        read = open_model_file(path)
        assert (read.kind, read.path) == ("transformers_folder", path)
        assert same(read.weights[0].tensors, whole)
    assert same(read_checkpoint(tmp_path), whole)


def test_a_model_without_a_head_is_no_classifier(transformers, vit_folder, tmp_path):
    transformers.ViTModel(transformers.ViTConfig.from_pretrained(vit_folder)).save_pretrained(tmp_path)
    assert "holds a ViTModel, which is no image classifier" in refusal(tmp_path)


def test_networks_of_timm_in_a_folder_of_transformers(transformers, timm, tmp_path):
    config = transformers.TimmWrapperConfig(architecture="test_resnet", num_labels=3)
    transformers.TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    read = open_model_file(tmp_path)
    assert (read.kind, recorded_network(read.recorded)) == ("timm_folder", "timm/test_resnet")
    assert recorded_classes(read.recorded) is None  # LABEL_0, LABEL_1
    assert all(name.startswith("timm_model.") for name in read.weights[0].tensors)


PROCESSORS = {
    "vit": ("ViTImageProcessor", {"size": {"height": 48, "width": 40}}),
    "deit": ("DeiTImageProcessor", {}),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    "convnext, large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "mobilenet": ("MobileNetV2ImageProcessor", {}),
    "levit": ("LevitImageProcessor", {}),
    "bit": ("BitImageProcessor", {}),
    "efficientnet": ("EfficientNetImageProcessor", {}),
    "efficientnet, other scale": ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
    "another factor": ("ViTImageProcessor", {"rescale_factor": 1 / 127.5}),
    "bytes": ("ViTImageProcessor", {"do_rescale": False, "image_mean": [123.0] * 3, "image_std": [58.0] * 3}),
    "not normalised": ("ViTImageProcessor", {"do_normalize": False}),
    "lanczos": ("ViTImageProcessor", {"resample": 1}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", list(PROCESSORS))
def test_inputs_are_as_the_processors_of_transformers_make_them(transformers, tmp_path, kind):
    name, settings = PROCESSORS[kind]
    processor = getattr(transformers, name)(**settings)
    processor.save_pretrained(tmp_path)
    wanted = recorded_input({"preprocessor_config": json.loads((tmp_path / "preprocessor_config.json").read_text())})
    assert wanted
    (theirs,) = processor(PICTURE, return_tensors="pt")["pixel_values"]
    ours = prepared(wanted)
    assert ours.shape == theirs.shape
    spread = theirs.std()
    assert (ours - theirs).abs().mean() / spread < 0.03, wanted  # its resizing is not Pillow's to the last digit


OLD = {
    "a number for a size": ({"size": 224, "do_center_crop": False}, (224, 224), 224),
    "a crop": ({"size": 256, "crop_size": 224, "do_center_crop": True}, (224, 224), 256),
}


@pytest.mark.parametrize("kind", list(OLD))
def test_processors_as_older_versions_wrote_them(kind):
    settings, size, resize = OLD[kind]
    means = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    wanted = recorded_input({"preprocessor_config": {**means, **settings}})
    assert wanted
    assert (wanted["size"], wanted["resize"], wanted["interpolation"]) == (size, resize, "bicubic")


@pytest.mark.parametrize(
    "odd",
    [
        {"size": {"height": -1, "width": 3}},
        {"size": "large", "image_mean": [0.5], "image_std": [0.0]},
        {"size": {"height": 10**9, "width": 10**9}, "image_mean": "a", "image_std": None, "rescale_factor": "x"},
        {"image_mean": [float("nan")] * 3, "image_std": [1] * 3, "crop_size": [1, 2, 3], "do_center_crop": True},
    ],
)
def test_settings_that_cannot_be_are_not_recorded(odd):
    assert recorded_input({"preprocessor_config": odd}) is None
    assert recorded_input({"pretrained_cfg": {"input_size": [3, "a", 4]}, "args": {"img_size": [1, 2, 3]}}) is None


# in several files, and odd folders ------------------------------------------------------------------------------------


def index(folder: Path, wanted: dict, name: str = "pytorch_model.bin.index.json") -> Path:
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": wanted}))
    return folder / name


def halves(folder: Path) -> dict[str, str]:
    """The student in two files, and which tensor is in which."""
    names = list(STUDENT)
    wanted = {name: f"part-{number % 2}.bin" for number, name in enumerate(names)}
    for part in set(wanted.values()):
        saved(folder, {name: STUDENT[name] for name in names if wanted[name] == part}, part)
    return wanted


def test_files_of_torch_with_an_index(tmp_path):
    path = index(tmp_path, halves(tmp_path))
    for given in (path, tmp_path):
        read = open_model_file(given)
        assert (read.kind, same(read.weights[0].tensors, STUDENT)) == ("torch", True)


ELSEWHERE = ["../outside.bin", "/etc/passwd", "..", "", ".", "a/b.bin", "a\\b.bin", "C:b.bin", "a\0b", 3, None]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_index_names_files_beside_it_only(tmp_path, name):
    (tmp_path / "in").mkdir()
    saved(tmp_path, STUDENT, "outside.bin")
    assert "is not the name of a file beside it" in refusal(index(tmp_path / "in", {"fc.weight": name}))


def test_an_index_that_is_not_true(tmp_path):
    wanted = halves(tmp_path)
    assert "says that 'more' is in 'part-0.bin', which is not so" in refusal(
        index(tmp_path, {**wanted, "more": "part-0.bin"})
    )
    assert "needs the file 'part-2.bin' beside it" in refusal(index(tmp_path, {**wanted, "more": "part-2.bin"}))
    assert "is not the index of a checkpoint" in refusal(index(tmp_path, {}))
    for content in ("[1]", "{", "[" * 100_000):
        (tmp_path / "pytorch_model.bin.index.json").write_text(content)
        assert "is not a JSON file of settings" in refusal(tmp_path / "pytorch_model.bin.index.json")


def test_links_as_the_cache_of_the_hub_has_them(vit_folder, tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for number, file in enumerate(vit_folder.iterdir()):
        shutil.copy(file, tmp_path / "blobs" / str(number))
        (tmp_path / "snapshot" / file.name).symlink_to(tmp_path / "blobs" / str(number))
    assert open_model_file(tmp_path / "snapshot").kind == "transformers_folder"


def test_a_folder_that_was_cloned_without_lfs(vit_folder, tmp_path):
    shutil.copy(vit_folder / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    assert "git lfs pull" in refusal(tmp_path)


def test_the_folder_of_accelerate(tmp_path):
    """As Accelerator.save_state writes it."""
    save_file(STUDENT, tmp_path / "model.safetensors")
    saved(tmp_path, torch.optim.SGD(Small().parameters()).state_dict(), "optimizer.bin")
    saved(tmp_path, {"step": 1}, "scheduler.bin")
    (tmp_path / "random_states_0.pkl").write_bytes(b"\x80\x04.")
    read = open_model_file(tmp_path)
    assert (read.kind, read.path, same(read.weights[0].tensors, STUDENT)) == ("safetensors", tmp_path, True)


def test_a_folder_with_one_checkpoint_or_several(tmp_path):
    saved(tmp_path, STUDENT, "best.ckpt")
    assert same(read_checkpoint(tmp_path), STUDENT)
    saved(tmp_path, STUDENT, "last.ckpt")
    assert "holds several checkpoints; give one of them: 'best.ckpt', 'last.ckpt'" in refusal(tmp_path)


FOLDERS = {
    "nothing": ((), "holds no model"),
    "other files": (("notes.txt", "data/"), "holds no model"),
    "TensorFlow": (("saved_model.pb", "variables/"), "is a model or checkpoint of TensorFlow"),
    "TensorFlow 1": (("checkpoint", "model.ckpt-5.index", "model.ckpt-5.data-00000-of-00001"), "of TensorFlow"),
    "Core ML": (("Manifest.json", "Data/"), "is a Core ML model"),
    "an experiment": (("experiment.json", "a.safetensors"), "is an experiment of kdviz"),
    "LoRA": (("adapter_config.json", "adapter_model.safetensors"), "merge_and_unload"),
    "FSDP": ((".metadata", "__0_0.distcp"), "dcp_to_torch"),
    "DeepSpeed": (("zero_to_fp32.py", "latest", "global_step5/"), "zero_to_fp32.py"),
    "Orbax": (("_CHECKPOINT_METADATA", "manifest.ocdbt"), "of JAX"),
    "Flax": (("config.json", "flax_model.msgpack"), "of JAX"),
    "Keras": (("a.h5",), "is an HDF5 file"),
    "an optimiser": (("optimizer.pt", "scheduler.pt"), "the state of an optimiser and no model"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_folders_of_another_kind(tmp_path, kind):
    names, reason = FOLDERS[kind]
    for name in names:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("{}")
    assert reason in refusal(tmp_path)
