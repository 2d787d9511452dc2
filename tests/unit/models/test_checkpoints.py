"""Weights from elsewhere: read without running anything, loaded where they fit, refused in a sentence where not."""

from __future__ import annotations

import builtins
import os
import pickle
import resource
import urllib.error
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdviz.core.errors import ExperimentError, ModelError, SettingError, UnknownNameError
from kdviz.experiment import Experiment, InputSpec, load_experiment
from kdviz.models.checkpoints import (
    PretrainedInput,
    classifier_head,
    download_pretrained,
    load_pretrained,
    load_trained,
    pretrained_input,
    read_checkpoint,
)
from kdviz.models.networks import Renormalised, build_network

STATE = {
    "body.weight": torch.arange(6.0).view(2, 3),
    "body.bias": torch.tensor([1.0, 2.0]),
    "norm.num_batches_tracked": torch.tensor(3),
}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def refusal(path) -> str:
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# files that are read --------------------------------------------------------------------------------------------------


def with_prefix(prefix):
    return {prefix + name: tensor for name, tensor in STATE.items()}


WRAPPED = {
    "plain": STATE,
    "ordered": OrderedDict(STATE),
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model": {"model": STATE, "optimizer": {"lr": 0.1, "state": [1, 2]}},
    "model_state_dict": {"model_state_dict": STATE, "loss": 0.5},
    "twice": {"model": {"state_dict": STATE}},
    "parallel": with_prefix("module."),
    "compiled": with_prefix("_orig_mod."),
    "lightning": {"state_dict": with_prefix("model.")},
    "all of them": {"state_dict": with_prefix("_orig_mod.module.model.")},
    "parameters": {name: nn.Parameter(t) if t.is_floating_point() else t for name, t in STATE.items()},
}


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("kind", list(WRAPPED))
def test_state_dicts_as_people_save_them(tmp_path, kind, ending):
    path = tmp_path / f"weights{ending}"
    torch.save(WRAPPED[kind], path)
    state = read_checkpoint(path)
    assert same(state, STATE)
    assert not any(tensor.requires_grad for tensor in state.values())


def test_the_old_format_of_torch(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(tmp_path / "old.pth"), STATE)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_whatever_their_name(tmp_path, name):
    save_file(with_prefix("module."), tmp_path / name)
    assert same(read_checkpoint(str(tmp_path / name)), STATE)


def test_a_prefix_that_some_names_lack_stays(tmp_path):
    state = {**with_prefix("module."), "other": torch.zeros(1)}
    torch.save(state, tmp_path / "weights.pt")
    assert same(read_checkpoint(tmp_path / "weights.pt"), state)


# files that are refused -----------------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch exploded",))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", [Bomb(), {"state_dict": STATE, "args": Bomb()}])
def test_nothing_is_run(tmp_path, monkeypatch, content, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
    assert "runs no code from files" in refusal(tmp_path / "weights.pt")
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(content))
    refusal(tmp_path / "weights.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_names_its_class_and_the_way_out(tmp_path, zipped):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    text = refusal(tmp_path / "whole.pt")
    assert "torch.nn.modules" in text
    assert "torch.save(model.state_dict()" in text
    assert "safetensors" in text
    torch.save({"state_dict": STATE, "args": nn.Flatten()}, tmp_path / "args.pt")
    assert "a Python object (torch.nn.modules.flatten.Flatten)" in refusal(tmp_path / "args.pt")


@pytest.mark.parametrize("parts", [("code/__torch__.py", "data.pkl"), ("constants.pkl", "data.pkl")])
def test_torchscript(tmp_path, parts):
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for part in parts:
            archive.writestr(f"script/{part}", b"x")
    assert "TorchScript" in refusal(tmp_path / "script.pt")


def repacked(path, target, extra=0):
    """An archive of torch, compressed, with ``extra`` zeros in its first tensor's file."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + b"\0" * (extra if name.endswith("data/0") else 0))


def test_a_compressed_archive_that_is_honest(tmp_path):
    torch.save(STATE, tmp_path / "weights.pt")
    repacked(tmp_path / "weights.pt", tmp_path / "packed.pt")
    assert same(read_checkpoint(tmp_path / "packed.pt"), STATE)


@pytest.mark.slow
def test_an_archive_that_unpacks_to_much_more(tmp_path):
    torch.save({"body.weight": torch.zeros(100 * 2**18)}, tmp_path / "zeros.pt")  # 100 MB
    repacked(tmp_path / "zeros.pt", tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = refusal(tmp_path / "bomb.pt")
    assert "(0.1 MB) would unpack to 100 MB" in text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
    assert same(read_checkpoint(tmp_path / "zeros.pt"), {"body.weight": torch.zeros(100 * 2**18)})


def cycle():
    content: dict = {"epoch": 1}
    content["model"] = content
    return content


ODD = {
    "a number": ({**STATE, "epoch": 3}, "'epoch' (int)"),
    "a text": ({**STATE, "name": "x"}, "'name' (str)"),
    "a list": ({**STATE, "body.weight": [1.0]}, "'body.weight' (list)"),
    "another key": ({1: torch.zeros(1)}, "holds 1 (torch.strided on cpu)"),
    "sparse": ({**STATE, "a": torch.eye(3).to_sparse()}, "'a' (torch.sparse_coo on cpu)"),
    "meta": ({**STATE, "a": torch.zeros(3, device="meta")}, "'a' (torch.strided on meta)"),
    "nested": ({**STATE, "a": {"b": torch.zeros(1)}}, "'a' (dict)"),
    "itself": (cycle(), "no tensors by name"),
    "nothing": ({}, "no tensors by name"),
    "an empty state": ({"state_dict": {}}, "no tensors by name"),
    "one tensor": (torch.zeros(3), "no tensors by name"),
    "a list of tensors": ([torch.zeros(3)], "no tensors by name"),
}


@pytest.mark.parametrize("kind", list(ODD))
def test_what_is_no_state_dict(tmp_path, kind):
    content, reason = ODD[kind]
    torch.save(content, tmp_path / "odd.pt")
    assert reason in refusal(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"PK\3\4",
        b"PK\3\4" + b"\0" * 200,
        b"\x80\x02}q\x00.",
        b"\x89HDF\r\n",
        (5).to_bytes(8, "little") + b"{",
    ],
)
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_files_of_another_kind(tmp_path, content, ending):
    path = tmp_path / f"weights{ending}"
    path.write_bytes(content)
    assert f"weights{ending}" in refusal(path)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.99])
def test_files_that_are_cut_off(tmp_path, ending, keep):
    path = tmp_path / f"weights{ending}"
    big = {"weight": torch.rand(3000)}
    torch.save(big, path) if ending == ".pt" else save_file(big, path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert "damaged" in refusal(path)


def test_a_forged_header_of_safetensors(tmp_path):
    save_file(STATE, tmp_path / "weights.safetensors")
    data = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes((2**62).to_bytes(8, "little") + data[8:])
    assert "damaged" in refusal(tmp_path / "weights.safetensors")


def test_another_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", b"x")
    assert "is not a checkpoint of torch" in refusal(tmp_path / "weights.npz")


def test_no_file(tmp_path):
    assert "Cannot read" in refusal(tmp_path / "nowhere.pt")
    assert "holds no model" in refusal(tmp_path)


# into a network, in part ----------------------------------------------------------------------------------------------


def small(classes=2, width=4):
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, width, 3),
            norm=nn.BatchNorm2d(width),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc_norm=nn.LayerNorm(width),
            fc=nn.Linear(width, classes),
        )
    )


def filled(network, value):
    return {name: torch.full_like(tensor, value) for name, tensor in network.state_dict().items()}


def test_the_body_is_loaded_and_the_head_is_fresh():
    network = small()
    head = network.fc.weight.clone()
    loaded = load_pretrained(network, filled(small(1000), 7), head="fc")
    assert torch.equal(network.fc.weight, head)
    body = {name: t for name, t in network.state_dict().items() if not name.startswith("fc.")}
    assert all((tensor == 7).all() for tensor in body.values())
    assert "fc_norm.weight" in body
    assert (loaded.loaded, loaded.head) == (len(body), ("fc.weight", "fc.bias"))
    assert (loaded.missing, loaded.mismatched, loaded.unused) == ((), (), ())
    assert str(loaded) == "9 tensors loaded, 2 of the head are fresh"


def test_the_head_is_fresh_even_if_its_shape_fits():
    network = small()
    load_pretrained(network, filled(small(), 7), head="fc")
    assert not (network.fc.weight == 7).any()


def test_what_does_not_fit_is_reported_and_left_alone():
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = filled(network, 7)
    state["conv.weight"] = torch.full((4, 3, 5, 5), 7.0)
    state["norm.running_var"] = torch.full((4,), 7)  # whole numbers
    state["extra.weight"] = torch.zeros(2)
    del state["norm.bias"], state["norm.num_batches_tracked"]
    loaded = load_pretrained(network, state, head="fc")
    assert loaded.missing == ("norm.bias",)
    assert loaded.mismatched == ("conv.weight", "norm.running_var")
    assert loaded.unused == ("extra.weight",)
    for name, tensor in network.state_dict().items():
        fresh = name in (*loaded.missing, *loaded.mismatched, *loaded.head, "norm.num_batches_tracked")
        assert torch.equal(tensor, before[name]) == fresh, name
    assert str(loaded) == (
        "5 tensors loaded, 2 of the head are fresh, 1 not in the checkpoint (first 'norm.bias'), "
        "2 of another shape (first 'conv.weight'), 1 in the checkpoint only (first 'extra.weight')"
    )


@pytest.mark.parametrize(("kept", "fine"), [(4, True), (3, False)])
def test_half_of_the_tensors_must_fit(kept, fine):
    network = small()  # 8 tensors beside the head and the norm's counter
    names = [name for name in network.state_dict() if not name.startswith("fc.") and "num_batches" not in name]
    assert len(names) == 8
    state = {name: filled(network, 7)[name] for name in names[:kept]}
    state["norm.num_batches_tracked"] = torch.tensor(3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if fine:
        assert load_pretrained(network, state, head="fc").loaded == 5
        return
    with pytest.raises(ModelError, match=r"Only 3 of the network's 8 tensors .* check the name of the network"):
        load_pretrained(network, state, head="fc")
    assert same(network.state_dict(), before)


def test_another_networks_checkpoint_is_refused():
    state = build_network("torchvision/resnet18", classes=10, channels=3, size=(64, 64)).state_dict()
    network = build_network("torchvision/mobilenet_v3_small", classes=2, channels=3, size=(64, 64))
    with pytest.raises(ModelError, match=r"Only 0 of the network's \d+ tensors"):
        load_pretrained(network, state, head=classifier_head(network))


def test_the_head_must_be_a_part_of_the_network():
    with pytest.raises(SettingError, match="no part 'head'; its parts are conv, norm, fc_norm, fc"):
        load_pretrained(small(), filled(small(), 7), head="head")


def test_half_precision_becomes_the_networks():
    network = small()
    load_pretrained(
        network,
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in filled(small(), 7).items()},
        head="fc",
    )
    assert {tensor.dtype for name, tensor in network.state_dict().items() if "num" not in name} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("paper_cnn", ("classifier.5",)),
        ("paper_fc", ("5",)),
        ("torchvision/mobilenet_v3_small", ("classifier.3",)),
        ("torchvision/resnet18", ("fc",)),
        ("torchvision/squeezenet1_1", ("classifier.1",)),
        ("torchvision/vit_b_32", ("heads.head",)),
        ("timm/resnetv2_50", ("head.fc",)),
        ("timm/deit_tiny_distilled_patch16_224", ("head", "head_dist")),
    ],
)
def test_the_head_is_found(name, head):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        network = build_network(name, classes=7, channels=3, size=(224, 224))
    assert classifier_head(network) == head
    assert network.get_parameter(f"{head[0]}.weight").shape[0] == 7


def test_a_network_without_weights_has_no_head():
    with pytest.raises(SettingError, match="no weights"):
        classifier_head(nn.Flatten())


# into a network, whole ------------------------------------------------------------------------------------------------


def test_a_trained_classifier_is_loaded_whole():
    network = small()
    state = filled(network, 7)
    del state["norm.num_batches_tracked"]  # old checkpoints lack it
    load_trained(network, state)
    assert all((t == 7).all() for name, t in network.state_dict().items() if "num_batches" not in name)


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


MISFITS = {
    "missing": (lambda s: without(s, "norm.bias", "fc.bias"), r"2 missing \(first 'norm.bias'\)"),
    "unexpected": (lambda s: {**s, "aux.weight": torch.zeros(1)}, r"1 unexpected \(first 'aux.weight'\)"),
    "another shape": (lambda s: {**s, "conv.weight": torch.zeros(1)}, r"1 of another shape \(first 'conv.weight'\)"),
    "all": (
        lambda s: {**without(s, "fc.bias"), "x": torch.zeros(1), "fc.weight": torch.zeros(1)},
        r"1 missing .*1 unexpected .*1 of another shape",
    ),
    "classes and more": (
        lambda s: {**s, **filled(nn.ModuleDict({"fc": nn.Linear(4, 9)}), 7), "conv.bias": torch.zeros(1)},
        "3 of another shape",
    ),
    "classes": (
        lambda s: {**s, **filled(nn.ModuleDict({"fc": nn.Linear(4, 9)}), 7)},
        "is of a classifier of 9 classes, and here there are 2",
    ),
    "another width": (lambda s: {**s, "fc.weight": torch.zeros(2, 5)}, r"first 'fc.weight'"),
}


@pytest.mark.parametrize("kind", list(MISFITS))
def test_a_trained_classifier_that_does_not_fit(kind):
    change, reason = MISFITS[kind]
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ModelError, match=reason) as caught:
        load_trained(network, change(filled(network, 7)))
    assert "\n" not in str(caught.value)
    assert same(network.state_dict(), before)


# a normalisation of one's own -----------------------------------------------------------------------------------------

GIVEN = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WANTED = ((0.5, 0.4, 0.3), (0.5, 0.25, 0.1))


def normalised(pixels, mean_and_std):
    return InputSpec((8, 8), 3, *mean_and_std).normalise(pixels)


def test_a_renormalised_network_sees_what_it_learned_from():
    inner = small().eval()
    network = Renormalised(inner, 3).eval()
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    given = normalised(pixels, GIVEN)
    assert torch.equal(network(given), inner(given))  # nothing is changed before it is told what
    assert network.between(GIVEN, WANTED) is network
    torch.testing.assert_close(network(given), inner(normalised(pixels, WANTED)), rtol=1e-4, atol=1e-5)
    assert (network(given) - inner(given)).abs().max() > 1e-3


@pytest.mark.slow
def test_a_renormalised_network_comes_back_with_its_experiment(tmp_path):
    name = "torchvision/mobilenet_v3_small@renormalised"
    spec = InputSpec((32, 32), 3, *GIVEN)
    network = build_network(name, classes=2, channels=3, size=spec.size).eval()
    assert isinstance(network, Renormalised)
    network.between(GIVEN, WANTED)
    experiment = Experiment(tmp_path / "mine", "folder", ("a", "b"), spec, {})
    experiment.add_run("teacher", name, network, {}, {})
    experiment.add_run(
        "student",
        "paper_fc@renormalised",
        Renormalised(build_network("paper_fc", classes=2, channels=3, size=spec.size), 3).between(GIVEN, WANTED),
        {},
        {},
    )
    experiment.save()
    read = load_experiment(experiment.folder)
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(read.runs["teacher"].model(inputs), network(inputs))
        student = read.runs["student"].model
        assert torch.equal(student.scale, network.scale)
        assert torch.equal(student(inputs), student.network(inputs * network.scale + network.shift))


@pytest.mark.parametrize("name", ["paper_fc@renormalized", "@renormalised", "paper_fc@renormalised@renormalized"])
def test_only_that_ending_is_known(tiny_folder, name):
    import json

    with pytest.raises(UnknownNameError):
        build_network(name, classes=2, channels=3, size=(8, 8))
    path = tiny_folder / "experiment.json"
    document = json.loads(path.read_text())
    document["runs"][1]["network"] = name
    path.write_text(json.dumps(document))
    with pytest.raises(ExperimentError, match=r"runs\[1\]\.network"):
        load_experiment(tiny_folder)


def test_both_loads_reach_the_inner_network():
    for load in (load_trained, lambda network, state: load_pretrained(network, state, head=classifier_head(network))):
        network = Renormalised(small(), 3).between(GIVEN, WANTED)
        scale, shift = network.scale.clone(), network.shift.clone()
        load(network, filled(small(), 7))
        assert (network.network.conv.weight == 7).all()
        assert torch.equal(network.scale, scale)
        assert torch.equal(network.shift, shift)
    assert classifier_head(network) == ("network.fc",)
    again = Renormalised(small(), 3)
    load_trained(again, network.state_dict())
    assert same(again.state_dict(), network.state_dict())


# torchvision and timm -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torchvision/mobilenet_v2", "torchvision/resnet50@renormalised", "resnet50v2_mxnet"])
def test_imagenets_input(name):
    assert pretrained_input(name) == PretrainedInput((224, 224), *GIVEN)


def test_inputs_of_timm():
    pytest.importorskip("timm")
    half = (0.5, 0.5, 0.5)
    assert pretrained_input("timm/tf_efficientnet_lite2") == PretrainedInput((260, 260), half, half)
    assert pretrained_input("timm/resnet18").mean == GIVEN[0]


@pytest.mark.parametrize("ask", [pretrained_input, download_pretrained])
def test_names_without_pretrained_weights(ask):
    for name in ("paper_cnn", "torchvision/", "onnx", ""):
        with pytest.raises(SettingError, match="weights"):
            ask(name)
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilenet_v2'"):
        ask("torchvision/mobilnet_v2")


@pytest.mark.parametrize("error", [urllib.error.URLError("no network"), RuntimeError("invalid hash value")])
def test_no_network(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(
        ModelError, match=r"cannot be downloaded; .* --teacher-pretrained / --student-pretrained"
    ) as caught:
        download_pretrained("torchvision/mobilenet_v2")
    assert "\n" not in str(caught.value)
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ModelError, match=r"'timm/tf_efficientnet_lite2' cannot be downloaded"):
        download_pretrained("timm/tf_efficientnet_lite2")


def test_downloads_of_torchvision(monkeypatch):
    asked = []
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **_: asked.append(url) or STATE)
    assert same(download_pretrained("torchvision/mobilenet_v2@renormalised"), STATE)
    assert "mobilenet_v2" in asked[0]


@pytest.mark.parametrize("name", ["timm/resnet18", "resnet50v2_mxnet"])
def test_without_timm(monkeypatch, name):
    real = builtins.__import__

    def without_timm(module, *rest):
        if module == "timm":
            raise ImportError
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without_timm)
    with pytest.raises(SettingError, match="needs timm; install it with: pip install timm"):
        build_network(name, classes=2, channels=3, size=(32, 32))


@pytest.mark.slow
def test_the_resnet_of_mxnet_comes_back_with_its_experiment(tmp_path):
    pytest.importorskip("timm")
    spec = InputSpec((32, 32), 3, *GIVEN)
    network = build_network("resnet50v2_mxnet", classes=2, channels=3, size=spec.size).eval()
    assert classifier_head(network) == ("head.fc",)
    assert list(dict(network.stem.named_children())) == ["norm0", "conv", "norm", "pool"]
    experiment = Experiment(tmp_path / "mine", "folder", ("a", "b"), spec, {})
    experiment.add_run("teacher", "resnet50v2_mxnet", network, {}, {})
    experiment.save()
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_experiment(experiment.folder).runs["teacher"].model(inputs), network(inputs))


# real weights ---------------------------------------------------------------------------------------------------------

REAL = {
    "mobilenet_v2.torchvision.pth": "torchvision/mobilenet_v2",
    "tf_efficientnet_lite2.timm.pth": "timm/tf_efficientnet_lite2@renormalised",
    "resnetv2_50-partial.timm.pth": "resnet50v2_mxnet",
}


@pytest.mark.tiles
@pytest.mark.parametrize("file", list(REAL))
def test_real_weights(tiles_folder, file):
    name = REAL[file]
    if "torchvision" not in name:
        pytest.importorskip("timm")
    network = build_network(name, classes=2, channels=3, size=(224, 224))
    state = read_checkpoint(tiles_folder / "weights" / file)
    loaded = load_pretrained(network, state, head=classifier_head(network))
    assert (loaded.mismatched, loaded.unused) == ((), ())
    assert len(loaded.head) == 2
    if "partial" not in file:
        assert loaded.missing == ()
        with pytest.raises(ModelError, match="of a classifier of 1000 classes, and here there are 2"):
            load_trained(network, state)
        load_trained(build_network(name, classes=1000, channels=3, size=(224, 224)), state)
        return
    assert len(loaded.missing) == 9
    assert all(missing.startswith("stages.3.") for missing in loaded.missing)
    # Its input's norm knows ImageNet's normalisation: with values in [0, 1] the mean would be near .45.
    assert network.stem.norm0.running_mean.abs().max() < 0.2
    assert network.stem.norm0.running_var.min() > 1
