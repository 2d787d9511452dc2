"""The index of networks: what it says is what the libraries build, it is small, and a damaged one is one error."""

from __future__ import annotations

import time
import zipfile

import pytest
import torch
from torch import nn

from kdviz.core.errors import ModelError
from kdviz.models.identify import check, identify
from kdviz.models.identify.build import build_index, main
from kdviz.models.identify.index import FILE, Index, tensor_hash, the_index
from kdviz.models.identify.outlines import all_outlines, shapes_of
from kdviz.models.identify.symbols import linear, quadratic, solve
from kdviz.models.networks import build_network, networks

FEW = ("torchvision/googlenet", "torchvision/vit_b_16", "timm/resnet18", "timm/vit_tiny_patch16_224", "paper_fc")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "index.zip"
    build_index(all_outlines(FEW), path)
    return path


def test_the_index_in_the_package_is_what_its_script_makes(few):
    made, packaged = Index(few), the_index()
    assert {entry.network for entry in made.entries} == set(FEW)
    for entry in made.entries:
        alike = [
            entry_of_network
            for entry_of_network in packaged.by_name[entry.network]
            if entry_of_network.channels == entry.channels
        ]
        (same,) = alike
        assert made.tensors(entry) == packaged.tensors(same)
        for attribute in ("settings", "size", "size_setting", "published"):
            assert getattr(entry, attribute) == getattr(same, attribute)


def test_the_same_networks_give_the_same_bytes(few, tmp_path):
    build_index(all_outlines(FEW), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == few.read_bytes()


def test_the_script_makes_and_checks_an_index(tmp_path, capsys):
    path = tmp_path / "index.zip"
    assert main(["--out", str(path), "--networks", "timm/resnet18"]) == 0
    assert main(["--out", str(path), "--networks", "timm/resnet18", "--check"]) == 0
    said = capsys.readouterr().out
    assert "2 tried, 100.00% found: 2 chosen" in said
    assert "2 tried, 0 taken for a network" in said


def test_the_check_sees_what_is_not_found(few):
    ((lost, _), _), ((known, _), _) = (
        list(check.trials(Index(few), [name])) for name in ("timm/resnet34", "timm/resnet18")
    )
    assert (lost.outcome, known.outcome) == (check.REFUSED, check.CHOSEN)


def test_the_index_is_small_and_quick():
    assert FILE.stat().st_size < 2**20
    shapes = shapes_of(lambda: build_network("timm/resnet18", classes=2, channels=3, size=(64, 64)))
    start = time.process_time()
    identify(shapes, index=Index())
    assert time.process_time() - start < 1


def test_every_network_in_it_has_a_head_and_colours():
    index = the_index()
    assert len(index.entries) > 1300
    for library, least in (("torchvision/", 80), ("timm/", 1200)):
        assert sum(name.startswith(library) for name in index.by_name) >= least
    assert (index.needed > 0).sum() >= len(index.entries) - 2  # all of paper_fc's shapes follow the input


@pytest.mark.parametrize("content", [b"", b"PK\5\6" + bytes(18), b"nothing"])
def test_a_damaged_index_is_one_error(content, tmp_path):
    path = tmp_path / "index.zip"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="install kdviz again"):
        Index(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("networks.json", "[]")
    with pytest.raises(ModelError, match="install kdviz again"):
        Index(path)
    with pytest.raises(ModelError, match="install kdviz again"):
        Index(tmp_path / "missing.zip")


def test_nothing_is_filled_where_only_shapes_are_asked_for():
    layers = []
    shapes = shapes_of(lambda: layers.append(nn.Linear(10**6, 10**6)) or layers[0])  # 4 TB with numbers
    assert shapes == {"weight": (10**6, 10**6), "bias": (10**6,)}
    assert layers[0].weight.is_meta
    counted = shapes_of(lambda: nn.Linear(int(torch.arange(3).sum()), 2))  # sizes computed with tensors
    assert counted["weight"] == (2, 3)


def test_a_hash_tells_names_and_shapes_apart():
    kinds = [("a", (1, 2)), ("a", (12,)), ("a", (2, 1)), ("b", (1, 2)), ("a.b", (1,))]
    assert len({tensor_hash(*kind) for kind in kinds}) == len(kinds)


# shapes with unknowns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "value", "unknown"),
    [
        (linear("K", (7, 11), (7, 11)), 1000, 1000),
        (linear("C", (3, 1), (193, 65)), 193, 3),
        (linear("C", (3, 1), (193, 65)), 194, None),
        (quadratic((448, 672, 896), (785, 1765, 3137)), 577, 384),  # (size / 16)^2 + 1 positions
        (quadratic((448, 672, 896), (785, 1765, 3137)), 578, None),
        (quadratic((448, 672, 896), (28, 42, 56)), 24, 384),  # a side of the grid
        (quadratic((56, 84, 112), (27, 41, 55)), 13, 28),  # 2 x size / 4 - 1 relative positions
        (linear("K", (7, 11), (7, 11)), 0, None),
    ],
)
def test_an_unknown_is_solved(side, value, unknown):
    assert solve(side, value) == unknown


def test_what_cannot_be_said_is_an_error():
    with pytest.raises(ValueError, match="does not follow K"):
        linear("K", (7, 11), (7, 13))
    with pytest.raises(ValueError, match="not quadratic"):
        quadratic((1, 2, 3, 4), (1, 8, 27, 64))


def test_every_network_of_kdviz_is_in_the_package():
    own = {name for name in networks if not name.partition("/")[1]} - {
        "linear_head",
        "sparse_linear",
    }  # a head alone is no network
    assert own <= the_index().by_name.keys()


def test_the_networks_for_colour_photographs_are_found_from_their_weights():
    for name, channels in (("airbench", 3), ("airbench_small", 3), ("airbench_small", 1)):
        state = build_network(name, classes=7, channels=channels, size=(32, 32)).state_dict()
        match = identify({key: tuple(value.shape) for key, value in state.items()})
        assert (match.network, match.classes, match.channels, match.rivals) == (name, 7, channels, ())
