"""From names and files to a training: logits made elsewhere, weights, unlabelled images, what a study is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from coloured import SMALL_RGB, coloured, coloured_splits, network, plant_tree, same
from PIL import Image
from safetensors.torch import save_file

from kdviz.core.errors import DatasetError, ModelError, SettingError, UnknownNameError
from kdviz.core.files import Store
from kdviz.data.registry import datasets, trainable_datasets
from kdviz.distill import TrainingConfig, predict_logits, recipes, train_experiment
from kdviz.distill.experiment_trainer import MNIST_INPUT, LabelBudget, ModelSource, labelled_part
from kdviz.distill.recipes import input_for, model_source, read_logits, read_splits, read_unlabelled, study_inputs
from kdviz.experiment import InputSpec, load_experiment

STUDENT = "torchvision/shufflenet_v2_x0_5"
CONFIG = TrainingConfig(epochs=1, batch_size=8, device="cpu", bf16="off")

# a teacher's logits ---------------------------------------------------------------------------------------------------


@pytest.fixture
def samples():
    return coloured(6)


VALUES = np.arange(18, dtype=np.float64).reshape(6, 3) / 7


def write_logits(path, names, values=VALUES):
    if path.suffix == ".npz":
        np.savez(path, sample=np.array(names), logits=values)
    else:
        pq.write_table(pa.table({"sample": list(names), "logits": [list(row) for row in values], "other": names}), path)
    return path


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize("by", ["name", "number", "text"])
def test_logits_are_found_by_name_or_number(samples, tmp_path, kind, by):
    names = {"name": samples.names, "number": range(6), "text": map(str, range(6))}[by]
    names, order = list(names), [3, 0, 5, 1, 4, 2]
    path = write_logits(tmp_path / f"teacher.{kind}", [names[number] for number in order], VALUES[order])
    read = read_logits(path, samples)
    assert (read.dtype, read.shape) == (torch.float32, (6, 3))
    np.testing.assert_allclose(read, VALUES.astype(np.float32))


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_rows_of_other_samples_are_left_alone(samples, tmp_path, kind):
    names = ["test/001.png", *samples.names, "zzz"]
    path = write_logits(tmp_path / f"t.{kind}", names, np.concatenate([VALUES[:1] + 9, VALUES, VALUES[:1] + 9]))
    np.testing.assert_allclose(read_logits(path, samples), VALUES.astype(np.float32))


def test_samples_without_names_are_found_by_number(samples, tmp_path):
    path = write_logits(tmp_path / "t.npz", range(6))
    assert len(read_logits(path, replace(samples, names=None))) == 6


def swapped(value):
    changed = VALUES.copy()
    changed[2, 1] = value
    return changed


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize(
    ("names", "values", "match"),
    [
        (
            [f"train/{number:03}.png" for number in range(1, 7)],
            VALUES,
            r"lacks .* 1 training samples \(first 'train/000",
        ),
        (range(5), VALUES[:5], r"lacks the logits of 1 training samples \(first '5'\)"),
        (range(1, 7), VALUES, r"\(first '0'\)"),
        (["a", "b", "c", "d", "e", "f"], VALUES, r"6 training samples \(first '0'\)"),
        (range(6), VALUES[:, :2], r"shape \(6, 2\) for 6 samples; \(samples, 3\) is needed"),
        (range(6), np.concatenate([VALUES, VALUES], 1), r"shape \(6, 6\)"),
        (range(6), swapped(np.nan), "must be finite"),
        (range(6), swapped(-np.inf), "must be finite"),
        ([0, 1, 2, 3, 3, 5], VALUES, "several rows of one sample"),
    ],
    ids=["first name", "too few", "shifted", "unknown", "narrow", "wide", "nan", "inf", "twice"],
)
def test_logits_that_do_not_fit(samples, tmp_path, kind, names, values, match):
    path = write_logits(tmp_path / f"t.{kind}", list(names), values)
    with pytest.raises(DatasetError, match=match) as caught:
        read_logits(path, samples)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_probabilities_are_no_logits(samples, tmp_path, kind):
    powers = np.exp(VALUES)
    path = write_logits(tmp_path / f"t.{kind}", range(6), powers / powers.sum(1, keepdims=True))
    with pytest.raises(DatasetError, match="holds probabilities, each row from 0 to 1 with sum 1, and not logits"):
        read_logits(path, samples)
    logarithms = write_logits(tmp_path / f"l.{kind}", range(6), VALUES - np.log(powers.sum(1, keepdims=True)))
    assert read_logits(logarithms, samples).max() < 0  # which are logits


def cut(path) -> None:
    write_logits(path, range(6))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged(path) -> None:
    content = bytearray(write_logits(path, range(6)).read_bytes())
    content[60:120] = bytes(60)
    path.write_bytes(bytes(content))


def array(path) -> None:
    with path.open("wb") as file:
        np.save(file, VALUES)


NOT_LOGITS = {
    "missing": lambda path: None,
    "text": lambda path: path.write_text("no logits"),
    "directory": lambda path: path.mkdir(),
    "cut": cut,
    "damaged": damaged,
}
NOT_NPZ = {
    "array": array,
    "lacks": lambda path: np.savez(path, logits=VALUES),
    "objects": lambda path: np.savez(path, sample=np.arange(6), logits=np.array([{}] * 6, dtype=object)),
    "one": lambda path: np.savez(path, sample=np.array(5), logits=np.array(1.0)),
}
NOT_PARQUET = {
    "lacks": lambda path: pq.write_table(pa.table({"sample": [1]}), path),
    "ragged": lambda path: pq.write_table(pa.table({"sample": [0, 1], "logits": [[1.0, 2.0], [1.0]]}), path),
    "null": lambda path: pq.write_table(pa.table({"sample": [0, 1], "logits": [[1.0, 2.0], None]}), path),
}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *((f"{what}.npz", write) for what, write in (NOT_LOGITS | NOT_NPZ).items()),
        *((f"{what}.parquet", write) for what, write in (NOT_LOGITS | NOT_PARQUET).items()),
        ("text.csv", NOT_LOGITS["text"]),
    ],
)
def test_what_is_no_file_of_logits(samples, tmp_path, name, write):
    path = tmp_path / name
    write(path)
    with pytest.raises(DatasetError) as caught:
        read_logits(path, samples)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_pretrained_weights_are_all_but_the_head(tmp_path, ending):
    state = network(STUDENT, 5, classes=7).state_dict()
    path = tmp_path / f"seven.{ending}"
    (save_file if ending == "safetensors" else torch.save)(state, path)
    source = model_source(STUDENT, SMALL_RGB, weights=path)
    assert (source.name, source.trained, source.normalisation, source.source) == (STUDENT, False, None, path.name)
    built, missing = source.build(SMALL_RGB, 3, 0)
    assert missing == ()
    own = built.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items() if not name.startswith("fc"))
    assert torch.equal(own["fc.weight"], network(STUDENT, 0).state_dict()["fc.weight"])  # fresh, from the seed
    assert own["fc.weight"].shape == (3, 1024)


def test_a_checkpoint_is_all_of_the_network(tmp_path):
    done = network(STUDENT, 5)
    torch.save(done.state_dict(), tmp_path / "done.pt")
    source = model_source(STUDENT, SMALL_RGB, checkpoint=tmp_path / "done.pt", pretrained=True)
    assert (source.trained, source.normalisation, source.source) == (True, None, "done.pt")
    assert same(source.build(SMALL_RGB, 3, 0)[0], done)
    with pytest.raises(ModelError, match="3 classes, and here there are 5"):
        source.build(SMALL_RGB, 5, 0)


def test_both_files_are_refused(tmp_path):
    torch.save(network(STUDENT).state_dict(), tmp_path / "a.pt")
    with pytest.raises(SettingError, match="not both"):
        model_source(STUDENT, SMALL_RGB, weights=tmp_path / "a.pt", checkpoint=tmp_path / "a.pt")


def test_without_files_a_network_is_fresh(monkeypatch):
    assert model_source(STUDENT, SMALL_RGB) == ModelSource(STUDENT)
    monkeypatch.setattr("kdviz.distill.recipes.download_pretrained", lambda name: {"of": name})
    source = model_source(STUDENT, SMALL_RGB, pretrained=True)
    assert (source.weights, source.source, source.trained) == ({"of": STUDENT}, "ImageNet", False)


@pytest.mark.parametrize("name", ["timm/resnetv2_50", "timm/resnetv2_50@renormalised"])
@pytest.mark.slow
def test_weights_of_another_normalisation_see_their_own(tmp_path, name):
    pytest.importorskip("timm")  # its ResNetV2 learned from mean and std 0.5
    plain = network("timm/resnetv2_50", 5)
    torch.save(plain.state_dict(), tmp_path / "w.pt")
    source = model_source(name, SMALL_RGB, weights=tmp_path / "w.pt")
    assert source.name == "timm/resnetv2_50@renormalised"
    built = source.build(SMALL_RGB, 3, 0)[0].eval()
    with torch.no_grad():  # the head is fresh
        built.network.head.fc.weight.copy_(plain.head.fc.weight)
        built.network.head.fc.bias.copy_(plain.head.fc.bias)
    images = coloured(6).images
    own = replace(SMALL_RGB, mean=(0.5,) * 3, std=(0.5,) * 3)
    expected = plain(own.normalise(images)).detach()
    # As exact as another order of the same operations on float32 through 50 layers.
    torch.testing.assert_close(built(SMALL_RGB.normalise(images)).detach(), expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(plain(SMALL_RGB.normalise(images)), expected, rtol=1e-2, atol=1e-2)
    assert model_source(name, own, weights=tmp_path / "w.pt").normalisation is None


def test_a_renormalised_checkpoint_is_used_under_its_name(tmp_path):
    name = f"{STUDENT}@renormalised"
    done = network(name, 5).between((SMALL_RGB.mean, SMALL_RGB.std), ((0.5,) * 3, (0.5,) * 3))
    torch.save(done.state_dict(), tmp_path / "done.pt")
    source = model_source(name, SMALL_RGB, checkpoint=tmp_path / "done.pt")
    assert source.name == name
    assert same(source.build(SMALL_RGB, 3, 0)[0], done)


# data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "student", "size", "expected"),
    [
        ("mnist", "paper_fc", None, MNIST_INPUT),
        ("folder", "torchvision/mobilenet_v2", None, replace(SMALL_RGB, size=(224, 224))),
        ("folder", STUDENT, (32, 32), SMALL_RGB),
        ("mhist", "torchvision/inception_v3", None, replace(SMALL_RGB, size=(299, 299))),
        ("folder", "paper_fc", (32, 32), SMALL_RGB),
    ],
)
def test_the_input_is_what_the_students_weights_want(dataset, student, size, expected):
    assert input_for(dataset, student, size) == expected


def test_the_input_of_timm_and_of_unknown_networks():
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        input_for("folder", "torchvision/resnet81")
    pytest.importorskip("timm")
    assert input_for("folder", "timm/resnetv2_50") == InputSpec((224, 224), 3, (0.5,) * 3, (0.5,) * 3)


def test_splits_by_name(tmp_path):
    given = coloured_splits(6, 3, 3)
    plant_tree(tmp_path / "data", given)
    splits = read_splits("folder", tmp_path / "data", SMALL_RGB)
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 6, "validation": 3, "test": 3}
    for name in ("mhist", "folder"):
        with pytest.raises(DatasetError, match=f"'{name}' is not downloaded; name its folder with --data"):
            read_splits(name, None, SMALL_RGB)
    with pytest.raises(UnknownNameError, match="Did you mean 'mhist'"):
        read_splits("mhsit", tmp_path, SMALL_RGB)
    with pytest.raises(SettingError, match="'mnist' has no option 'groups'"):
        read_splits("mnist", tmp_path, MNIST_INPUT, groups="groups.csv")
    assert set(trainable_datasets()) == {"mnist", "mhist", "folder", "parquet"}
    with pytest.warns(DeprecationWarning, match=r"datasets\[NAME\]\.recipe"):
        assert recipes.RECIPES["mhist"] is datasets["mhist"].recipe


def test_images_without_labels(tmp_path):
    samples = coloured(5)
    for number, name in enumerate(("a.png", "b.PNG", "deeper/c.bmp", "deeper/even/d.png", ".hidden/e.png")):
        path = tmp_path / "u" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples.picture(number).save(path)
    (tmp_path / "u" / "._a.png").write_bytes(b"what a Mac leaves behind")
    (tmp_path / "u" / "notes.txt").write_text("no image")
    unlabelled = read_unlabelled(tmp_path / "u", samples, SMALL_RGB)
    assert unlabelled.names == ("a.png", "b.PNG", "deeper/c.bmp", "deeper/even/d.png")
    assert torch.equal(unlabelled.images, samples.images[:4])
    assert (unlabelled.classes, unlabelled.split) == (samples.classes, "unlabelled")
    assert unlabelled.labels.tolist() == [0] * 4


def test_images_without_labels_that_are_none(tmp_path):
    for folder in ("missing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DatasetError, match=f"There are no images in .*{folder}"):
            read_unlabelled(tmp_path / folder, coloured(3), SMALL_RGB)
    (tmp_path / "empty" / "x.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"1 of 1 images in .* cannot be used"):
        read_unlabelled(tmp_path / "empty", coloured(3), SMALL_RGB)
    Image.new("L", (40, 20)).save(tmp_path / "empty" / "x.png")
    assert read_unlabelled(tmp_path / "empty", coloured(3), SMALL_RGB).images.shape == (1, 3, 32, 32)


# what a study is made of ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Experiments by what was trained: (folder, splits, the students' recipe)."""
    splits, known = coloured_splits(), {}

    def make(trainable, teacher="head", label_budget=None):
        key = (trainable, teacher, label_budget)
        if key not in known:
            folder = tmp_path_factory.mktemp("made")
            torch.save(network(STUDENT, 5, classes=7).state_dict(), folder / "w.pt")
            config = replace(CONFIG, trainable=trainable)
            name = STUDENT if teacher == "head" else "torchvision/squeezenet1_1"
            given = folder / "w.pt" if teacher == "head" else None
            stages = train_experiment(
                splits,
                SMALL_RGB,
                "folder",
                folder / "e",
                config,
                teachers=[model_source(name, SMALL_RGB, weights=given)],
                student=model_source(STUDENT, SMALL_RGB, weights=folder / "w.pt"),
                teacher_config=replace(config, trainable="head" if teacher == "head" else "all"),
                label_budget=label_budget,
            )
            list(stages)
            known[key] = (folder / "e", splits, config)
        folder, _, config = known[key]
        return load_experiment(folder), splits, config

    return make


def answers_of(experiment, splits):
    teacher = experiment.runs["teacher"].model
    return {
        name: predict_logits(teacher, split_samples, SMALL_RGB.normalise, device="cpu")
        for name, split_samples in splits.items()
    }


@pytest.mark.parametrize("teacher", ["head", "other"])
def test_material_of_heads_is_features(made, tmp_path, teacher):
    experiment, splits, config = made("head", teacher)
    inputs = study_inputs(experiment, splits, Store(tmp_path), config)
    assert (inputs.network, inputs.start) == ("linear_head", "")
    assert inputs.spec == InputSpec((1, 1), 1024, (0.0,), (1.0,))
    assert {name: tuple(split_samples.images.shape) for name, split_samples in inputs.splits.items()} == {
        name: (len(split_samples), 1024, 1, 1) for name, split_samples in splits.items()
    }
    student = experiment.runs["kd_student"].model
    with torch.no_grad():
        spoken = student.fc(inputs.splits["test"].images.flatten(1))
    expected = predict_logits(student, splits["test"], SMALL_RGB.normalise, device="cpu")
    torch.testing.assert_close(spoken, expected, rtol=1e-4, atol=1e-4)
    for name, logits in answers_of(experiment, splits).items():
        torch.testing.assert_close(inputs.answers[name], logits, rtol=1e-4, atol=1e-4)
    on_features = teacher == "head"
    assert inputs.teacher_network == ("linear_head" if on_features else "torchvision/squeezenet1_1")
    assert inputs.teacher_spec == (inputs.spec if on_features else SMALL_RGB)
    assert inputs.teacher_splits["train"].images.shape[1] == (1024 if on_features else 3)


@pytest.mark.parametrize("trainable", ["all", "1"])
def test_material_of_whole_networks_is_images_and_a_start(made, tmp_path, trainable):
    experiment, splits, config = made(trainable)
    store = Store(tmp_path)
    inputs = study_inputs(experiment, splits, store, config)
    assert inputs.splits is splits
    assert inputs.teacher_splits is splits
    assert (inputs.network, inputs.spec, inputs.teacher_spec, inputs.answers) == (STUDENT, SMALL_RGB, SMALL_RGB, None)
    assert inputs.start == experiment.runs["kd_student"].training["start"]
    assert store.read(inputs.start) == (experiment.folder / "runs" / inputs.start).read_bytes()


def test_material_says_when_the_start_is_missing(made, tmp_path):
    experiment, splits, config = made("all")
    experiment.runs["kd_student"].training["start"] = "start/none.safetensors"
    with pytest.raises(SettingError, match=r"start/none\.safetensors.* is missing; train the experiment again"):
        study_inputs(experiment, splits, Store(tmp_path), config)


def test_material_with_augmentation_is_images(made, tmp_path):
    experiment, splits, config = made("head")
    inputs = study_inputs(experiment, splits, Store(tmp_path), replace(config, augment="flip"))
    assert inputs.splits is splits
    assert inputs.start


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_material_has_as_many_labels_as_its_experiment(made, tmp_path, trainable):
    experiment, splits, config = made(trainable, label_budget=LabelBudget(9))
    inputs = study_inputs(experiment, splits, Store(tmp_path), config)
    part, _ = labelled_part(splits["train"], 9, 0)
    assert inputs.splits["train"].names == tuple(splits["train"].names[number] for number in part)
    assert len(inputs.teacher_splits["train"]) == 9
    assert len(inputs.splits["test"]) == 12


def test_other_images_in_its_layout_do_not_pass_for_mhist(monkeypatch, small_digits):
    splits = {name: small_digits.take(torch.arange(10)) for name in ("train", "validation", "test")}
    assert recipes.title_of("mhist", splits) == "Images in MHIST's layout"
    monkeypatch.setattr("kdviz.data.MHIST_IMAGES", 30)
    assert recipes.title_of("mhist", splits) == "MHIST"
    assert recipes.title_of("folder", splits) == "Images"
