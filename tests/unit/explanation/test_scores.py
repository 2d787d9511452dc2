"""Scores that a map cannot explain: said in one sentence, in Python, on the command line and beside the map."""

from __future__ import annotations

import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kdviz import figures
from kdviz.cli import main
from kdviz.core.errors import ModelError, SettingError
from kdviz.experiment import Experiment, InputSpec
from kdviz.explanation.scores import MapDoubt, is_constant
from kdviz.metrics import agreement, agreement_table, faithfulness
from kdviz.saliency import difference, explain, explain_stream

SPEC = InputSpec((14, 14), 1, (0.2,), (0.5,))
CLASSES = ("cat", "dog", "cow")
QUICK = {"n_masks": 64, "grid": 4, "precision": "float32", "device": "cpu"}


class Linear(nn.Module):
    """Logits linear in the pixels; ``size`` 0 sees nothing."""

    def __init__(self, size: float = 0.1, classes: int = 3, level: float = 2.0):
        super().__init__()
        weights = torch.randn(classes, 196, generator=torch.Generator().manual_seed(0))
        self.weights = nn.Parameter(size * weights)
        self.level = level

    def forward(self, images):
        return images.flatten(1) @ self.weights.T + self.level * torch.arange(len(self.weights))


class Ended(Linear):
    """The same with something behind it, from a moment on: a model is tried when it joins an experiment."""

    ends = False

    def __init__(self, end, **given):
        super().__init__(**given)
        self.end = end

    def forward(self, images):
        logits = super().forward(images)
        return self.end(logits) if self.ends else logits


def experiment_of(tmp_path, classes=CLASSES, **models: nn.Module) -> Experiment:
    experiment = Experiment(tmp_path / "none", "none", classes, SPEC, {}, "Made up")
    for role, model in models.items():
        experiment = experiment.with_model(role, model)
        experiment.runs[role].model.ends = True
    return experiment


def picture(level: int | None = None) -> Image.Image:
    pixels = np.random.default_rng(0).integers(1, 256, (14, 14), dtype=np.uint8)
    return Image.fromarray(pixels if level is None else np.full_like(pixels, level))


# refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rise", "occlusion", "saliency"])
@pytest.mark.parametrize(
    ("model", "classes", "said"),
    [
        (Linear(classes=1), ("cat",), "returns one score a picture, whose softmax is 1 whatever it sees"),
        (Ended(lambda logits: logits.softmax(1)), CLASSES, "returns probabilities; leave its softmax away"),
        (Ended(lambda logits: logits / 0), CLASSES, "returned NaN or infinite scores"),
    ],
    ids=["one score", "probabilities", "infinite"],
)
def test_what_no_map_can_explain_is_refused(tmp_path, method, model, classes, said):
    experiment = experiment_of(tmp_path, classes, edge=model)
    with pytest.raises(ModelError, match=f"The model 'edge' {said}") as caught:
        explain(experiment, picture(), method=method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["rise", "occlusion", "kernel_shap", "integrated_gradients", "deeplift"])
@pytest.mark.parametrize(("level", "baseline"), [(0, "black"), (255, "white"), (128, "grey"), (90, "blur"), (51, 0.2)])
def test_a_picture_that_is_its_own_baseline_is_refused(tmp_path, method, level, baseline):
    experiment = experiment_of(tmp_path, edge=Linear())
    with pytest.raises(SettingError, match=f"The picture is the same as the baseline '{baseline}'"):
        explain(experiment, picture(level), 1, method, baseline=baseline)
    other = 0.9 if baseline == "white" else "white"
    quick = QUICK if method == "rise" else {"n_samples": 128, "grid": 2} if method == "kernel_shap" else {}
    assert explain(experiment, picture(level), 1, method, baseline=other, **quick)["edge"].doubts == ()


def test_one_pixel_is_enough_to_be_another_picture(tmp_path):
    experiment, nearly = experiment_of(tmp_path, edge=Linear()), picture(0)
    nearly.putpixel((3, 4), 1)
    assert explain(experiment, nearly, 1, **QUICK)["edge"].n_masks == 64


def test_a_method_without_baseline_takes_any_picture(tmp_path):
    assert explain(experiment_of(tmp_path, edge=Linear()), picture(0), 1, "saliency")["edge"].values.max() > 0


# doubted --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["logistic", "ridge", "centred", "rise", "normalised"])
@pytest.mark.parametrize("sampler", ["auto", "iid"])
@pytest.mark.parametrize("size", [0.0, 1e-9], ids=["sees nothing", "saturated"])
def test_a_score_that_no_mask_changes_has_a_flat_map_and_a_sentence(tmp_path, estimator, sampler, size):
    blind = Linear(size, level=2.0 if size == 0 else 30.0)
    experiment = experiment_of(tmp_path, teacher=Linear(), student=blind)
    settings = {**QUICK, "estimator": estimator, "sampler": sampler}
    with pytest.warns(UserWarning, match="The model 'student' gives class cow a probability of") as caught:
        maps = explain(experiment, picture(), 2, **settings)
    (doubt,) = maps["student"].doubts
    assert [str(warning.message) for warning in caught] == [doubt.text]
    share = float(maps["student"].probabilities[2])
    assert doubt.kind == "constant"
    assert doubt.figures == {"class": "cow", "probability": pytest.approx(share), "masks": 64}
    assert f"{share:.2%} under each of the 64 masks" in doubt.text
    level = share if estimator in ("rise", "normalised") else 0.0
    np.testing.assert_allclose(maps["student"].values, level, rtol=1e-6)
    assert maps["student"].is_flat
    assert not maps["student"].standard_error.any()
    assert maps["teacher"].doubts == ()
    assert not maps["teacher"].is_flat
    # The explained class decides: one that does change has a map of its own.
    assert pickle.loads(pickle.dumps(doubt)) == doubt


def test_the_class_that_is_asked_for_decides(tmp_path):
    class Half(nn.Module):
        """Class 2 always has half of the probability; the others share the rest by what is seen."""

        def forward(self, images):
            seen = images[:, 0, :7].mean((1, 2))
            first, second = nn.functional.logsigmoid(seen), nn.functional.logsigmoid(-seen)
            return torch.stack([first, second, torch.zeros_like(first)], 1)

    *_, state = explain_stream(experiment_of(tmp_path, edge=Half()), picture(), 2, **QUICK)
    assert [doubt.kind for doubt in state.maps()["edge"].doubts] == ["constant"]
    assert state.maps({"edge": 0})["edge"].doubts == ()


def test_rounding_is_no_change_and_a_tiny_share_is_none_either():
    generator = torch.Generator().manual_seed(0)
    rounded = 1 - 6e-8 * torch.randint(0, 3, (50,), generator=generator)
    rare = 1e-9 * torch.rand(50, generator=generator)
    assert is_constant(torch.stack([rounded, rare, torch.zeros(50)])).tolist() == [True, False, True]


def test_nothing_that_is_made_of_a_flat_map_says_nan(tmp_path):
    experiment = experiment_of(tmp_path, teacher=Linear(), student=Linear(0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        maps = explain(experiment, picture(), 2, **QUICK)
    report = agreement(maps)
    assert "nan" not in str(report)
    assert "teacher / student: – (noise ceiling –)" in str(report)
    json.dumps(report.to_json(), allow_nan=False)
    assert agreement_table(maps).num_rows
    assert figures.comparison.file("png", maps)[:4] == b"\x89PNG"
    assert np.isfinite(difference(maps["student"], maps["teacher"]).values).all()
    inputs = experiment.preprocess(picture())
    model = experiment.runs["student"].model
    curves = faithfulness(lambda x: model(x).softmax(1), inputs, maps["student"], 2, 0.0)
    share = float(maps["student"].probabilities[2])
    assert (curves.deletion.auc, curves.insertion.auc) == (pytest.approx(share), pytest.approx(share))


@pytest.mark.parametrize("method", ["occlusion", "saliency", "integrated_gradients"])
def test_other_methods_say_that_their_map_is_flat(tmp_path, method):
    with pytest.warns(UserWarning, match="The map of the model 'edge' has the same value at every pixel"):
        maps = explain(experiment_of(tmp_path, edge=Linear(0.0)), picture(), 2, method)
    assert [doubt.kind for doubt in maps["edge"].doubts] == ["flat"]


def test_scores_of_a_sigmoid_are_doubted(tmp_path):
    experiment = experiment_of(tmp_path, edge=Ended(torch.sigmoid))
    with pytest.warns(UserWarning, match="All scores of the model 'edge' lie between 0 and 1, as after a sigmoid"):
        maps = explain(experiment, picture(), 1, **QUICK)
    assert [doubt.kind for doubt in maps["edge"].doubts] == ["bounded"]
    assert explain(experiment_of(tmp_path, edge=Linear()), picture(), 1, **QUICK)["edge"].doubts == ()


def test_an_onnx_file_that_ends_with_a_sigmoid_is_said(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    linear = Linear()
    weights = helper.make_tensor("weights", kind, [196, 3], linear.weights.detach().T.flatten().tolist())
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["scores"]),
        ],
        "graph",
        [helper.make_tensor_value_info("images", kind, ["N", 1, 14, 14])],
        [helper.make_tensor_value_info("scores", kind, ["N", 3])],
        [weights],
    )
    path = tmp_path / "edge.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    linear.level = 0.0
    experiment = experiment_of(tmp_path, same=linear).with_model("edge", path)
    with pytest.warns(UserWarning, match="The file of the model 'edge' ends with a sigmoid, which is undone"):
        maps = explain(experiment, picture(), 1, **QUICK)
    # Undone, the file explains what the network without it explains.
    np.testing.assert_allclose(maps["edge"].values, maps["same"].values, atol=1e-4)


@pytest.mark.slow
def test_the_command_says_it_and_prints_no_nan(tiny, digit_file, tmp_path, capsys):
    for run in tiny.runs.values():
        run.model  # noqa: B018  loaded before it is changed
    blind = {name: torch.zeros_like(tensor) for name, tensor in tiny.runs["student"].model.state_dict().items()}
    network = tiny.runs["student"].model
    network.load_state_dict(blind)
    tiny.add_run("student", tiny.runs["student"].network, network, {}, {})
    tiny.save()
    command = ["explain", str(digit_file), "-e", str(tiny.folder), "--masks", "60", "--grid", "4", "--target", "3"]
    assert main([*command, "--out", str(tmp_path / "maps.png")]) == 0
    printed = capsys.readouterr()
    sentence = "The model 'student' gives class 3 a probability of 10.00% under each of the 60 masks"
    assert sentence in printed.err
    assert "nan" not in printed.out
    assert "reliability –" in printed.out
    assert main([*command, "--json", "--out", str(tmp_path / "maps.npz")]) == 0
    student = json.loads(capsys.readouterr().out)["images"][0]["models"]["student"]
    assert student["reliability"] is None
    assert sentence in student["doubts"][0]["text"]
    black = tmp_path / "black.png"
    picture(0).resize((28, 28)).save(black)
    assert main(["explain", str(black), *command[2:], "--out", str(tmp_path / "m.png")]) == 1
    assert capsys.readouterr().err.count("\n") <= 2


@pytest.mark.parametrize("kind", ["constant", "flat", "bounded", "sigmoid"])
def test_a_doubt_is_data_first(kind):
    doubt = MapDoubt(kind, "edge", {"class": "cat", "probability": 1.0, "masks": 4000})
    assert json.loads(json.dumps(doubt.to_json()))["text"] == doubt.text
    assert "'edge'" in doubt.text


# on the page ----------------------------------------------------------------------------------------------------------


def test_the_page_says_it_above_the_maps_and_shows_no_nan(tmp_path):
    from kdviz.app.pages.compare.result import _Drawn
    from kdviz.app.widgets import viewer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        maps = explain(experiment_of(tmp_path, teacher=Linear(), student=Linear(0.0)), picture(), 2, **QUICK)
        blind = explain(experiment_of(tmp_path, teacher=Linear(0.0), student=Linear(0.0)), picture(), 2, **QUICK)
    for drawn_maps, reliability in ((maps, f"{maps['teacher'].reliability:.3f}"), (blind, "–")):
        measures = {name: agreement(drawn_maps, name) for name in ("spearman", "ssim", "iou")}
        row = viewer.ViewerRow("black", "", drawn_maps, measures["spearman"], True, False, measures)
        drawn = _Drawn.of([row], SimpleNamespace(true_class=None, name="picture"))
        assert drawn.doubts == [doubt.text for saliency_map in drawn_maps.values() for doubt in saliency_map.doubts]
        assert f"reliability of the maps {reliability}." in drawn.sentence
        shown = json.dumps(drawn.payload, allow_nan=False)
        assert not any(word in text for word in (" nan", "NaN") for text in (shown, drawn.sentence))
        under_way = viewer.ViewerRow("black", "", drawn_maps, measures["spearman"], False, False, measures)
        assert _Drawn.of([under_way], SimpleNamespace(true_class=None, name="picture")).doubts == []
