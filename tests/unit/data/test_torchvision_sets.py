"""torchvision's data sets by name: complete, split honestly, in the form that suits their pictures, or refused."""

from __future__ import annotations

import named_datasets as named
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, VisionDataset

from kdviz.core.errors import DatasetError, KdvizError, UnknownNameError
from kdviz.data import torchvision_set
from kdviz.data.readers import torchvision_sets as reader
from kdviz.data.readers.labelled_pictures import _put_in_order
from kdviz.data.readers.usual_training import normalisation
from kdviz.data.registry import TRANSFER, find_dataset

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Downloads fail as they do without a network."""

    def fail(*_args, **_more):
        raise OSError("no network\nsecond line")

    monkeypatch.setattr("urllib.request.urlopen", fail)


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# what is there --------------------------------------------------------------------------------------------------------


def test_which_are_for_classification():
    known = set(reader.classification_sets())
    for name in ("CIFAR10", "CIFAR100", "FashionMNIST", "SVHN", "STL10", "OxfordIIITPet", "Flowers102", "ImageNet"):
        assert name in known
    for name in ("CelebA", "VOCDetection", "CocoCaptions", "Kinetics", "Cityscapes", "Kitti", "FakeData", "LFWPairs"):
        assert name not in known


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("CIFAR10", {"train": "train", "test": "test"}),
        ("OxfordIIITPet", {"train": "trainval", "test": "test"}),
        ("Flowers102", {"train": "train", "validation": "val", "test": "test"}),
        ("Country211", {"train": "train", "validation": "valid", "test": "test"}),
        ("ImageNet", {"train": "train", "validation": "val"}),
        ("SVHN", {"train": "train", "test": "test"}),
        ("EuroSAT", {"train": "all"}),
        ("EMNIST", {"train": "train", "test": "test"}),
    ],
)
def test_splits_are_found_by_the_arguments(name, parts):
    splits = reader._parts_of(reader.classification_sets()[name])
    assert {split: part for split, (part, _) in splits.items()} == parts


# formats --------------------------------------------------------------------------------------------------------------


def test_cifar10(tmp_path, monkeypatch):
    pixels = named.cifar10(tmp_path, monkeypatch)
    splits = torchvision_set("CIFAR10", tmp_path, (32, 32))
    assert list(splits) == list(SPLITS)
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 51, "validation": 9, "test": 12}
    assert splits["validation"].labels.bincount().tolist() == [3, 3, 3]
    names = [name for split in SPLITS for name in splits[split].names]
    assert sorted(names) == sorted([f"train/{n}" for n in range(60)] + [f"test/{n}" for n in range(12)])
    for samples in splits.values():
        assert (samples.classes, samples.notes) == (named.CIFAR_CLASSES, ())
        for name, picture, label in zip(samples.names, samples.images, samples.labels.tolist(), strict=True):
            part, _, number = name.partition("/")
            assert np.array_equal(pixels[part][int(number)], picture.numpy())
            assert label == int(number) % 12 % 3


def test_the_split_is_seeded_and_the_same_in_every_size(tmp_path, monkeypatch):
    named.cifar10(tmp_path, monkeypatch)
    first, again, other, large = (
        torchvision_set("CIFAR10", tmp_path, size, seed=seed)
        for size, seed in (((32, 32), 0), ((32, 32), 0), ((32, 32), 1), ((40, 48), 0))
    )
    assert all(torch.equal(first[split].images, again[split].images) for split in SPLITS)
    assert first["validation"].names != other["validation"].names
    assert large["train"].images.shape == (51, 3, 40, 48)
    assert all(large[split].names == first[split].names for split in SPLITS)


def test_fashion_mnist_is_grey_and_has_its_class_names(tmp_path):
    named.fashion_mnist(tmp_path)
    entry = find_dataset("torchvision/FashionMNIST").of_data(tmp_path)
    assert (entry.title, entry.recipe.student, entry.recipe.pretrained) == ("FashionMNIST", "paper_fc", False)
    assert (entry.input["size"], entry.input["channels"]) == ((28, 28), 1)
    splits = entry.read(tmp_path, (28, 28), 1)
    assert splits is entry.read(tmp_path, (28, 28), 1)  # read once
    assert splits["train"].classes[:2] == ("T-shirt/top", "Trouser")
    assert splits["test"].labels.tolist() == [number % 10 for number in range(20)]


def test_oxford_pets_vary_in_size(tmp_path):
    named.oxford_pets(tmp_path)
    entry = find_dataset("torchvision/OxfordIIITPet").of_data(tmp_path)
    assert (entry.recipe, entry.input) == (TRANSFER, None)
    splits = entry.read(tmp_path, (48, 40), 3)
    assert splits["train"].classes == ("Abyssinian", "American Bulldog")
    assert {split: samples.images.shape for split, samples in splits.items()} == {
        "train": (20, 3, 48, 40),
        "validation": (4, 3, 48, 40),
        "test": (9, 3, 48, 40),
    }
    assert splits["test"].names[0] == "test/0"
    assert splits["train"].names[0].startswith("trainval/")


def test_flowers_keep_their_validation_split(tmp_path, monkeypatch):
    pytest.importorskip("scipy")
    named.flowers102(tmp_path, monkeypatch)
    splits = torchvision_set("Flowers102", tmp_path, (16, 16))
    for split, part in zip(SPLITS, ("train", "val", "test"), strict=True):
        assert splits[split].names == tuple(f"{part}/{number}" for number in range(6))
        assert splits[split].labels.tolist() == [0, 1] * 3
    assert splits["train"].classes == ("pink primrose", "hard-leaved pocket orchid")
    assert len(splits["train"].notes) == 1
    assert "left out: canterbury bells, sweet pea" in splits["train"].notes[0]


def test_without_labelled_test_split_the_validation_split_is_the_test_split(tmp_path):
    named.clevr(tmp_path)
    splits = torchvision_set("CLEVRClassification", tmp_path, (16, 16))
    assert splits["test"].names == tuple(f"val/{number}" for number in range(12))
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 10, "validation": 2, "test": 12}
    assert splits["test"].classes == ("3", "10")  # by number, not by text
    assert splits["test"].labels.tolist() == [0, 1] * 6
    assert splits["test"].notes == (
        "CLEVRClassification has no test split with labels: its split 'val' is the test split.",
    )


def test_without_splits_both_are_held_out(tmp_path):
    named.eurosat(tmp_path)
    entry = find_dataset("torchvision/EuroSAT").of_data(tmp_path)
    assert (entry.recipe.teacher, entry.input["size"]) == ("airbench", (64, 64))
    splits = entry.read(tmp_path, (64, 64), 3)
    counts = {split: samples.labels.bincount().tolist() for split, samples in splits.items()}
    assert counts == {"train": [14] * 3, "validation": [3] * 3, "test": [3] * 3}
    names = {split: set(samples.names) for split, samples in splits.items()}
    assert len(set.union(*names.values())) == 60


def test_equal_pictures_stay_together(tmp_path):
    named.eurosat(tmp_path, 20)
    folder = tmp_path / "eurosat" / "2750" / "River"
    for number in range(2, 21, 2):  # ten pairs
        (folder / f"River_{number}.png").write_bytes((folder / f"River_{number - 1}.png").read_bytes())
    splits = torchvision_set("EuroSAT", tmp_path, (64, 64))
    assert splits["train"].doubts == ()


# input ----------------------------------------------------------------------------------------------------------------


def test_mean_and_std_are_those_of_the_training_split(tmp_path, monkeypatch):
    named.cifar10(tmp_path, monkeypatch)
    entry = find_dataset("torchvision/CIFAR10").of_data(tmp_path)
    images = entry.read(tmp_path, (32, 32), 3)["train"].images.numpy() / 255
    assert entry.input["mean"] == pytest.approx(images.mean((0, 2, 3)), abs=5.1e-5)
    assert entry.input["std"] == pytest.approx(images.std((0, 2, 3)), abs=5.1e-5)


def test_the_std_of_blank_pictures_can_be_divided_by():
    mean, std = normalisation(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8))
    assert (mean, std) == ((0.2,), (round(1 / 255, 4),))


def test_a_large_size_means_transfer(tmp_path, monkeypatch):
    named.cifar10(tmp_path, monkeypatch)
    of_data = find_dataset("torchvision/CIFAR10").of_data
    assert of_data(tmp_path, (224, 224)).recipe == TRANSFER
    assert of_data(tmp_path, (48, 48)).input["size"] == (48, 48)


def test_rows_are_put_in_order_in_place():
    generator = np.random.default_rng(0)
    for count in (1, 2, 7, 50):
        rows, order = generator.integers(0, 256, (count, 3)), generator.permutation(count)
        expected = rows[order]
        _put_in_order(rows, order)
        assert np.array_equal(rows, expected)


# refusals -------------------------------------------------------------------------------------------------------------


def test_names_that_are_none(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'CIFAR10'") as caught:
        find_dataset("torchvision/cifar10")
    one_sentence(caught)
    with pytest.raises(UnknownNameError, match="Did you mean 'CIFAR10'"):
        find_dataset("torchvision/CIFAR1O")
    with pytest.raises(UnknownNameError, match="Unknown data set 'torchvisio/CIFAR10'"):
        find_dataset("torchvisio/CIFAR10")
    with pytest.raises(DatasetError, match=r"CelebA cannot be trained on.*choose one of: CIFAR10"):
        find_dataset("torchvision/CelebA")
    with pytest.raises(DatasetError, match="with: kdviz train folder"):
        find_dataset("torchvision/ImageFolder")


def test_data_that_are_not_there_and_cannot_be_downloaded(tmp_path):
    with pytest.raises(DatasetError, match=r"missing or damaged in .* cannot be downloaded \(no network\)") as caught:
        torchvision_set("CIFAR10", tmp_path)
    one_sentence(caught)
    with pytest.raises(DatasetError, match=r"StanfordCars .*broken") as caught:
        torchvision_set("StanfordCars", tmp_path)
    one_sentence(caught)
    with pytest.raises(DatasetError, match="torchvision cannot download it") as caught:
        torchvision_set("FER2013", tmp_path)
    one_sentence(caught)


def test_without_folder_the_users_cache_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    named.fashion_mnist(tmp_path / ".cache" / "kdviz")
    assert len(torchvision_set("FashionMNIST", size=(28, 28), channels=1)["test"]) == 20


def test_what_is_missing_is_downloaded(tmp_path, monkeypatch):
    def download(self):
        if not (tmp_path / "cifar-10-batches-py").exists():
            named.cifar10(tmp_path, monkeypatch)

    monkeypatch.setattr(CIFAR10, "download", download)
    assert len(torchvision_set("CIFAR10", tmp_path, (32, 32))["test"]) == 12


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        ("CIFAR10", lambda root: cut(root / "cifar-10-batches-py" / "data_batch_3"), "is missing or damaged"),
        ("CIFAR10", lambda root: (root / "cifar-10-batches-py" / "batches.meta").unlink(), "is missing or damaged"),
        ("FashionMNIST", lambda root: cut(root / "FashionMNIST/raw/train-images-idx3-ubyte"), "is missing or damaged"),
        ("FashionMNIST", lambda root: (root / "FashionMNIST/raw/t10k-labels-idx1-ubyte").unlink(), "is missing or"),
        ("OxfordIIITPet", lambda root: (root / "oxford-iiit-pet/annotations/test.txt").unlink(), "is missing or"),
        ("OxfordIIITPet", lambda root: cut(root / "oxford-iiit-pet/images/Abyssinian_2.jpg"), "1 of 24 pictures"),
        ("OxfordIIITPet", lambda root: (root / "oxford-iiit-pet/images/Abyssinian_0.jpg").unlink(), "first picture"),
    ],
)
def test_damaged_data(tmp_path, monkeypatch, name, damage, text):
    named.cifar10(tmp_path, monkeypatch)
    named.fashion_mnist(tmp_path)
    named.oxford_pets(tmp_path)
    damage(tmp_path)
    with pytest.raises(DatasetError, match=text) as caught:
        torchvision_set(name, tmp_path, (32, 32))
    one_sentence(caught)


class Odd(VisionDataset):
    """A data set whose arguments are those of classification and whose items are not."""

    items: tuple = ()

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        super().__init__(root)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


PICTURE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ((), "has no pictures"),
        (((PICTURE, {"boxes": []}),), "do not have one class each"),
        (((PICTURE, (1, 2)),), "do not have one class each"),
        (((torch.zeros(3, 8, 8), 1),), "do not have one class each"),
        (((PICTURE, None),), "do not have one class each"),
        (((PICTURE, 1),) * 4, "have one class; two are needed"),
        (((PICTURE, 1), (PICTURE, None)), "1 of 2 pictures"),
        (((PICTURE, 1), (PICTURE, 2)), "too few pictures"),
    ],
)
def test_items_that_are_no_labelled_pictures(tmp_path, monkeypatch, items, text):
    monkeypatch.setattr(Odd, "items", items)
    monkeypatch.setattr(reader, "_class_of", lambda _name: Odd)
    with pytest.raises(KdvizError, match=text) as caught:
        torchvision_set("Odd", tmp_path, (8, 8))
    one_sentence(caught)
