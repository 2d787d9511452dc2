"""Experiments on disk: what is written comes back, and what does not validate is refused by field."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import NETWORKS, SMALL
from PIL import Image
from safetensors.torch import save as save_safetensors

import kdviz
from kdviz.core.errors import (
    ExperimentError,
    ImageError,
    KdvizError,
    ModelError,
    SettingError,
    TargetError,
    UnknownNameError,
)
from kdviz.core.files import atomic_write
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import BASELINES, Experiment, InputSpec, list_experiments, load_experiment
from kdviz.models.networks import NumpyNetwork

COLOUR = InputSpec(size=(6, 5), channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


def edit(folder, change) -> None:
    path = folder / "experiment.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def replace_weights(folder, data: bytes, number: int = 0) -> None:
    """Put ``data`` in place of a run's weights, with a sha256 that fits."""

    def change(document):
        run = document["runs"][number]
        (folder / run["weights"]).write_bytes(data)
        run["sha256"] = hashlib.sha256(data).hexdigest()

    edit(folder, change)


# round trip -----------------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(tmp_path):
    written = Experiment(tmp_path / "mine", "mnist", tuple("abc"), COLOUR, {}, title="Mine")
    network = new_network("paper_fc", COLOUR, 3, 7)
    training = {"epochs": 2, "seed": 7, "alpha": 0.5, "note": "a text"}
    written.add_run("teacher", "paper_fc", network, training, {"test": {"accuracy": 0.5}})
    written.save()
    read = load_experiment(str(tmp_path / "mine"))
    assert (read.name, read.title, read.dataset, read.classes, read.input) == (
        "mine",
        "Mine",
        "mnist",
        tuple("abc"),
        COLOUR,
    )
    run = read.runs["teacher"]
    assert (run.role, run.network, run.training, run.metrics) == (
        "teacher",
        "paper_fc",
        training,
        {"test": {"accuracy": 0.5}},
    )
    inputs = torch.rand(2, 3, 6, 5)
    assert torch.equal(run.model(inputs), network(inputs))
    assert not run.model.training
    assert not any(parameter.requires_grad for parameter in run.model.parameters())
    assert read.to_json() == written.to_json()


def test_dropout_is_off_in_a_loaded_teacher(tiny):
    inputs = torch.rand(2, 1, 14, 14)
    assert torch.equal(tiny.runs["teacher"].model(inputs), tiny.runs["teacher"].model(inputs))


def test_models_are_built_when_they_are_used(tiny):
    assert "model" not in vars(tiny.runs["teacher"])
    assert tiny.runs["teacher"].model is tiny.runs["teacher"].model


def test_saving_again_removes_weights_that_no_run_lists(tiny):
    before = tiny.runs["student"].weights
    tiny.add_run("student", "paper_fc", new_network("paper_fc", SMALL, 10, 99), {}, {})
    assert (tiny.folder / before).exists()  # the folder on disk still needs it
    tiny.save()
    assert not (tiny.folder / before).exists()
    assert len(list(tiny.folder.glob("*.safetensors"))) == 3
    assert load_experiment(tiny.folder).runs["student"].sha256 == tiny.runs["student"].sha256


@pytest.mark.parametrize("role", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_role_must_be_a_plain_name(tiny, role):
    with pytest.raises(SettingError, match="role name"):
        tiny.add_run(role, "paper_fc", new_network("paper_fc", SMALL, 10, 0), {}, {})


def test_tables(tiny):
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert not tiny.has_table("mine")
    tiny.write_table("mine", table)
    assert tiny.has_table("mine")
    assert tiny.table("mine").equals(table)
    with pytest.raises(ExperimentError, match=r"no other\.parquet"):
        tiny.table("other")
    path = tiny.folder / "mine.parquet"
    for damaged in (b"", path.read_bytes()[:-20], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ExperimentError, match="damaged"):
            tiny.table("mine")


# a model of one's own -------------------------------------------------------------------------------------------------


def test_a_module_is_one_more_run(tiny, small_digits):
    mine = new_network("paper_cnn", SMALL, 10, 42).double().train()
    experiment = tiny.with_model("mine", mine)
    assert (list(tiny.runs), list(experiment.runs)) == (list(NETWORKS), [*NETWORKS, "mine"])
    assert experiment.runs["teacher"] is tiny.runs["teacher"]
    run = experiment.runs["mine"]
    assert (run.role, run.network, run.weights, run.sha256) == ("mine", "PaperCNN", "", "")
    inputs = tiny.input.normalise(small_digits.images[:3])
    assert mine.training  # the given module is left as it was
    assert next(mine.parameters()).requires_grad
    assert torch.equal(run.model(inputs), copy.deepcopy(mine).float().eval()(inputs))
    assert not any(parameter.requires_grad for parameter in run.model.parameters())
    assert run.on("cpu") is run.model
    moved = run.on("meta")
    assert moved is not run.model
    assert next(moved.parameters()).device.type == "meta"


def test_the_same_weights_give_the_same_map(tiny, small_digits):
    teacher = tiny.runs["teacher"].model
    experiment = tiny.with_model("module", teacher).with_model("callable", lambda images: teacher(images))
    experiment = experiment.with_model("numpy", NumpyNetwork(lambda pixels: teacher(torch.from_numpy(pixels)).numpy()))
    maps = kdviz.explain(experiment, small_digits.picture(0), 3, device="cpu", n_masks=60, grid=4, precision="float32")
    assert list(maps) == [*NETWORKS, "module", "callable", "numpy"]
    for role in ("module", "callable", "numpy"):
        np.testing.assert_allclose(maps[role].values, maps["teacher"].values, rtol=1e-3, atol=1e-7)
    assert np.abs(maps["student"].values - maps["teacher"].values).max() > 1e-5
    assert experiment.runs["callable"].on("cuda") is experiment.runs["callable"].model  # there is nothing to move


@pytest.mark.parametrize("role", ["", "../up", "a b", "teacher", "teacher_se"])
def test_the_role_must_be_a_new_name(tiny, role):
    with pytest.raises(SettingError, match=r"no role name|is taken"):
        tiny.with_model(role, tiny.runs["teacher"].model)


def test_an_error_map_does_not_take_a_roles_name(tiny):
    with pytest.raises(SettingError, match="is taken"):
        tiny.with_model("mine_se", tiny.runs["teacher"].model).with_model("mine", tiny.runs["teacher"].model)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (torch.nn.Flatten(), r"must return logits of shape \(8, 10\), got \(8, 196\)"),
        (new_network("paper_fc", COLOUR, 10, 0), r"failed on a batch of shape \(8, 1, 14, 14\)"),
        (lambda images: images.flatten(1)[:, :10].softmax(1), "leave its softmax away"),
        (lambda images: images.flatten(1)[:, :10].numpy(), "failed on a batch"),
        (lambda images: images[0, 0, 0, :10], r"got \(10,\)"),
        (lambda: None, "failed on a batch"),
    ],
    ids=["classes", "channels", "probabilities", "array", "one answer", "arguments"],
)
def test_a_model_that_does_not_fit_is_refused_at_once(tiny, model, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        tiny.with_model("mine", model)
    assert "'mine'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_in_memory_only_is_not_saved(tiny):
    before = {path.name: path.read_bytes() for path in tiny.folder.iterdir()}
    for model in (tiny.runs["teacher"].model, lambda images: images.flatten(1)[:, :10]):
        experiment = tiny.with_model("mine", model)
        for act in (experiment.save, experiment.to_json):
            with pytest.raises(SettingError, match="'mine' is in memory only"):
                act()
    assert {path.name: path.read_bytes() for path in tiny.folder.iterdir()} == before


# a crash while writing ------------------------------------------------------------------------------------------------


def disk_full(*_):
    raise OSError(28, "No space left on device")


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("crash", "error"), [(disk_full, KdvizError), (interrupted, KeyboardInterrupt)])
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_crash_leaves_the_old_experiment_and_no_rubbish(tiny, monkeypatch, call, crash, error):
    before = {path.name: path.read_bytes() for path in tiny.folder.iterdir()}
    monkeypatch.setattr(os, call, crash)
    with pytest.raises(error):
        tiny.add_run("student", "paper_fc", new_network("paper_fc", SMALL, 10, 99), {}, {})
    tiny.title = "Changed"
    with pytest.raises(error):
        tiny.save()
    with pytest.raises(error):
        tiny.write_table("predictions", pa.table({"a": [1]}))
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tiny.folder.iterdir()} == before
    assert load_experiment(tiny.folder).title == "Tiny"


def test_a_crash_between_weights_and_json_leaves_the_old_experiment(tiny):
    old = tiny.runs["student"].sha256
    tiny.add_run("student", "paper_fc", new_network("paper_fc", SMALL, 10, 99), {}, {})  # save() never comes
    assert load_experiment(tiny.folder).runs["student"].sha256 == old


def test_atomic_write_makes_folders_and_keeps_usual_permissions(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode
    with pytest.raises(KdvizError, match="Cannot write"):
        atomic_write(tmp_path / "a", b"a folder is there")


# refused --------------------------------------------------------------------------------------------------------------

HUGE = 10**400  # an int in JSON that no float holds


def at(*places):
    """A change of one place in the document."""
    *path, last = places[:-1]

    def change(document):
        for step in path:
            document = document[step]
        if places[-1] is KeyError:
            del document[last]
        else:
            document[last] = places[-1]

    return change


WRONG = [
    *[("format", at("format", value)) for value in (KeyError, 0, 3, "1", None, True, [1])],
    *[("dataset", at("dataset", value)) for value in (KeyError, "", 5, None, ["mnist"])],
    *[("classes", at("classes", value)) for value in (KeyError, [], ["0"], "0123456789", [0, 1], {"0": 1}, ["a", "a"])],
    *[("title", at("title", value)) for value in (5, ["x"], None)],
    *[("input", at("input", value)) for value in (KeyError, None, [], "28x28")],
    *[("input.size", at("input", "size", value)) for value in (KeyError, 14, [14], [14, 14, 1], [0, 14], [14.5, 14])],
    *[("input.size", at("input", "size", value)) for value in (["14", 14], [5000, 14], [HUGE, 14], [True, 14])],
    *[("input.channels", at("input", "channels", value)) for value in (KeyError, 0, 2, "1", True, 1.0, None, [1])],
    *[("input.mean", at("input", "mean", value)) for value in (KeyError, [], [0.1, 0.2], ["0.1"], 0.1, [HUGE])],
    *[("input.std", at("input", "std", value)) for value in (KeyError, [0], [-1], [0.1, 0.2], [None], [HUGE])],
    *[("input.fit", at("input", "fit", value)) for value in ("stretch", None, 1, ["crop"], "digit")],
    *[("runs", at("runs", value)) for value in (KeyError, [], {}, None, "teacher")],
    *[("runs[1]", at("runs", 1, value)) for value in (None, "student", [], 3)],
    *[("runs[1].role", at("runs", 1, "role", value)) for value in (KeyError, "", 1, None, "../up", "a b", "teacher")],
    *[
        ("runs[1].network", at("runs", 1, "network", value))
        for value in (KeyError, "", 1, None, "paper_f", "os.system")
    ],
    *[("runs[1].weights", at("runs", 1, "weights", value)) for value in (KeyError, "", 1, "../x.safetensors", "w.pt")],
    *[("runs[1].weights", at("runs", 1, "weights", value)) for value in ("/etc/x.safetensors", "a\\x.safetensors")],
    *[("runs[1].sha256", at("runs", 1, "sha256", value)) for value in (KeyError, "", 1, None, ["x"])],
    *[("runs[1].training", at("runs", 1, "training", value)) for value in ([], "x", 5, None)],
    *[("runs[1].metrics", at("runs", 1, "metrics", value)) for value in ([], "x", {"test": 5}, {"test": {"a": "x"}})],
    *[("runs[1].metrics", at("runs", 1, "metrics", value)) for value in (None, {"test": {"a": None}})],
]


@pytest.mark.parametrize(("name", "change"), WRONG, ids=[f"{number}-{name}" for number, (name, _) in enumerate(WRONG)])
def test_every_wrong_field_is_named(tiny_folder, name, change):
    edit(tiny_folder, change)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(tiny_folder)
    assert f"field '{name}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_fixture_itself_is_fine(tiny_folder):
    edit(tiny_folder, lambda document: None)
    assert list(load_experiment(tiny_folder).runs) == list(NETWORKS)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ['"mean": [', '"std": [', '"epochs": '])
def test_nan_and_infinity_are_refused(tiny_folder, field, value):
    path = tiny_folder / "experiment.json"
    text = " ".join(path.read_text().split()).replace("[ ", "[")
    old = {'"mean": [': "0.2", '"std": [': "0.5", '"epochs": ': "0"}[field]
    assert field + old in text
    path.write_text(text.replace(field + old, field + value, 1))
    with pytest.raises(ExperimentError, match=r"field '(input\.mean|input\.std|runs\[0\]\.training\.epochs)'"):
        load_experiment(tiny_folder)


def test_nan_is_not_written_either(tiny):
    before = (tiny.folder / "experiment.json").read_bytes()
    tiny.runs["student"].metrics["test"] = {"loss": float("nan")}
    with pytest.raises(ExperimentError, match="finite"):
        tiny.save()
    assert (tiny.folder / "experiment.json").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"format": 1'],
    ids=lambda c: repr(c[:8]),
)
def test_a_document_that_is_no_json_object(tiny_folder, content):
    (tiny_folder / "experiment.json").write_bytes(content)
    with pytest.raises(ExperimentError, match="JSON"):
        load_experiment(tiny_folder)


def test_weights_that_changed(tiny_folder):
    path = next(tiny_folder.glob("student-*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ExperimentError, match="sha256"):
        load_experiment(tiny_folder)


def test_weights_that_are_missing(tiny_folder):
    next(tiny_folder.glob("student-*")).unlink()
    with pytest.raises(ExperimentError, match="student are missing"):
        load_experiment(tiny_folder)


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch exploded",))


def weights_of(name, spec=SMALL, classes=10) -> bytes:
    return save_safetensors(dict(new_network(name, spec, classes, 0).state_dict()))


BAD_WEIGHTS = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[:-100],
    "header only": lambda good: good[:50],
    "forged header": lambda good: (2**62).to_bytes(8, "little") + good[8:],
    "pickle": lambda good: pickle.dumps(Bomb()),
    "another network": lambda good: weights_of("paper_fc"),
    "another size": lambda good: weights_of("paper_cnn", COLOUR),
    "fewer classes": lambda good: weights_of("paper_cnn", SMALL, 9),
}


@pytest.mark.parametrize("kind", list(BAD_WEIGHTS))
def test_weights_that_do_not_fit_the_network(tiny_folder, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    replace_weights(tiny_folder, BAD_WEIGHTS[kind](next(tiny_folder.glob("teacher-*")).read_bytes()))
    with pytest.raises(ExperimentError, match="does not hold the weights of a 'paper_cnn'"):
        _ = load_experiment(tiny_folder).runs["teacher"].model
    assert not (tmp_path / "exploded").exists()


def test_a_size_that_no_memory_holds_is_refused(tiny_folder):
    edit(tiny_folder, at("input", "size", [4096, 4096]))  # paper_fc would have 16 M x 16 M weights
    for role in ("student", "teacher"):
        with pytest.raises(ExperimentError, match="does not hold the weights"):
            _ = load_experiment(tiny_folder).runs[role].model


def test_unknown_experiments(tmp_path):
    with pytest.raises(ExperimentError, match=r"no experiment\.json"):
        load_experiment(tmp_path)
    for name in ("x" * 300, "a\0b", "../nothing", ""):
        with pytest.raises((UnknownNameError, ExperimentError)):
            load_experiment(name)


def test_an_unknown_name_suggests_the_closest(tiny_folder, monkeypatch):
    monkeypatch.setattr("kdviz.experiment.loading.MODELS", tiny_folder.parent)
    monkeypatch.setattr(list_experiments, "__defaults__", (tiny_folder.parent,))
    assert load_experiment("tiny").name == "tiny"
    with pytest.raises(UnknownNameError, match="Did you mean 'tiny'"):
        load_experiment("tinny")


def test_what_is_being_made_or_was_interrupted_is_no_experiment(tiny_folder):
    shutil.copytree(tiny_folder, tiny_folder.parent / ".tiny-ab12")
    assert list_experiments(tiny_folder.parent) == ["tiny"]


# pictures to inputs ---------------------------------------------------------------------------------------------------


def with_input(spec: InputSpec, tmp_path, classes=("a", "b")) -> Experiment:
    return Experiment(tmp_path, "folder", tuple(classes), spec, {})


def test_a_picture_of_the_input_size_is_only_scaled_and_normalised(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    tensor = with_input(COLOUR, tmp_path).preprocess(Image.fromarray(pixels))
    assert (tensor.shape, tensor.dtype) == ((1, 3, 6, 5), torch.float32)
    for channel in range(3):
        expected = (pixels[..., channel] / 255 - COLOUR.mean[channel]) / COLOUR.std[channel]
        np.testing.assert_allclose(tensor[0, channel].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_digit_of_28_pixels_is_only_scaled(tmp_path, digits):
    spec = InputSpec((28, 28), 1, (0.0,), (1.0,), "digit")
    tensor = with_input(spec, tmp_path).preprocess(digits.picture(3))
    np.testing.assert_allclose(tensor.numpy(), digits.images[3:4].numpy() / 255, atol=1e-7)
    with pytest.raises(ImageError, match="No digit"):
        with_input(spec, tmp_path).preprocess(Image.new("L", (100, 100), 255))


def test_grey_and_colour_are_converted(tmp_path, tiny):
    colour = Image.new("RGB", (14, 14), (255, 0, 0))
    assert float(tiny.preprocess(colour)[0, 0, 0, 0]) == pytest.approx((76 / 255 - 0.2) / 0.5)  # 0.299 red
    grey = with_input(COLOUR, tmp_path).preprocess(Image.new("L", (5, 6), 100))
    np.testing.assert_allclose(grey[0, :, 0, 0].numpy(), (100 / 255 - np.array(COLOUR.mean)) / COLOUR.std, rtol=1e-5)


@pytest.mark.parametrize("kind", ["path", "str", "picture"])
def test_deep_grey_and_transparency_however_the_picture_comes(tmp_path, tiny, kind):
    deep = Image.fromarray(np.full((14, 14), 32768, np.uint16))
    clear = Image.new("RGBA", (14, 14), (0, 0, 0, 0))
    for picture, level in ((deep, 128), (clear, 255)):
        path = tmp_path / "picture.png"
        picture.save(path)
        source = {"path": path, "str": str(path), "picture": picture}[kind]
        assert np.unique(np.asarray(tiny.prepare(source))).tolist() == [level]


@pytest.mark.parametrize("size", [(5, 6), (50, 60), (100, 20), (20, 100), (3, 2), (5000, 1), (1, 5000)])
def test_any_size_is_brought_to_the_inputs(tmp_path, size):
    picture = with_input(COLOUR, tmp_path).prepare(Image.new("RGB", size, (10, 200, 30)))
    assert picture.size == (5, 6)
    assert np.unique(np.asarray(picture).reshape(-1, 3), axis=0).tolist() == [[10, 200, 30]]


def test_cropping_keeps_the_middle_and_the_proportions(tmp_path):
    stripes = np.zeros((60, 150, 3), np.uint8)
    stripes[:, 50:100] = 255  # the middle 50 of 150 columns: all that a 5 x 6 crop sees
    picture = np.asarray(with_input(COLOUR, tmp_path).prepare(Image.fromarray(stripes)))
    assert picture.min() > 200


def test_a_very_long_picture_is_not_enlarged_whole(tmp_path):
    spec = InputSpec((224, 224), 1, (0.0,), (1.0,))
    # Enlarged to a height of 224 the whole strip would have 224 x 448 million pixels.
    assert with_input(spec, tmp_path).prepare(Image.new("L", (2_000_000, 1), 7)).size == (224, 224)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_put_in_before_normalisation(name):
    level = {"black": (0, 0, 0), "white": (1, 1, 1), "grey": (0.5,) * 3, "mean": COLOUR.mean}[name]
    pixels = np.random.default_rng(0).random((1, 3, 6, 5))
    mask = np.random.default_rng(1).random((1, 1, 6, 5))
    mean, std, removed = (np.array(values).reshape(1, 3, 1, 1) for values in (COLOUR.mean, COLOUR.std, level))
    blended_first = (mask * pixels + (1 - mask) * removed - mean) / std
    normal, base, keep = COLOUR.normalise(torch.tensor(pixels)), COLOUR.baseline(name), torch.tensor(mask).float()
    assert base.shape == (1, 3, 1, 1)
    np.testing.assert_allclose((base + keep * (normal - base)).numpy(), blended_first, atol=1e-5)


def test_an_unknown_baseline_suggests_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'black'"):
        COLOUR.baseline("blak")


@pytest.mark.parametrize(
    ("target", "index"),
    [(0, 0), (2, 2), ("2", 2), ("+1", 1), ("cat", 0), ("dog", 1), ("7", 3), (np.int64(1), 1), (torch.tensor(2), 2)],
    ids=str,
)
def test_a_class_by_index_or_name(tmp_path, target, index):
    assert with_input(COLOUR, tmp_path, ["cat", "dog", "cow", "7"]).class_index(target) == index


def test_a_number_is_an_index_and_a_text_first_a_name(tmp_path):
    swapped = with_input(COLOUR, tmp_path, ["1", "0"])
    assert [swapped.class_index(0), swapped.class_index("0")] == [0, 1]


@pytest.mark.parametrize("target", [3, -1, "-1", "bird", "", "1.0", 1.5, "²", "++1", None, True, 10**30], ids=str)
def test_a_class_that_does_not_exist(tmp_path, target):
    with pytest.raises(TargetError, match="its classes are cat, dog, cow"):
        with_input(COLOUR, tmp_path, ["cat", "dog", "cow"]).class_index(target)
