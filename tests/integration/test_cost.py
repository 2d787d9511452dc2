"""What models cost: the counted operations, the measured times and accuracies, int8 rivals, the words and figures."""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from cost_reports import made
from PIL import Image
from safetensors.torch import save
from torch import nn

from kdviz import figures
from kdviz.cli import main
from kdviz.cli.products.profile import _print
from kdviz.compress import cost, onnx_export, profile, timing
from kdviz.compress.cost import AXES, CostReport, pareto_front, read_cost, table_file
from kdviz.compress.forms import ModelForm
from kdviz.compress.operations import left_out, operations_of
from kdviz.compress.profile import ProfileProgress, ProfileSamples, Settings, operations, own_samples
from kdviz.core.errors import ExperimentError, KdvizError
from kdviz.core.language import speaking
from kdviz.data import LabelledImages
from kdviz.experiment import load_experiment
from kdviz.metrics import score_interval
from kdviz.models.networks import build_network
from kdviz.narrative.tradeoffs import dominating_models, findings, possibly_dominating, tradeoff
from kdviz.studies.comparison.judgement import Margins

ONNX = "makes ONNX files: needs onnx, onnxscript and onnxruntime"
QUICK = Settings(batches=(1, 8), seconds=0.05)


@pytest.fixture(scope="module", autouse=True)
def exported_once():
    """Each network is exported once for all tests: that takes most of the time of a measurement."""
    files: dict[tuple, bytes] = {}

    def float_file(network: nn.Module, example: torch.Tensor) -> bytes:
        key = (type(network), save(network.state_dict()), example.shape)
        if key not in files:
            files[key] = onnx_export.float_file(network, example)
        return files[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "float_file", float_file)
        yield


@pytest.fixture
def samples(small_digits) -> ProfileSamples:
    return ProfileSamples(small_digits.take(torch.arange(400)), small_digits.images[400:450])


def last(progress) -> ProfileProgress:
    *_, end = progress
    return end


@pytest.fixture(scope="module")
def measured_once(_untrained, small_digits):
    """The table, measured once for all tests that read it."""
    pytest.importorskip("onnxscript", reason=ONNX)
    pytest.importorskip("onnxruntime", reason=ONNX)
    samples = ProfileSamples(small_digits.take(torch.arange(400)), small_digits.images[400:450])
    end = last(profile.profile(load_experiment(_untrained), samples, QUICK))
    assert end.notes == ()
    return end.table


@pytest.fixture
def measured(tiny, measured_once) -> CostReport:
    return read_cost(tiny, measured_once)


# counting -------------------------------------------------------------------------------------------------------------


def test_the_papers_networks_need_the_operations_that_their_layers_say():
    picture = torch.zeros(1, 1, 28, 28)
    teacher, student = (
        operations(build_network(name, classes=10, channels=1, size=(28, 28)).eval(), picture)
        for name in ("paper_cnn", "paper_fc")
    )
    assert student == 2 * (784 * 784 * 2 + 784 * 10) == 2_474_304
    convolutions = 28 * 28 * 32 * 9 + 28 * 28 * 64 * 32 * 9
    assert teacher == 2 * (convolutions + 64 * 14 * 14 * 128 + 128 * 10) == 32_566_784
    assert round(teacher / student, 1) == 13.2


def conv(*, kernel: int, source: int, filters: int, places: int, groups: int = 1) -> int:
    """Multiply-adds by hand: each output number is a sum over a window of its group's channels."""
    return places * filters * kernel * kernel * (source // groups)


class Called(nn.Module):
    """A function of what is seen, as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


class Attends(nn.Module):
    """nn.MultiheadAttention of a picture's rows with themselves: L = 6 places of E = 8 numbers, 2 heads."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images):
        rows = images[:, 0]
        return self.attention(rows, rows, rows, need_weights=False)[0]


class First(nn.Module):
    """Rows of a picture through a recurrent network."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images[:, 0])[0]


ATTENTION = 4 * 6 * 8 * 8 + 2 * 6 * 6 * 8  # four projections; scores and weighted values, all heads together
HAND_MADE = {
    "conv": (lambda: nn.Conv2d(3, 8, 3), (3, 6, 8), conv(kernel=3, source=3, filters=8, places=4 * 6)),
    "strided": (lambda: nn.Conv2d(3, 8, 3, 2, 1), (3, 6, 8), conv(kernel=3, source=3, filters=8, places=3 * 4)),
    "grouped": (lambda: nn.Conv2d(4, 8, 3, groups=2), (4, 6, 8), 4 * 6 * 8 * 9 * 2),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 6, 8), 4 * 6 * 4 * 9),
    # Each number of the input goes to a window of the output: 6 x 8 places, whatever the stride.
    "transposed": (lambda: nn.ConvTranspose2d(3, 8, 3, 2), (3, 6, 8), 6 * 8 * 3 * 8 * 9),
    "transposed and grouped": (lambda: nn.ConvTranspose2d(4, 8, 3, 2, groups=2), (4, 6, 8), 6 * 8 * 4 * 4 * 9),
    "linear": (lambda: nn.Linear(8, 5), (1, 6, 8), 6 * 8 * 5),
    "einsum": (
        lambda: Called(lambda x: torch.einsum("nchw,dcw->nhd", x, torch.ones(5, 3, 8))),
        (3, 6, 8),
        6 * 3 * 8 * 5,
    ),
    "matrix and vector": (lambda: Called(lambda x: x[0, 0] @ torch.ones(8)), (1, 6, 8), 6 * 8),
    "distances": (lambda: Called(lambda x: torch.cdist(x[:, 0], torch.ones(1, 40, 8))), (1, 30, 8), 30 * 40 * 8),
    "attention": (Attends, (1, 6, 8), ATTENTION),
    "function": (lambda: Called(lambda x: F.scaled_dot_product_attention(x, x, x)), (2, 6, 8), 2 * 2 * 6 * 6 * 8),
    "encoder": (
        lambda: First(nn.TransformerEncoderLayer(8, 2, 20, batch_first=True)),
        (1, 6, 8),
        ATTENTION + 2 * 6 * 8 * 20,
    ),
    # Four gates see 8 inputs and 5 states; the second layer sees 2 x 5; both directions.
    "lstm": (
        lambda: First(nn.LSTM(8, 5, 2, batch_first=True, bidirectional=True)),
        (1, 6, 8),
        6 * 2 * (4 * 5 * (8 + 5) + 4 * 5 * (10 + 5)),
    ),
    "gru": (lambda: First(nn.GRU(8, 5, batch_first=True)), (1, 6, 8), 6 * 3 * 5 * (8 + 5)),
    "nothing": (
        lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Upsample((5, 5))),
        (3, 6, 8),
        0,
    ),
}


@pytest.mark.parametrize("name", HAND_MADE)
@pytest.mark.parametrize("gradients", [False, True])
def test_operations_are_those_counted_by_hand(name, gradients):
    # Weights that need no gradient open fused ways through attention, which other counters do not see.
    build, shape, multiply_adds = HAND_MADE[name]
    counted = operations_of(build().eval().requires_grad_(gradients), torch.ones(1, *shape))
    assert (counted.flops, counted.uncounted) == (2 * multiply_adds, ())


def test_a_vision_transformer_has_the_operations_of_its_attention():
    # Dosovitskiy et al. (2021): 224 / 16 squared and a class token are 197 places; 12 layers of width 768, inner 3072.
    places, width = 197, 768
    layer = 4 * places * width**2 + 2 * places**2 * width + 2 * places * width * 4 * width
    hand = 12 * layer + 14 * 14 * 3 * 16 * 16 * width + width * 1000
    with torch.device("meta"):
        network = build_network("torchvision/vit_b_16", classes=1000, channels=3, size=(224, 224)).eval()
        assert operations(network, torch.zeros(1, 3, 224, 224)) == 2 * hand == 35_127_656_448


def test_operators_that_nobody_knows_are_named():
    from torchvision.ops import deform_conv2d

    picture = torch.ones(1, 3, 6, 8)
    unknown = Called(lambda x: deform_conv2d(x, torch.zeros(1, 18, 4, 6), torch.ones(2, 3, 3, 3)).sum() + (x @ x.mT))
    counted = operations_of(unknown, picture)
    assert counted.uncounted == ("torchvision.deform_conv2d",)
    assert counted.flops == 2 * 3 * 6 * 6 * 8  # what is known is counted all the same
    spectrum = operations_of(Called(lambda x: torch.fft.rfft2(x).abs()), picture)
    assert (spectrum.flops, spectrum.uncounted) == (0, ("_fft_r2c",))


def test_what_is_not_counted_is_said_beside_the_figure(tiny, measured, tmp_path, capsys):
    assert measured.uncounted == {}
    rows = [
        {**row, "uncounted": ["_fft_r2c"] if row["role"] == "student" else []} for row in measured.table.to_pylist()
    ]
    report = read_cost(tiny, pa.Table.from_pylist(rows, cost.SCHEMA))
    assert report.uncounted == {"student": ("_fft_r2c",)}
    said = left_out(report.uncounted)
    assert said == [
        "The operations of 'student' are more than its figure: _fft_r2c compute too, and how much is not known."
    ]
    _print(report)
    printed = capsys.readouterr().out
    assert said[0] in printed
    lines = [line for line in printed.splitlines() if line.startswith(("student ", "teacher "))]
    assert all((">" in line) == line.startswith("student") for line in lines)


def test_a_table_of_an_earlier_version_still_opens(tiny, measured):
    report = read_cost(tiny, measured.table.drop_columns(["uncounted"]))
    assert report.uncounted == {}
    assert len(report.entries) == len(measured.entries)


@pytest.mark.parametrize(("share", "count"), [(0.0, 10), (0.5, 4), (0.99, 10_000), (1.0, 7)])
def test_the_interval_of_a_share_is_wilsons(share, count):
    from scipy.stats import binomtest

    known = binomtest(round(share * count), count).proportion_ci(method="wilson")
    np.testing.assert_allclose(cost.wilson(share, count), (known.low, known.high), atol=1e-6)


# measuring ------------------------------------------------------------------------------------------------------------


def test_a_row_for_every_model_form_and_batch(tiny, samples, measured):
    rows = measured.table.to_pylist()
    assert measured.table.schema == cost.SCHEMA
    assert {(row["role"], row["form"], row["threads"], row["batch"]) for row in rows} == {
        (role, form, 1, batch) for role in tiny.runs for form in ("torch", "onnx", "onnx_int8") for batch in (1, 8)
    }
    for row in rows:
        run = tiny.runs[row["role"]]
        assert row["weights"] == run.sha256
        assert row["parameters"] == sum(parameter.numel() for parameter in run.model.parameters())
        assert row["latency_low_ms"] <= row["latency_ms"] <= row["latency_high_ms"]
        assert row["rounds"] == len(row["times_ms"]) >= 9
        assert np.median(row["times_ms"]) == pytest.approx(row["latency_ms"])
        assert (row["split"], row["samples"]) == ("bundled", 400)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    sizes = {(row["role"], row["form"]): row["file_bytes"] for row in rows}
    run = tiny.runs["student"]
    assert sizes["student", "torch"] == (tiny.folder / run.weights).stat().st_size
    assert sizes["student", "onnx_int8"] < 0.4 * sizes["student", "onnx"]


def test_accuracy_is_that_of_each_form_on_the_same_samples(tiny, samples, measured):
    for role, run in tiny.runs.items():
        said = run.model(tiny.input.normalise(samples.measured.images)).argmax(1)
        right = (said == samples.measured.labels).numpy()
        for form in ("torch", "onnx"):
            entry = measured.find(role, (form,))
            assert (entry.right == right).mean() > 0.99  # an untrained network has near ties
        assert measured.find(role, ("torch",)).accuracy == pytest.approx(right.mean())
        assert (measured.find(role, ("onnx_int8",)).right == right).mean() > 0.8


@pytest.mark.slow
def test_threads_are_set_stated_and_given_back(tiny, samples):
    torch.set_num_threads(1)
    begun = profile.profile(tiny, samples, Settings(threads=(2, 1), batches=(1,), seconds=0.05))
    seen = [(torch.get_num_threads(), begun_at) for begun_at in begun]
    report = read_cost(tiny, seen[-1][1].table)
    assert report.thread_counts == [1, 2]
    assert report.threads == 1
    assert len(report.entries) == len(report.at(2).entries) == 9
    assert {threads for threads, _ in seen} == {1, 2}
    assert torch.get_num_threads() == 1


def test_turns_are_shared_so_that_noise_is(monkeypatch, tiny):
    """A machine that becomes three times slower half-way does so for all: ratios stay."""
    calls, clock = [], [0.0]
    network = torch.nn.Identity()

    def slow(seconds):
        def forward(pictures):
            calls.append(seconds)
            clock[0] += seconds * (3 if len(calls) > 500 else 1)

        return forward

    forms = []
    for name, seconds in (("a", 0.001), ("b", 0.002)):
        run = next(iter(tiny.runs.values()))
        form = ModelForm(run, name, network, 1, 1, 1)
        form.network = slow(seconds)
        forms.append(form)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    settings = Settings(batches=(1,), seconds=1e9)
    list(timing.time_forms(tiny, forms, 1, settings, torch.device("cpu")))
    first, second = (np.array(form.times[1, 1]) for form in forms)
    assert len(first) == 60
    assert first.max() > 2.9 * first.min()
    near = np.abs(second / first - 2) < 0.01
    assert near.mean() > 0.95  # but for the round in which it happens
    assert calls[:40] != sorted(calls[:40])


@pytest.mark.slow
def test_progress_ends_with_the_table_and_can_be_left(tiny, samples):
    progress = list(profile.profile(tiny, samples, QUICK))
    shares = [step.share for step in progress]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [step.table is None for step in progress] == [True] * (len(progress) - 1) + [False]
    begun = profile.profile(tiny, samples, QUICK)
    next(begun)
    begun.close()  # whoever stops it leaves no threads set and nothing written
    assert not tiny.has_table("cost")


def test_without_onnx_there_is_pytorch_and_the_reason(tiny, samples, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    end = last(profile.profile(tiny, samples, QUICK))
    assert set(end.table["form"].to_pylist()) == {"torch"}
    assert end.notes == ('ONNX files need onnxscript; install it with: pip install "kdviz[onnx]"',)


def test_without_pictures_accuracy_is_the_metrics_and_there_is_no_int8(tiny):
    for run in tiny.runs.values():
        run.metrics["test"] = {"samples": 50.0, "accuracy": 0.5}
    end = last(profile.profile(tiny, None, QUICK))
    report = read_cost(tiny, end.table)
    assert "onnx_int8" not in report.forms
    assert all(entry.accuracy == 0.5 and entry.right is None for entry in report.entries)
    assert any("int8 finds its ranges on pictures" in note for note in end.notes)


def test_calibration_and_measured_samples_are_different(tiny, digits):
    shipped = load_experiment("mnist")
    own = own_samples(shipped)
    measured = {picture.numpy().tobytes() for picture in own.measured.images}
    assert len(own.measured) == 4800
    assert not measured & {picture.numpy().tobytes() for picture in own.calibration}
    assert own_samples(tiny) is None  # 14 x 14, and it stores none


def test_stored_samples_of_test_are_measured_and_validation_calibrates(tiny, small_digits):
    parts = {
        name: small_digits.take(torch.arange(60) + start, name) for name, start in (("test", 0), ("validation", 99))
    }
    tiny.write_samples([parts["validation"], parts["test"]])
    own = own_samples(tiny)
    assert own.measured.split == "test"
    assert torch.equal(own.measured.images, parts["test"].images)
    assert sorted(map(bytes, own.calibration.flatten(1).numpy())) == sorted(
        map(bytes, parts["validation"].images.flatten(1).numpy())
    )


@pytest.mark.parametrize("wrong", [{"threads": ()}, {"threads": (0,)}, {"batches": (0,)}, {"seconds": 0.0}])
def test_settings_that_make_no_sense(tiny, wrong):
    with pytest.raises(KdvizError, match="above zero"):
        next(profile.profile(tiny, None, Settings(**wrong)))


def test_data_of_other_classes(tiny, small_digits):
    other = LabelledImages(small_digits.images[:9], small_digits.labels[:9], ("a", "b"), "test")
    with pytest.raises(KdvizError, match="classes are not those"):
        next(profile.profile(tiny, ProfileSamples(other, other.images), QUICK))


# reading --------------------------------------------------------------------------------------------------------------


def test_the_table_survives_its_file(tiny, measured):
    tiny.write_table("cost", measured.table)
    read = read_cost(load_experiment(tiny.folder))
    assert read.table.equals(measured.table)
    assert read.stale == ()
    assert pq.read_table(tiny.folder / "cost.parquet").schema == cost.SCHEMA


def test_a_table_that_is_missing_foreign_or_empty(tiny, measured):
    with pytest.raises(ExperimentError, match=r"no cost\.parquet yet"):
        read_cost(tiny)
    for table in (measured.table.drop_columns(["right"]), measured.table.slice(0, 0)):
        tiny.write_table("cost", table)
        with pytest.raises(ExperimentError, match="another version of kdviz, or is empty"):
            read_cost(tiny)


def test_a_model_trained_since_is_named(tiny, measured):
    tiny.runs["student"].sha256 = "0" * 64
    assert read_cost(tiny, measured.table).stale == ("student",)


PAPER = (
    ("teacher", "onnx", 0.46, 6.5, 32.57, 0.99),
    ("teacher", "onnx_int8", 0.2, 1.6, 32.57, 0.99),
    ("kd_student", "onnx", 0.2, 5.0, 2.474, 0.98),
    ("kd_student", "onnx_int8", 0.03, 1.3, 2.474, 0.979),
    ("student", "onnx", 0.2, 5.0, 2.474, 0.97),
)


def test_the_words_about_the_papers_networks():
    report = made(*PAPER)
    gains = tradeoff(report)
    gain = gains.gain
    assert (gain.low, gain.high) == pytest.approx(score_interval(0, 10, 1000))
    assert (round(gains.operations, 1), round(gains.speed, 1), round(gains.points, 2)) == (13.2, 2.3, -1.0)
    assert [(model.role, model.form) for model in dominating_models(report)] == [("teacher", "onnx_int8")]
    assert findings(report) == [
        "The KD student needs 13.2 times fewer operations than its teacher, in a file 1.3 times smaller.",
        "It answers one picture 2.3 times faster (95 % interval 2.30 to 2.30): 0.20 ms against 0.46 ms (ONNX Runtime, "
        "float32, 1 thread).",
        f"It loses 1.00 points of accuracy (95 % interval {-100 * gain.high:.2f} to {-100 * gain.low:.2f}): 98.00% "
        "against 99.00% on 1,000 samples.",
        "A rival without any distillation: the teacher in int8 takes 0.20 ms and 1.6 MB, where the KD student in "
        "float32 takes 0.20 ms and 5.0 MB, and is more accurate by 1.00 points (99.00%).",
        "Both in int8: the KD student takes 0.030 ms and 1.3 MB at 97.90%, its teacher 0.20 ms and 1.6 MB at 99.00%.",
    ]


def test_the_words_when_it_is_otherwise():
    slower = made(("teacher", "torch", 0.2, 5.0, 4.0, 0.97), ("kd_student", "torch", 0.3, 5.0, 2.0, 0.99))
    said = " ".join(findings(slower))
    assert "That makes it slower: one picture takes 0.30 ms against 0.20 ms (PyTorch, float32" in said
    assert "It even gains 2.00 points" in said
    assert "rival" not in said
    same = made(("teacher", "onnx", 0.105, 5.0, 4.0, 0.97), ("kd_student", "onnx", 0.1, 5.0, 2.0, 0.97))
    said = " ".join(findings(same))
    assert "Their accuracies are equal within 0.5 points: 97.00% against 97.00% on 1,000 samples" in said
    assert "That does not make it faster by more than 10%" in said
    assert findings(made(PAPER[2])) == []  # nothing to compare with


def rows_with(report: CostReport, **columns) -> CostReport:
    """The same table with other columns; ``right`` as bool arrays."""
    import pyarrow as pa

    if "right" in columns:
        columns["samples"] = [len(bits) for bits in columns["right"]]
        columns["right"] = [np.packbits(bits).tobytes() for bits in columns["right"]]
    return CostReport(pa.table(report.table.to_pydict() | columns, schema=report.table.schema), 1)


def test_accuracies_that_cannot_be_told_apart_are_not_called_equal():
    two = made(("teacher", "onnx", 0.2, 5.0, 4.0, 0.97), ("kd_student", "onnx", 0.1, 5.0, 2.0, 0.97))
    draw = np.random.default_rng(0)
    said = " ".join(findings(rows_with(two, right=[draw.random(200) < 0.97, draw.random(200) < 0.97])))
    assert "Whether their accuracies differ by more than 0.5 points cannot be told with 200 samples" in said
    assert "samples would decide." in said
    assert "equal" not in said
    said = " ".join(findings(two, Margins(accuracy=0.02)))
    assert "equal within 2.0 points" in said


def test_times_that_vary_too_much_or_are_too_few_tell_nothing():
    two = made(("teacher", "onnx", 0.2, 5.0, 4.0, 0.97), ("kd_student", "onnx", 0.1, 5.0, 2.0, 0.97))
    few = rows_with(two, times_ms=[[0.2] * 4, [0.1] * 4])
    assert "Whether that makes it faster by more than 10% cannot be told with 4 rounds" in " ".join(findings(few))
    wild = np.exp(np.random.default_rng(1).normal(0, 1, (2, 12)))
    varied = rows_with(two, times_ms=wild.tolist())
    assert "cannot be told with 12 rounds" in " ".join(findings(varied))


def test_a_rival_is_one_only_when_intervals_say_so():
    """The student alone, as fast and as large: equal on 1,000 samples of which none differs, not known on 40."""
    three = made(*PAPER[:1], PAPER[2], ("student", "onnx", 0.2, 5.0, 2.474, 0.98))
    assert [model.role for model in dominating_models(three)] == ["student"]
    right = [np.ones(40, bool), np.arange(40) > 0, np.arange(40) < 39]
    doubtful = rows_with(three, right=right, accuracy=[1.0, 0.975, 0.975])
    assert dominating_models(doubtful) == []
    assert [model.role for model in possibly_dominating(doubtful)] == ["student"]
    assert "There may be a rival without any distillation: the student alone in float32" in " ".join(findings(doubtful))
    slow = rows_with(three, times_ms=[[0.46] * 9, [0.2] * 9, [0.3] * 9])
    assert dominating_models(slow) == possibly_dominating(slow) == []


def test_the_front_is_of_those_that_no_other_beats():
    report = made(*PAPER)
    assert [(entry.role, entry.form) for entry in pareto_front(report.entries, "latency")] == [
        ("kd_student", "onnx_int8"),
        ("teacher", "onnx_int8"),
    ]
    for best in pareto_front(report.entries, "size"):
        assert not any(
            other.costs["size"] <= best.costs["size"] and other.accuracy > best.accuracy for other in report.entries
        )
    assert pareto_front(report.entries, "batched") == []  # nothing was measured in batches


# figures --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis not in ("memory", "energy")])  # of other devices only
def test_the_chart_has_every_model_once_and_the_front(measured, axis):
    entries = measured.entries
    chart = figures.accuracy_against_cost(entries, AXES[axis], "test")
    points = [trace for trace in chart.data if trace.mode == "markers" and trace.x[0] is not None]
    assert len(points) == len(entries) == 9
    assert len({(trace.marker.symbol, trace.marker.color) for trace in points}) == 9
    line = chart.data[0]
    best = pareto_front(entries, axis)
    assert list(line.x) == [entry.costs[axis] for entry in best]
    assert chart.layout.xaxis.type == "log"
    assert all(math.isfinite(value) for value in chart.layout.xaxis.tickvals)


def test_files_are_pictures_and_the_same_each_time(measured):
    axis = AXES["latency"]
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        made_file = figures.accuracy_against_cost.file(kind, measured.entries, axis, "test")
        assert made_file.startswith(start)
    import io

    with Image.open(io.BytesIO(figures.accuracy_against_cost.file("png", measured.entries, axis, "test"))) as picture:
        assert picture.width > 1000
    with pytest.raises(KdvizError):
        figures.accuracy_against_cost.file("pdf", measured.entries, axis, "test")


def test_names_from_a_file_are_no_html():
    report = made(("a_<b>x</b>", "file", 0.1, 1.0, 1.0, 0.5))
    text = str(figures.accuracy_against_cost(report.entries, AXES["latency"], "test").to_json())
    assert "<b>x" not in text.replace("&lt;b>x", "")


def test_words_in_another_language_still_have_their_numbers():
    with speaking("zh_CN"):
        assert "13.2" in " ".join(findings(made(*PAPER)))


# command line ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_writes_the_table_and_says_it(tiny, small_digits, capsys):
    tiny.write_samples([small_digits.take(torch.arange(80), "test")])
    assert main(["profile", "-e", str(tiny.folder), "--batches", "1,4", "--seconds", "0.05"]) == 0
    said = capsys.readouterr()
    assert "kd_student" in said.out
    assert "The KD student needs" in said.out
    assert "Traceback" not in said.err
    report = read_cost(load_experiment(tiny.folder))
    assert report.machine["samples"] == 60
    assert {row["batch"] for row in report.table.to_pylist()} == {1, 4}


@pytest.mark.slow
def test_the_command_prints_json_and_writes_elsewhere(tiny, tmp_path, capsys):
    out = tmp_path / "elsewhere" / "mine.parquet"
    assert main(["profile", "-e", str(tiny.folder), "--seconds", "0.05", "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["role"] for row in document["rows"]} == set(tiny.runs)
    assert not tiny.has_table("cost")
    assert pq.read_table(out).schema == cost.SCHEMA
    assert out.read_bytes() == table_file(pq.read_table(out)) or len(pq.read_table(out)) == len(document["rows"])


@pytest.mark.parametrize("wrong", [["--threads", "0"], ["--batches", "x"], ["--seconds", "long"]])
def test_wrong_usage_is_status_two(wrong):
    with pytest.raises(SystemExit) as ended:
        main(["profile", *wrong])
    assert ended.value.code == 2


def test_the_shipped_table_says_what_the_facts_are():
    experiment = load_experiment("mnist")
    report = read_cost(experiment)
    assert report.stale == ()
    gains = tradeoff(report)
    assert gains.operations == pytest.approx(13.16, abs=0.01)
    assert (gains.teacher.row["flops"], gains.student.row["flops"]) == (32_566_784, 2_474_304)
    assert report.machine["split"] == "test"
    measured = experiment.runs["kd_student"].metrics["test"]["accuracy"]
    assert gains.student.accuracy == pytest.approx(measured, abs=2e-4)
    assert dominating_models(report)[0].form == "onnx_int8"
    assert time.strptime(report.machine["measured"], "%Y-%m-%dT%H:%M:%SZ")
