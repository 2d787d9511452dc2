"""``kdviz import`` and ``kdviz.import_models`` on files that timm, torchvision and torch wrote."""

from __future__ import annotations

import argparse
import json
import sys
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from named_datasets import class_label, parquet_file
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models as torchvision_models

import kdviz
from kdviz.cli import main
from kdviz.core.errors import ExperimentError, KdvizError, ModelError, SettingError
from kdviz.experiment import load_experiment
from kdviz.importing import first_maps, named_model, parse_spec, role_of
from kdviz.importing.model import _about_size
from kdviz.models.inputs import InputSpec

pytestmark = pytest.mark.slow  # the models of all tests here are trained and imported first: many seconds

CLASSES = ("blue", "green", "red")
TIMM = "test_resnet"  # timm's own network for tests: 160 pixels, mean and std of its own


@pytest.fixture(scope="module", autouse=True)
def few_maps():
    """Maps of examples have the fewest masks, not as many as fit into some seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[first_maps.__module__], "_MOST", 64)
        yield


def photograph(label: int, number: int) -> Image.Image:
    generator = np.random.default_rng(1000 * label + number)
    width, height = generator.integers(60, 110, 2)
    pixels = generator.integers(0, 160, (height, width, 3))
    pixels[..., 2 - label] += 90
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(11):
            photograph(label, number).save(folder / name / f"{number:02}.png")
    return folder


def fitted(network: nn.Module, transform, order=(0, 1, 2), shrink=1) -> nn.Module:
    """The network after a few steps on other pictures, so that it is right on most; ``order`` permutes its logits.

    A network that takes any size learns colours as well from pictures that are ``shrink`` times smaller.
    """
    torch.manual_seed(0)
    images = torch.stack([transform(photograph(label, 100 + n)) for label in range(3) for n in range(6)])
    images = nn.functional.avg_pool2d(images, shrink)
    labels = torch.tensor([order[label] for label in range(3) for _ in range(6)])
    optimiser = torch.optim.Adam(network.parameters(), 3e-4)
    network.train()
    for _ in range(8):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def timm_transform():
    import timm

    config = timm.data.resolve_data_config({}, model=timm.create_model(TIMM, pretrained=False))
    return timm.data.create_transform(**config)


@pytest.fixture(scope="module")
def torchvision_transform():
    return torchvision_models.SqueezeNet1_1_Weights.DEFAULT.transforms()


@pytest.fixture(scope="module")
def networks(timm_transform, torchvision_transform):
    torch.manual_seed(1)
    import timm

    teacher = fitted(timm.create_model(TIMM, pretrained=False, num_classes=3), timm_transform)
    kd = fitted(torchvision_models.squeezenet1_1(num_classes=3), torchvision_transform, order=(2, 0, 1), shrink=4)
    alone = fitted(timm.create_model(TIMM, pretrained=False, num_classes=3), timm_transform)
    return {"teacher": teacher, "kd": kd, "alone": alone}


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    arguments = argparse.Namespace(model=TIMM, lr=0.1, milestones=[1, 2])
    teacher = {"epoch": 3, "arch": TIMM, "state_dict": networks["teacher"].state_dict(), "args": arguments}
    torch.save(teacher, folder / "teacher.ckpt")
    torch.save({"model": nn.DataParallel(networks["kd"]).state_dict(), "optimizer": {}}, folder / "kd.pth")
    save_file(networks["alone"].state_dict(), folder / "alone.safetensors")
    return folder


def accuracy(network, transform, pictures, order=(0, 1, 2)) -> float:
    with torch.no_grad():
        right = [
            int(network(transform(Image.open(path))[None]).argmax()) == order[label]
            for label, name in enumerate(CLASSES)
            for path in sorted((pictures / name).iterdir())
        ]
    return sum(right) / len(right)


@pytest.fixture(scope="module")
def imported(files, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("experiments") / "mine"
    command = ["import", "--out", out, "--data", pictures, "--teacher", files / "teacher.ckpt"]
    command += ["--kd-student", f"{files / 'kd.pth'},classes=green/red/blue", "--student", files / "alone.safetensors"]
    command += ["--model", f"Alone, half size={files / 'alone.safetensors'},size=96", "--threads", "1"]
    assert main(list(map(str, command))) == 0
    return load_experiment(out)


# the command ----------------------------------------------------------------------------------------------------------


def test_networks_inputs_and_classes_are_found(imported):
    assert imported.format == 2
    assert imported.classes == CLASSES
    runs = imported.runs
    assert list(runs) == ["teacher", "kd_student", "student", "Alone_half_size"]
    assert [run.network for run in runs.values()][:2] == [f"timm/{TIMM}", "torchvision/squeezenet1_1"]
    assert runs["student"].network.startswith("timm/")
    record = {role: run.training["import"] for role, run in runs.items()}
    assert [model_record["network_from"] for model_record in record.values()] == [
        "file",
        "matched",
        "matched",
        "matched",
    ]
    assert record["kd_student"]["input_from"] == "library"
    assert runs["Alone_half_size"].title == "Alone, half size"
    assert runs["Alone_half_size"].spec.size == (96, 96)
    assert runs["kd_student"].class_order == (2, 0, 1)
    assert runs["teacher"].spec != runs["kd_student"].spec


def test_accuracies_are_those_of_the_libraries_transforms(
    imported, networks, pictures, timm_transform, torchvision_transform
):
    metrics = {role: run.metrics["test"]["accuracy"] for role, run in imported.runs.items()}
    assert metrics["teacher"] == pytest.approx(accuracy(networks["teacher"], timm_transform, pictures), abs=1e-6)
    kd = accuracy(networks["kd"], torchvision_transform, pictures, order=(2, 0, 1))
    assert metrics["kd_student"] == pytest.approx(kd, abs=1e-6)
    assert kd > 0.5  # the order of its classes matters


def test_a_parquet_file_of_the_same_pictures_gives_the_same_accuracies(imported, files, pictures, tmp_path):
    paths = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((pictures / name).iterdir())]
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path, _label in paths]
    features = {"picture": {"_type": "Image"}, "kind": class_label(CLASSES)}
    kinds = [label for _path, label in paths]
    parquet_file(tmp_path / "data" / "test-00000-of-00001.parquet", features, picture=rows, kind=kinds, other=kinds)
    command = ["import", "--out", tmp_path / "mine", "--data", tmp_path / "data", "--label-column", "kind"]
    command += ["--kd-student", f"{files / 'kd.pth'},classes=green/red/blue", "--threads", "1"]
    assert main(list(map(str, command))) == 0
    of_pictures = imported.runs["kd_student"].metrics["test"]
    measured = load_experiment(tmp_path / "mine").runs["kd_student"].metrics["test"]
    assert {name: of_pictures[name] for name in measured} == measured
    command = ["evaluate", "-e", tmp_path / "mine", "--data", tmp_path / "data", "--threads", "1"]
    assert main(list(map(str, [*command, "--label-column", "other"]))) == 0  # numbers, which the classes name
    assert load_experiment(tmp_path / "mine").runs["kd_student"].metrics["test"] == measured


def test_maps_of_all_models_are_of_the_same_pixels(imported, pictures):
    maps = kdviz.explain(imported, pictures / "red" / "00.png", n_masks=64)
    assert len({saliency_map.shape for saliency_map in maps.values()}) == 1
    assert next(iter(maps.values())).shape == imported.input.size
    assert set(maps) == set(imported.runs)


def test_held_out_pictures_and_a_showcase_are_kept(imported):
    stored = imported.samples("test")
    assert len(stored) == 33
    assert stored.picture(0).size == imported.input.size[::-1]
    assert imported.has_table("predictions")
    assert imported.has_table("showcase")


def test_the_report_says_what_was_assumed(files, pictures, tmp_path, capsys):
    out = tmp_path / "mine"
    command = ["import", "--out", out, "--data", pictures, "--teacher", f"{files / 'kd.pth'},size=64,mean=.5,std=.5"]
    assert main([*map(str, command), "--json", "--threads", "1"]) == 0
    captured = capsys.readouterr()
    assumed, measured = (
        captured.err.index(text) for text in ("kdviz: teacher: torchvision/squeezenet1_1, 64 x 64", "evaluate")
    )
    assert assumed < measured  # before the time is spent
    said = json.loads(captured.out)["teacher"]
    assert said["network"] == "torchvision/squeezenet1_1"
    assert (said["network_from"], said["input_from"]) == ("matched", "given")
    assert said["input"]["size"] == [64, 64]
    assert said["input"]["mean"] == [0.5] * 3
    assert 0 <= said["accuracy"] <= 1
    assert isinstance(said["doubts"], list)


def test_small_pictures_of_another_size_are_noted_unless_somebody_gave_it():
    taken = InputSpec((224, 224), 3, (0.5,) * 3, (0.5,) * 3)
    (note,) = _about_size(parse_spec("teacher", "a.pth"), taken, (32, 40))
    assert note == "The pictures of 32 x 40 become 224 x 224; if it was trained on them as they are, give size=32x40."
    assert _about_size(parse_spec("teacher", "a.pth,size=224"), taken, (32, 40)) == ()
    assert _about_size(parse_spec("teacher", "a.pth"), taken, None) == ()
    assert _about_size(parse_spec("teacher", "a.pth"), taken, (224, 224)) == ()


def test_pictures_without_labels_give_no_accuracy(files, tmp_path, capsys):
    folder = tmp_path / "loose"
    folder.mkdir()
    for number in range(4):
        photograph(0, number).save(folder / f"{number}.png")
    command = ["import", "--out", tmp_path / "mine", "--data", folder, "--teacher", files / "teacher.ckpt"]
    command += ["--student", files / "alone.safetensors", "--classes", ",".join(CLASSES), "--json", "--threads", "1"]
    assert main(list(map(str, command))) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["teacher"]["accuracy"] is None
    experiment = load_experiment(tmp_path / "mine")
    assert "same_as_teacher" in experiment.runs["student"].metrics["test"]
    assert set(experiment.table("predictions")["label"].to_pylist()) == {-1}


def test_numbers_of_logits_keep_all_logits(files, tmp_path):
    folder = tmp_path / "numbered"
    folder.mkdir()
    rows = ["file,label"]
    for label in (0, 2):
        for number in range(3):
            photograph(label, number).save(folder / f"{label}-{number}.png")
            rows.append(f"{label}-{number}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(rows))
    command = ["import", "--out", tmp_path / "mine", "--data", folder / "labels.csv"]
    assert main([*map(str, command), "--teacher", str(files / "teacher.ckpt"), "--threads", "1"]) == 0
    experiment = load_experiment(tmp_path / "mine")
    assert experiment.classes == ("class 0", "class 1", "class 2")
    assert experiment.runs["teacher"].class_order is None
    assert set(experiment.table("predictions")["label"].to_pylist()) == {0, 2}


def test_predictions_alone_give_a_verdict(files, pictures, tmp_path):
    logits = np.random.default_rng(0).normal(size=(33, 3))
    np.savez(tmp_path / "said.npz", logits=logits)
    command = ["import", "--out", tmp_path / "mine", "--data", pictures, "--teacher", files / "teacher.ckpt"]
    command += ["--predictions", f"kd_student={tmp_path / 'said.npz'}", "--threads", "1"]
    assert main(list(map(str, command))) == 0
    experiment = load_experiment(tmp_path / "mine")
    assert list(experiment.models) == ["teacher"]
    labels = np.repeat([0, 1, 2], 11)
    expected = (logits.argmax(1) == labels).mean()
    assert experiment.runs["kd_student"].metrics["test"]["accuracy"] == pytest.approx(expected, abs=1e-6)


WRONG = [
    (["--teacher", "{files}/none.pth"], "none.pth"),
    (["--teacher", "{files}/kd.pth,sise=3"], "'sise' is no key"),
    (["--teacher", "{files}/kd.pth,size=big"], "A size is written"),
    (["--teacher", "{files}/kd.pth,network=torchvision/resnet18"], "resnet18"),
    (["--teacher", "{files}/kd.pth,classes=a/b"], "2 class names"),
    (["--teacher", "{files}/kd.pth,code=net.py:Net"], "FILE.py:NAME"),
    (["--model", "nothing"], "must be ROLE=FILE"),
    (["--teacher", "{files}/kd.pth", "--classes", "a,b,c"], "none of"),
    ([], "No model is named"),
]


@pytest.mark.parametrize(("more", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(files, pictures, tmp_path, capsys, more, said):
    out = tmp_path / "mine"
    command = ["import", "--out", str(out), "--data", str(pictures), *(part.format(files=files) for part in more)]
    assert main(command) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("kdviz: ")
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_timm_says_its_input_itself(networks, tmp_path, capsys):
    from timm.models import save_for_hf

    config = {**networks["teacher"].pretrained_cfg, "mean": (0.1,) * 3}
    save_for_hf(networks["teacher"], tmp_path / "hub", {"pretrained_cfg": config, "num_classes": 3})
    command = ["import", "--out", str(tmp_path / "mine"), "--teacher", str(tmp_path / "hub"), "--json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)["teacher"]
    assert (said["network_from"], said["input_from"]) == ("config", "config")
    assert said["input"]["mean"] == [0.1] * 3


def test_predictions_alone_stay_when_the_models_are_measured_again(files, pictures, tmp_path, capsys):
    np.savez(tmp_path / "said.npz", logits=np.random.default_rng(0).normal(size=(33, 3)))
    out = str(tmp_path / "mine")
    command = ["import", "--out", out, "--data", str(pictures), "--teacher", str(files / "teacher.ckpt")]
    assert main([*command, "--predictions", f"kd_student={tmp_path / 'said.npz'}", "--threads", "1"]) == 0
    before = load_experiment(out).runs["kd_student"].metrics
    assert main(["evaluate", "-e", out, "--data", str(pictures), "--threads", "1"]) == 0
    assert load_experiment(out).runs["kd_student"].metrics == before
    (pictures.parent / "fewer").mkdir(exist_ok=True)
    for label, name in enumerate(CLASSES):
        (pictures.parent / "fewer" / name).mkdir(exist_ok=True)
        photograph(label, 50).save(pictures.parent / "fewer" / name / "a.png")
    assert main(["evaluate", "-e", out, "--data", str(pictures.parent / "fewer"), "--threads", "1"]) == 0
    assert load_experiment(out).runs["kd_student"].metrics == {}  # they are of other pictures


def test_only_what_an_import_made_is_replaced(files, imported, tmp_path, tiny_folder, capsys):
    command = ["import", "--out", str(tiny_folder), "--teacher", str(files / "kd.pth")]
    before = sorted(path.name for path in tiny_folder.iterdir())
    assert main(command) == 1
    assert "no import made" in capsys.readouterr().err
    assert sorted(path.name for path in tiny_folder.iterdir()) == before


def test_code_is_run_only_where_it_is_trusted(tmp_path, pictures, capsys):
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n"
        "class TinyNet(nn.Sequential):\n"
        "    def __init__(self, num_classes=3):\n"
        "        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, num_classes))\n"
    )
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    torch.save({f"net.{name}": tensor for name, tensor in network.state_dict().items()}, tmp_path / "tiny.pt")
    spec = f"{tmp_path / 'tiny.pt'},size=32,code={tmp_path / 'mynet.py'}:TinyNet"
    command = ["import", "--out", str(tmp_path / "out" / "mine"), "--teacher", spec, "--threads", "1"]
    assert main(command) == 1
    assert "--trust" in capsys.readouterr().err
    assert main([*command, "--trust"]) == 0
    experiment = load_experiment(tmp_path / "out" / "mine")
    assert experiment.runs["teacher"].network == "onnx"
    images = torch.rand(2, 3, 32, 32)
    own = experiment.runs["teacher"].spec.normalise(images)
    torch.testing.assert_close(experiment.runs["teacher"].unadapted(own), network(own), atol=1e-5, rtol=1e-4)


# specs ----------------------------------------------------------------------------------------------------------------


def test_a_spec_is_a_file_and_keys():
    spec = parse_spec("teacher", "a,b.pth,network=timm/x,size=260x280,resize=292,mean=.485/.456/.406,std=.2,key=ema")
    assert (str(spec.path), spec.network, spec.key) == ("a,b.pth", "timm/x", "ema")
    assert spec.given == {"size": (260, 280), "resize": 292, "mean": (0.485, 0.456, 0.406), "std": (0.2,)}
    assert parse_spec("t", "x.pth,resize=squash,crop=87.5%").given == {"resize": "squash", "crop": 0.875}


@pytest.mark.parametrize(
    "text", ["", "x.pth,size=", "x.pth,size=5,size=6", "x.pth,mean=1/2", "x.pth,std=0", "x,crop=2"]
)
def test_a_wrong_spec_is_refused(text):
    with pytest.raises(SettingError):
        parse_spec("teacher", text)


def test_roles_are_made_of_titles(tmp_path):
    assert role_of("KD, T = 16", []) == "KD_T_16"
    assert role_of("学生", []) == "model"
    assert role_of("a b", ["a_b"]) == "a_b_2"
    assert role_of("maps_se", []) == "maps"
    with pytest.raises(SettingError, match="given twice"):
        role_of("teacher", ["teacher"])
    file = tmp_path / "kd.onnx"
    file.touch()
    assert named_model(f"KD, T = 16={file},size=32") == ("KD, T = 16", f"{file},size=32")
    assert named_model("kd=x.pth,size=3") == ("kd", "x.pth,size=3")


# in memory ------------------------------------------------------------------------------------------------------------


def test_models_in_memory_and_files_together(networks, files, pictures, torchvision_transform):
    mine = kdviz.import_models(
        {"teacher": networks["teacher"], "kd_student": files / "kd.pth", "By hand": lambda x: 9 * x.mean((2, 3)) - 4},
        inputs={"teacher": {}, "kd_student": {}, "By hand": {"size": 32, "mean": 0, "std": 1}},
        classes=CLASSES,
        data=pictures,
    )
    assert list(mine.runs) == ["teacher", "kd_student", "By_hand"]
    assert mine.runs["teacher"].spec.size == (160, 160)
    maps = kdviz.explain(mine, pictures / "blue" / "01.png", n_masks=64)
    assert set(maps) == set(mine.runs)
    assert mine.has_table("predictions")


def test_what_is_kept_answers_as_what_was_in_memory(networks, pictures, tmp_path):
    class Odd(nn.Module):
        """Keeps its activations, has weight_norm, and returns a tuple."""

        def __init__(self):
            super().__init__()
            self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
            self.kept = None

        def forward(self, images):
            self.kept = self.layer(images.mean((2, 3)))
            return self.kept, self.kept

    odd = Odd().eval()
    odd(torch.rand(1, 3, 8, 8))  # now it holds an activation with a history, which torch does not copy
    given = {"teacher": networks["kd"], "student": odd}
    mine = kdviz.import_models(given, inputs={"size": 64}, classes=CLASSES, out=tmp_path / "kept")
    again = load_experiment(tmp_path / "kept")
    assert again.runs["teacher"].network == "torchvision/squeezenet1_1"
    assert again.runs["student"].network == "onnx"
    images = torch.rand(2, 3, 64, 64)
    for role in mine.runs:
        torch.testing.assert_close(
            again.runs[role].model(images), mine.runs[role].model(images).detach(), atol=1e-4, rtol=1e-3
        )


def test_the_app_opens_models_that_are_in_memory(networks):
    mine = kdviz.import_models({"teacher": networks["kd"], "student": networks["kd"]}, inputs={"size": 64})
    app = kdviz.launch(mine)
    try:
        assert f"experiment={mine.folder.name}" in app.url
        with urlopen(app.url, timeout=600) as answer:
            assert answer.status == 200
        assert load_experiment(mine.folder).runs["teacher"].network == "torchvision/squeezenet1_1"
        assert [path.name for path in mine.folder.parent.iterdir()] == [mine.folder.name]
    finally:
        app.stop()


@pytest.mark.parametrize(
    ("models", "more", "error"),
    [
        ({}, {}, SettingError),
        ({"teacher": lambda x: x}, {}, ModelError),
        ({"teacher": lambda x: x.softmax(1).mean((2, 3))}, {"inputs": {"sise": 3}}, SettingError),
        ({"teacher": "none.pth"}, {}, KdvizError),
    ],
)
def test_wrong_models_are_one_error(models, more, error):
    with pytest.raises(error):
        kdviz.import_models(models, **more)


def test_a_folder_that_is_something_else_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExperimentError, match="no import made"):
        kdviz.import_models({"teacher": lambda x: x.mean((2, 3))}, out=tmp_path)


def test_values_that_are_not_finite_are_refused(networks, tmp_path, capsys):
    state = {
        name: torch.full_like(t, torch.nan) if "fc" in name else t for name, t in networks["alone"].state_dict().items()
    }
    torch.save(state, tmp_path / "nan.pth")
    assert main(["import", "--out", str(tmp_path / "mine"), "--teacher", str(tmp_path / "nan.pth")]) == 1
    assert "not finite" in capsys.readouterr().err


def test_a_role_is_given_once_and_a_crop_lies_inside(files, tmp_path, capsys):
    out, file = str(tmp_path / "mine"), str(files / "kd.pth")
    assert main(["import", "--out", out, "--teacher", file, "--teacher", file]) == 1
    assert "given twice" in capsys.readouterr().err
    assert main(["import", "--out", out, "--teacher", f"{file},size=160,resize=100"]) == 1
    assert "resize must not be below size" in capsys.readouterr().err


def test_no_role_hides_what_the_document_says(files, tmp_path, capsys):
    out = str(tmp_path / "mine")
    command = ["import", "--out", out, "--json", "--model", f"models={files / 'kd.pth'}", "--threads", "1"]
    assert main([*command, "--model", f"experiment={files / 'kd.pth'}"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["experiment"] == out
    assert set(said["models"]) == {"models", "experiment"}
