"""Names of classes in every form, and which logit of a model each class is: a permutation, never a guess."""

from __future__ import annotations

import json

import pytest

from kdviz.core.errors import DatasetError, ModelError
from kdviz.data.labels.class_names import class_order, read_classes
from kdviz.data.labels.imagenet import imagenet
from kdviz.data.labels.matching import second_names

ANIMALS = ("ant", "bee", "cat")


@pytest.fixture
def table():
    """ImageNet's classes as timm has them."""
    pytest.importorskip("timm")
    return imagenet()


def written(tmp_path, text, name="classes.txt"):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


# reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "ant\nbee\n\ncat\n"),
        ("a.txt", "\ufeffant\r\nbee\r\ncat"),
        ("a.txt", "ant, bee, cat"),
        ("a.txt", "0 ant\n2 cat\n1 bee"),
        ("a.txt", "1: ant\n2: bee\n3: cat"),
        ("a.txt", "{0: 'ant',\n 1: 'bee',\n 2: 'cat'}"),
        ("a.csv", "index,name\n2,cat\n0,ant\n1,bee"),
        ("a.csv", "name,label\ncat,2\nant,0\nbee,1"),
        ("a.csv", "name\nant\nbee\ncat"),
        ("a.tsv", "id\tname\n0\tant\n1\tbee\n2\tcat"),
        ("a.json", ["ant", "bee", "cat"]),
        ("a.json", {"0": "ant", "2": "cat", "1": "bee"}),
        ("a.json", {"cat": 2, "ant": 0, "bee": 1}),
        (
            "config.json",
            {"model_type": "vit", "id2label": {"0": "ant", "1": "bee", "2": "cat"}, "label2id": {"ant": 0}},
        ),
        ("a.json", {"class_to_idx": {"cat": 2, "ant": 0, "bee": 1}}),
        ("a.json", {"classes": ["ant", "bee", "cat"]}),
    ],
)
def test_every_form_gives_the_names_in_their_order(tmp_path, name, content):
    names = read_classes(written(tmp_path, content, name))
    assert (names.names, dict(names.aliases)) == (ANIMALS, {})
    assert read_classes(str(tmp_path / name)) == names


def test_lists_and_texts():
    assert read_classes("ant, bee,cat").names == read_classes(ANIMALS).names == ANIMALS
    assert read_classes(["crane", "eel", "crane"]).names == ("crane", "eel", "crane (2)")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.txt", "n01440764=tench\nn01484850=great white shark"),
        ("map.txt", "n01440764 tench\nn01484850 great white shark"),
        ("map.txt", "n01440764\ttench\nn01484850\tgreat white shark"),
        ("map.csv", "folder,name\nn01440764,tench\nn01484850,great white shark"),
        ("map.json", {"n01440764": "tench", "n01484850": "great white shark"}),
        ("imagenet_class_index.json", {"0": ["n01440764", "tench"], "1": ["n01484850", "great white shark"]}),
    ],
)
def test_maps_from_folders_to_names(tmp_path, name, content):
    names = read_classes(written(tmp_path, content, name))
    assert names.names == ("tench", "great white shark")
    assert names.aliases == {"n01440764": "tench", "n01484850": "great white shark"}


def test_a_line_with_commas_is_one_name(tmp_path):
    assert read_classes(written(tmp_path, "tench, Tinca tinca\ngoldfish")).names == ("tench, Tinca tinca", "goldfish")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "ant", "fewer than two"),
        ("a.txt", "", "fewer than two"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", {"model_type": "vit"}, "no class names|fewer than two"),
        ("a.json", {"ant": 0, "bee": 5}, "no class names"),
        ("a.json", [1, 2], "no class names"),
        ("a.txt", "a=x\na=y", "no name, or two"),
        ("a.txt", "x" * 600 + "\ny", "more than 500 characters"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path, name, content, words):
    with pytest.raises(DatasetError, match=rf"(?:{words}).*\.$"):
        read_classes(written(tmp_path, content, name))


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(DatasetError, match="There is no file"):
        read_classes("classes.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_classes(tmp_path / "a.txt")


# order ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "data", "order"),
    [
        (ANIMALS, ANIMALS, None),
        (("cat", "ant", "bee"), ANIMALS, (1, 2, 0)),
        (("Cat", "ANT", "bee"), ANIMALS, (1, 2, 0)),
        (("great_white_shark", "tench"), ("tench", "Great white shark"), (1, 0)),
        (("dog", "cat", "ant", "bee"), ("cat", "ant"), (1, 2)),  # fewer classes than the model's
        (("tench, Tinca tinca", "goldfish, Carassius auratus"), ("goldfish", "tench"), (1, 0)),
        (("cat", "Cat"), ("Cat", "cat"), (1, 0)),  # the strictest comparison decides
        (("n01440764", "n01443537"), ("n01443537", "n01440764"), (1, 0)),
        (3, ANIMALS, None),
        (10, ("class 7", "class 2"), (7, 2)),
        (10, ("7", "2"), (7, 2)),
        (100, ("007", "012"), (7, 12)),
    ],
)
def test_orders(model, data, order):
    assert class_order(model, data) == order


def test_aliases_are_names_too():
    assert class_order(("HP", "SSA"), ("serrated", "benign"), {"HP": "benign", "SSA": "serrated"}) == (1, 0)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (("HP", "SSA"), ("benign", "malign"), r"2 of the data's 2 classes \('benign', 'malign'\)"),
        (("HP", "SSA"), ("HP", "SSA", "other"), r"1 of the data's 3 classes \('other'\)"),
        (("cat", "dog"), ("cat", "Cat"), "are the same class"),
        (("CAT", "Cat"), ("cat", "dog"), "could be several"),
        (5, ANIMALS, "5 logits and the data 3 classes"),
        (1000, ("zebrafish", "tench"), "1000 logits and the data 2"),
        (100, ("7", "12"), "100 logits"),  # folders 1, 10, 2: by text or by number?
        (2, ("a", "b", "c"), "2 logits"),
    ],
)
def test_what_cannot_be_told_is_refused(model, data, words):
    with pytest.raises(ModelError, match=rf"{words}.*\.$"):
        class_order(model, data)


# ImageNet -------------------------------------------------------------------------------------------------------------


def test_imagenets_order_from_names_and_ids(table):
    assert class_order(1000, ("goldfish", "tench")) == (1, 0)
    assert class_order(1000, table.wnids[7:9]) == (7, 8)
    assert class_order(1000, ("n03126707", "crane (n02012849)")) == (517, 134)
    assert class_order(1000, table.wnids) is None
    with pytest.raises(ModelError):
        class_order(1000, ("crane", "tench"))  # the bird or the machine


def test_every_library_names_each_class_of_imagenet(table):
    """Every class is matched to itself between wordnet ids, synsets and torchvision's names; none is mistaken."""
    from torchvision.models import ResNet18_Weights

    from kdviz.data.labels.matching import match_names

    synsets = [table.lemmas[wnid] for wnid in table.wnids]
    everyone = tuple(range(1000))
    assert match_names(table.wnids, table.wnids) == everyone
    assert class_order(synsets, table.wnids) is None
    assert class_order(read_classes(synsets).names, table.wnids) is None
    short = ResNet18_Weights.DEFAULT.meta["categories"]
    assert class_order(read_classes(short).names, table.wnids) is None
    unique = [number for number, name in enumerate(short) if name != "crane"]
    assert class_order(1000, [short[number] for number in reversed(unique)]) == tuple(reversed(unique))
    assert class_order(1000, short) is None
    with pytest.raises(ModelError, match="could be several"):
        class_order(1000, short[::-1])  # as many as logits, and yet not in the data's order


def test_a_permuted_models_own_order_is_undone(table):
    names = tuple(table.lemmas[wnid] for wnid in reversed(table.wnids))
    assert class_order(read_classes(names).names, table.wnids[:3]) == (999, 998, 997)


def test_imagenets_names_without_timm(monkeypatch):
    from kdviz.data.labels import imagenet as module

    monkeypatch.setattr(module, "_folder_of", lambda _: None)
    module.imagenet.cache_clear()
    module.synsets.cache_clear()
    try:
        assert module.imagenet().wnids == ()
        assert class_order(1000, ("goldfish", "tench")) == (1, 0)
        assert module.short_name("n01440764") == "n01440764"
    finally:
        monkeypatch.undo()
        module.imagenet.cache_clear()
        module.synsets.cache_clear()


# second names ---------------------------------------------------------------------------------------------------------


def test_classes_of_imagenet_can_be_found_by_their_ids(table):
    assert second_names(("tench", "tabby, tabby cat")) == {"tench": "n01440764", "tabby, tabby cat": "n02123045"}
    assert second_names(("n01440764", "n02123045")) == {"n01440764": "tench", "n02123045": "tabby"}
    assert second_names(("crane (n03126707)", "tench")) == {"tench": "n01440764"}  # its id is in its name
    assert second_names(("tench", "crane")) == {}  # there are two cranes
    assert second_names(("tench", "cat")) == {}  # a class of other data
