"""Explaining a picture by several models: when to stop, differences, baselines, Captum's methods, what is refused."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

from kdviz.core.errors import ImageError, KdvizError, ModelError, SettingError, TargetError, UnknownNameError
from kdviz.core.jobs import JobQueue
from kdviz.experiment import Experiment, InputSpec
from kdviz.metrics import agreement
from kdviz.rise.stopping import StoppingRule
from kdviz.saliency import RISE, RandomMasks, difference, estimate, explain, explain_stream, maps_npz

# experiments of made-up models ----------------------------------------------------------------------------------------

SIZE = (20, 33)
COLOURS = InputSpec(size=SIZE, channels=3, mean=(0.2, 0.4, 0.6), std=(0.5, 0.3, 0.2))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def experiment_of(tmp_path, spec: InputSpec = COLOURS, **models: nn.Module) -> Experiment:
    experiment = Experiment(tmp_path / "none", "none", ("cat", "dog", "cow"), spec, {}, "Made up")
    for role, model in models.items():
        experiment = experiment.with_model(role, model)
    return experiment


def picture_of(spec: InputSpec, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*spec.size, spec.channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


class Smooth(nn.Module):
    """Logits linear in the pixels, with weights that vary slowly over the picture."""

    def __init__(self, seed: int = 0, scale: float = 0.02):
        super().__init__()
        coarse = random(3, 3, 4, 5, seed=seed)
        self.weights = nn.Parameter(scale * nn.functional.interpolate(coarse, SIZE, mode="bilinear"))

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", images, self.weights)


# when to stop ---------------------------------------------------------------------------------------------------------

PLAIN = {"grid": 4, "precision": "float32"}


def last(states):
    *_, state = states
    return state


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


@pytest.mark.parametrize("wanted", [0.9, 0.99])
def test_settled_maps_are_as_reliable_as_they_say(tmp_path, wanted):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth(), student=Smooth(4)), picture_of(COLOURS)
    state = last(explain_stream(experiment, picture, 1, n_masks=8000, reliability=wanted, estimator="centred", **PLAIN))
    assert state.stopped == "settled"
    assert state.n_masks < 8000
    reference = explain(experiment, picture, 1, n_masks=20_000, seed=9, **PLAIN)
    maps = state.maps()
    true = {role: correlation(saliency_map.values, reference[role].values) for role, saliency_map in maps.items()}
    # Stopping where a noisy prediction first is high enough is a little early; half of what is missing to 1 allows it.
    slack = 0.5 * (1 - wanted)
    assert min(true.values()) > wanted - slack
    gap = maps["teacher"].values - maps["student"].values
    assert correlation(gap, reference["teacher"].values - reference["student"].values) > wanted - slack
    assert min(saliency_map.reliability for saliency_map in maps.values()) > wanted - slack


def test_more_is_needed_for_more_reliability(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth()), picture_of(COLOURS)
    needed = [
        last(
            explain_stream(
                experiment, picture, 1, n_masks=20_000, reliability=reliability, estimator="centred", **PLAIN
            )
        ).n_masks
        for reliability in (0.8, 0.97, 0.997)
    ]
    assert needed[0] < needed[1] < needed[2]


def test_differences_must_be_reliable_too(tmp_path):
    picture = picture_of(COLOURS)

    class Jittered(Smooth):
        """The same but for a share of noise, another one for each image: the true difference is flat."""

        def forward(self, images):
            jitter = torch.frac(1e4 * torch.sin(images.double().sum((1, 2, 3)))).abs().float() - 0.5
            return super().forward(images) + 0.05 * jitter[:, None] * torch.tensor([1.0, -1.0, 0.0])

    pair = experiment_of(tmp_path, teacher=Smooth(), student=Jittered())
    settings = {"n_masks": 2000, "reliability": 0.95, **PLAIN}
    alone = last(explain_stream(pair, picture, 1, roles=["student"], **settings))
    both = last(explain_stream(pair, picture, 1, **settings))
    assert alone.stopped == "settled"
    assert (both.stopped, both.n_masks) == (None, 2000)
    maps = both.maps()
    assert min(saliency_map.reliability for saliency_map in maps.values()) > 0.98
    assert difference(maps["teacher"], maps["student"]).reliability < 0.95


def test_seconds_stop(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth()), picture_of(COLOURS)
    state = last(explain_stream(experiment, picture, 1, n_masks=200_000, seconds=0.05, **PLAIN))
    assert state.stopped == "time"
    assert 4 <= state.n_masks < 200_000
    state = last(RISE(Smooth()).stream(random(1, 3, *SIZE), target=1, n_masks=200_000, seconds=0.05))
    assert state.stopped == "time"


def test_without_limits_all_masks_are_done(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth()), picture_of(COLOURS)
    state = last(explain_stream(experiment, picture, 1, n_masks=600, reliability=0, seconds=0, **PLAIN))
    assert (state.stopped, state.n_masks) == (None, 600)


@pytest.mark.parametrize("wanted", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_reliability_outside_its_range(wanted):
    with pytest.raises(SettingError, match=r"reliability must be between 0 and 1 .*, got"):
        StoppingRule(RandomMasks((8, 8), (4, 4)), "ridge", wanted)
    with pytest.raises(SettingError, match="reliability"):
        RISE(Smooth()).attribute(random(1, 3, *SIZE), target=1, reliability=wanted, n_masks=64)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_time_outside_its_range(seconds):
    with pytest.raises(SettingError, match="seconds must be above 0, got"):
        StoppingRule(RandomMasks((8, 8), (4, 4)), "ridge", seconds=seconds)


# differences ----------------------------------------------------------------------------------------------------------


class LinearProbability(nn.Module):
    """A probability linear in the picture, for which the map is known: Cov(M, M) (w x) / p."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, images):
        probability = 0.5 + (images * self.weights).sum((1, 2, 3))
        return torch.stack([probability, 1 - probability, torch.full_like(probability, 1e-9)], 1).log()


SMALL = InputSpec(size=(8, 6), channels=1, mean=(0.0,), std=(1.0,))


def exact_map(weights: torch.Tensor, picture: Image.Image) -> np.ndarray:
    contribution = (weights * SMALL.normalise(torch.from_numpy(np.asarray(picture).copy())[None, None]))[0, 0].double()
    rows, columns = RandomMasks(SMALL.size, (3, 3)).upsampling
    rows, columns = (
        torch.einsum("sik,sjk->ij", upsampling, upsampling).double() / len(upsampling) for upsampling in (rows, columns)
    )
    return (0.25 * rows @ contribution @ columns.T / 0.5).numpy()


@pytest.mark.parametrize(("sampler", "estimator"), [("iid", "centred"), ("hadamard", "logistic")])
def test_a_difference_covers_the_true_one(tmp_path, sampler, estimator):
    picture = picture_of(SMALL)
    weights = 0.008 * random(1, 1, 8, 6, seed=2)
    others = weights + 0.001 * random(1, 1, 8, 6, seed=3)  # a similar model
    experiment = experiment_of(tmp_path, SMALL, teacher=LinearProbability(weights), student=LinearProbability(others))
    truth = exact_map(weights, picture) - exact_map(others, picture)
    settings = {"n_masks": 1024, "grid": 3, "sampler": sampler, "estimator": estimator, "precision": "float32"}
    inside, narrower, seeds = [], [], 25
    for seed in range(seeds):
        maps = explain(experiment, picture, 0, seed=seed, **settings)
        result = difference(maps["teacher"], maps["student"])
        np.testing.assert_allclose(result.values, maps["teacher"].values - maps["student"].values)
        back = difference(maps["student"], maps["teacher"])
        np.testing.assert_allclose(back.values, -result.values)
        np.testing.assert_allclose(back.standard_error, result.standard_error, rtol=1e-4)
        inside.append(np.abs(result.values - truth) < 1.96 * result.standard_error)
        both = np.hypot(maps["teacher"].standard_error, maps["student"].standard_error)
        narrower.append(result.standard_error.mean() / both.mean())
    # 25 maps as independent trials: the standard error of a share of .95 is .044, three of them .13.
    assert np.mean(inside) > 0.95 - 3 * 0.044
    if sampler == "iid":  # the difference's weights are an eighth of each model's: so is its noise
        assert np.mean(narrower) < 0.3
    assert np.ptp(truth) > 2 * result.standard_error.mean() if sampler == "hadamard" else True


def test_a_model_less_itself_is_nothing(tiny, digit_file):
    maps = explain(tiny, digit_file, 1, n_masks=300, grid=4)
    result = difference(maps["teacher"], maps["teacher"])
    assert not result.values.any()
    assert not result.standard_error.any()
    assert result.reliability == 0


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"n_masks": 61},
        {"grid": 3},
        {"estimator": "ridge"},
        {"baseline": "white"},
        {"sampler": "sobol"},
        {"image": 1},
        {"method": "occlusion"},
    ],
    ids=str,
)
def test_maps_of_different_calls_are_not_subtracted(tiny, digits, other):
    first = explain(tiny, digits.picture(0), 1, n_masks=60, grid=4)["teacher"]
    picture = digits.picture(other.get("image", 0))
    settings = {"n_masks": 60, "grid": 4, **{key: value for key, value in other.items() if key != "image"}}
    settings = {"method": "occlusion"} if "method" in settings else settings
    second = explain(tiny, picture, 1, **settings)["student"]
    with pytest.raises(SettingError, match="one picture with the same settings"):
        difference(first, second)
    again = explain(tiny, digits.picture(0), 1, n_masks=60, grid=4, roles=["student"])["student"]
    assert difference(first, again).values.shape == (14, 14)


def test_maps_of_different_methods_are_not_subtracted(tiny, digit_file):
    # Both without a setting, so that the settings do not tell.
    maps = [explain(tiny, digit_file, 1, name, roles=["teacher"])["teacher"] for name in ("saliency", "guided_gradcam")]
    with pytest.raises(SettingError, match="same settings"):
        difference(*maps)


# baselines ------------------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """Keeps what it is fed."""

    differentiable = False

    def __init__(self):
        super().__init__()
        self.fed: list[torch.Tensor] = []

    def forward(self, images):
        self.fed.append(images.clone())
        return images.mean((2, 3))

    def __deepcopy__(self, memo):
        return self


def other_picture(tmp_path) -> Image.Image:
    return picture_of(COLOURS, 5)


def expected_baseline(what, picture: Image.Image, tmp_path) -> np.ndarray:
    """What a removed pixel becomes, in values from 0 to 1, (H, W, 3) or what broadcasts to it."""
    pixels = np.asarray(picture) / 255
    if what == "blur":
        sigma = min(SIZE) / 8
        return gaussian_filter(pixels, (sigma, sigma, 0), mode="mirror", radius=(round(3 * sigma),) * 2 + (0,))
    if what == "noise":
        return np.random.default_rng(0).random((1, 3, *SIZE), dtype=np.float32)[0].transpose(1, 2, 0)
    if what in ("picture", "path"):
        return np.asarray(other_picture(tmp_path)) / 255
    named = {"black": 0, "white": 1, "grey": 0.5, "mean": COLOURS.mean}
    return np.array(named.get(what, what), float)


@pytest.mark.parametrize(
    "what", ["black", "white", "mean", "grey", "blur", "noise", 0.25, "0.25", 0, "1", "picture", "path"]
)
def test_a_baseline_is_put_in_before_normalisation(tmp_path, what):
    recorder = Recorder()
    experiment, picture = experiment_of(tmp_path, teacher=recorder), picture_of(COLOURS)
    given = what
    if what in ("picture", "path"):
        given = other_picture(tmp_path)
    if what == "path":
        given.save(tmp_path / "other.png")
        given = str(tmp_path / "other.png")
    recorder.fed.clear()
    saliency_map = explain(experiment, picture, 0, n_masks=20, grid=4, baseline=given, seed=0)["teacher"]
    # The last batches are the 20 masked pictures; before them come the whole picture and a trial of 8.
    fed = torch.cat(recorder.fed)[-20:].double().numpy()
    masks = RandomMasks(SIZE, (4, 4), 0.5, 0).render(0, 20).double().numpy()[:, 0, :, :, None]
    known = expected_baseline(float(what) if what in ("0.25", "1") else what, picture, tmp_path)
    mixed = masks * np.asarray(picture) / 255 + (1 - masks) * known
    expected = (mixed - COLOURS.mean) / COLOURS.std
    np.testing.assert_allclose(fed, expected.transpose(0, 3, 1, 2), atol=2e-5)
    shown = saliency_map.settings["baseline"]
    assert shown == (float(what) if what in ("0.25", "1", 0) else given) or str(shown).startswith("picture ")


def test_the_noise_baseline_has_the_seed(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth()), picture_of(COLOURS)
    prepared = experiment.prepare(picture)
    assert torch.equal(experiment.baseline("noise", prepared, 1), experiment.baseline("noise", prepared, 1))
    assert not torch.equal(experiment.baseline("noise", prepared, 1), experiment.baseline("noise", prepared, 2))


def test_two_pictures_as_baselines_are_different_settings(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth()), picture_of(COLOURS)
    maps = [
        explain(experiment, picture, 0, n_masks=20, grid=4, baseline=picture_of(COLOURS, seed))["teacher"]
        for seed in (5, 5, 6)
    ]
    names = [saliency_map.settings["baseline"] for saliency_map in maps]
    assert names[0] == names[1] != names[2]
    assert not np.array_equal(maps[0].values, maps[2].values)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ("blak", UnknownNameError, "Unknown baseline 'blak'. Did you mean 'black'"),
        ("no/such/file.png", UnknownNameError, "Unknown baseline 'no/such/file.png'"),
        (-0.1, SettingError, r"baseline must be .* from 0 to 1, .*got -0\.1"),
        ("1.5", SettingError, r"baseline must be .* from 0 to 1, .*got 1\.5"),
        (float("nan"), SettingError, "baseline must be .*got nan"),
        (True, SettingError, "baseline must be .*got True"),
        (None, UnknownNameError, "baseline 'None'"),
        ([0.5], UnknownNameError, r"baseline '\[0\.5\]'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["rise", "occlusion"])
def test_a_wrong_baseline_says_so(tiny, digit_file, method, wrong, error, said):
    with pytest.raises(error, match=said) as caught:
        explain(tiny, digit_file, 1, method, baseline=wrong)
    assert "\n" not in str(caught.value)


def test_a_baseline_that_is_no_picture_names_the_file(tiny, digit_file, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.png"):
        explain(tiny, digit_file, 1, baseline=tmp_path / "text.png")


# Captum's methods -----------------------------------------------------------------------------------------------------


def test_a_method_that_fits_some_models_warns_and_leaves_the_others_out(tiny, digit_file):
    with pytest.warns(UserWarning, match="Grad-CAM needs a convolution and 'PaperFC' has none") as caught:
        maps = explain(tiny, digit_file, 3, "layer_gradcam")
    assert len(caught) == 2  # one for each student
    assert list(maps) == ["teacher"]
    assert (maps["teacher"].method, maps["teacher"].n_masks, maps["teacher"].jackknife_maps) == (
        "layer_gradcam",
        0,
        None,
    )
    with pytest.raises(SettingError, match="needs a convolution and 'PaperFC' has none"):
        explain(tiny, digit_file, 3, "layer_gradcam", roles=["teacher", "student"])
    for role in ("kd_student", "student"):
        with pytest.raises(SettingError, match="needs a convolution"):
            explain(tiny, digit_file, 3, "layer_gradcam", roles=[role])
    only = explain(tiny, digit_file, 3, "layer_gradcam", roles=["teacher"])
    np.testing.assert_allclose(only["teacher"].values, maps["teacher"].values, atol=1e-5)


def test_a_method_that_fits_no_model_is_an_error(tiny, digit_file):
    del tiny.runs["teacher"]
    with pytest.raises(SettingError, match="needs a convolution"):  # and no warning besides
        explain(tiny, digit_file, 3, "layer_gradcam")


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("occlusion", {"window": 0.3}),
        ("integrated_gradients", {"n_steps": 8}),
        ("gradient_shap", {"n_samples": 64}),
        ("saliency", {}),
        ("deeplift", {}),
        ("kernel_shap", {"n_samples": 256, "grid": 3}),
    ],
)
def test_everything_that_is_done_with_maps_is_done_with_theirs(tiny, digit_file, method, settings):
    maps = explain(tiny, digit_file, 3, method, **settings)
    assert list(maps) == ["teacher", "kd_student", "student"]
    with np.load(io.BytesIO(maps_npz(maps)), allow_pickle=False) as archive:
        for role, saliency_map in maps.items():
            assert np.array_equal(archive[role], saliency_map.values)
            assert np.array_equal(archive[f"{role}_se"], saliency_map.standard_error)
    report = agreement(maps)
    assert len(report.pairs) == 3
    random_method = method in ("gradient_shap", "kernel_shap")
    for pair in report.pairs:
        assert -1 <= pair.agreement <= 1
        assert np.isnan(pair.low)  # no units of masks
        assert random_method or pair.ceiling == pytest.approx(1)
    gap = difference(maps["teacher"], maps["student"])
    np.testing.assert_allclose(gap.values, maps["teacher"].values - maps["student"].values)
    expected = np.hypot(maps["teacher"].standard_error, maps["student"].standard_error)
    np.testing.assert_allclose(gap.standard_error, expected)
    assert (gap.standard_error.max() > 0) == random_method


# what is refused ------------------------------------------------------------------------------------------------------


class Switch(Smooth):
    """Well until it is broken."""

    fault = ""

    def forward(self, images):
        scores = super().forward(images)
        if self.fault == "nan":
            return scores * float("nan")
        if self.fault == "raises":
            raise RuntimeError("first line\nsecond line")
        if self.fault == "shape" and len(images) > 1:
            return scores[:, :2]
        if self.fault == "rows":
            return scores[:0]
        return scores


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nan", "The model 'teacher' returned NaN or infinite scores"),
        ("raises", r"The model 'teacher' failed on a batch of shape \(1, 3, 20, 33\): first line$"),
    ],
)
@pytest.mark.parametrize("method", ["rise", "occlusion"])
def test_a_model_that_breaks_is_one_sentence(tmp_path, method, fault, said):
    experiment = experiment_of(tmp_path, teacher=Switch())
    experiment.runs["teacher"].model.fault = fault
    with pytest.raises(ModelError, match=said):
        explain(experiment, picture_of(COLOURS), 1, method)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"n_masks": 0}, SettingError, "n_masks must be .*got 0"),
        ({"n_masks": 3}, SettingError, "n_masks must be .*got 3"),
        ({"n_masks": 4.5}, SettingError, r"n_masks must be .*got 4\.5"),
        ({"grid": 15}, SettingError, "15 x 15 cells does not fit an image of 14 x 14"),
        ({"target": 10}, TargetError, "'10' is not a class"),
        ({"target": -1}, TargetError, "'-1' is not a class"),
        ({"target": "ten"}, TargetError, "'ten' is not a class"),
        ({"target": {"student": 99}}, TargetError, "'99' is not a class"),
        ({"reliability": 1.0}, SettingError, "reliability must be .*got 1"),
        ({"seconds": -1}, SettingError, "seconds must be .*got -1"),
        ({"precision": "int8"}, UnknownNameError, "Unknown precision 'int8'"),
        ({"device": "abacus"}, SettingError, "abacus"),
        ({"image": "no-such-file.png"}, ImageError, r"no-such-file\.png"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_one_sentence(tiny, digit_file, wrong, error, said):
    given = {"image": digit_file, "target": 1, **wrong}
    with pytest.raises(error, match=said) as caught:
        explain(tiny, **given)
    assert isinstance(caught.value, KdvizError)
    assert "\n" not in str(caught.value)


def training(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout2d(0.3), nn.BatchNorm2d(4)], ids=str)
def test_training_mode_is_found_out(layer):
    model, image = training(layer).train(), random(1, 3, *SIZE)
    with pytest.raises(ModelError, match=r"'1' changes its output.*model\.eval\(\)"):
        RISE(model).attribute(image, target=1, n_masks=100)
    with pytest.raises(ModelError, match=r"different scores for the same images.*model\.eval\(\)"):
        RISE(lambda images: model(images)).attribute(image, target=1, n_masks=100)
    model.eval()
    by_model = RISE(model).attribute(image, target=1, n_masks=100, precision="float32")
    by_callable = RISE(lambda images: model(images)).attribute(image, target=1, n_masks=100)
    torch.testing.assert_close(by_callable, by_model, rtol=1e-3, atol=1e-6)


def test_a_failed_job_leaves_nothing_running(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth(), student=Switch()), picture_of(COLOURS)
    queue = JobQueue()
    before = set(threading.enumerate())
    experiment.runs["student"].model.fault = "raises"
    failed = queue.submit(lambda: explain_stream(experiment, picture, 1, n_masks=2000))
    assert failed.wait(600)
    assert failed.status == "failed"
    assert failed.error == "The model 'student' failed on a batch of shape (1, 3, 20, 33): first line"
    assert "Traceback" not in failed.error
    assert failed._states is None
    experiment.runs["student"].model.fault = ""
    fine = queue.submit(lambda: explain_stream(experiment, picture, 1, n_masks=100, grid=4))
    assert fine.wait(600)
    assert (fine.status, fine.latest.n_masks) == ("done", 100)
    assert queue.jobs_ahead(failed) <= 1  # the worker may still be putting the last one away
    assert set(threading.enumerate()) <= before


def test_a_stopped_stream_asks_the_model_no_more(tmp_path):
    recorder = Recorder()
    experiment = experiment_of(tmp_path, teacher=recorder)
    states = explain_stream(experiment, picture_of(COLOURS), 1, n_masks=100_000)
    next(states)
    states.close()
    count = len(recorder.fed)
    assert list(states) == []
    assert len(recorder.fed) == count < 10


# pictures and outputs of other forms ----------------------------------------------------------------------------------


def test_wide_colour_pictures(tmp_path):
    experiment, picture = experiment_of(tmp_path, teacher=Smooth(), student=Smooth(3)), picture_of(COLOURS)
    maps = explain(experiment, picture, n_masks=600, grid=5)
    inputs = experiment.preprocess(picture)
    for role, saliency_map in maps.items():
        assert saliency_map.shape == SIZE
        assert saliency_map.picture.shape == (*SIZE, 3)
        model = experiment.runs[role].model
        alone = RISE(model, "softmax").attribute(
            inputs, experiment.baseline("black", picture), target=saliency_map.target, n_masks=600, grid=5
        )
        np.testing.assert_allclose(
            saliency_map.values, alone[0, 0].numpy(), rtol=1e-3, atol=1e-5 * np.abs(saliency_map.values).max() + 1e-7
        )
    # The bright side of a model that looks at the right half only is at the right.
    right = Smooth()
    with torch.no_grad():
        right.weights.zero_()[1, :, :, 20:] = 0.05
    bright = Image.new("RGB", SIZE[::-1], "white")
    bright_map = explain(experiment_of(tmp_path, teacher=right), bright, 1, n_masks=600, grid=5)["teacher"].values
    assert bright_map[:, 26:].min() > 5 * np.abs(bright_map[:, :8]).max()


def test_independent_labels():
    model, image = Smooth(), random(1, 3, *SIZE)
    state = last(RISE(model, "sigmoid").stream(image, target=2, n_masks=500, grid=4, precision="float32"))
    with torch.no_grad():
        masks = RandomMasks(SIZE, (4, 4), seed=0, sampler="auto").resolve_sampler(500)
        scores = model(masks.render(0, 500) * image).sigmoid().T
    torch.testing.assert_close(state.scores[0].T, scores, rtol=1e-4, atol=1e-5)
    expected = estimate(masks, scores)  # all labels at once
    for label in range(3):
        torch.testing.assert_close(state.estimate(label).map[0], expected.map[label], rtol=1e-3, atol=1e-6)
    assert state.scores.sum(-1).std() > 0.01  # they do not add up to one


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["(N,)", "(N, 1)"])
def test_a_regression(shape):
    weights = Smooth().weights.detach()[0]

    def price(images):
        return 1000 + 500 * (images * weights).sum((1, 2, 3)).view(shape)

    image = random(1, 3, *SIZE)
    saliency_map = RISE(price).attribute(image, n_masks=2000, grid=4)
    # Scores beyond 0 and 1 are explained in their own unit: 500 times the map of the sum alone.
    plain = RISE(lambda images: (images * weights).sum((1, 2, 3)).view(shape)).attribute(
        image, n_masks=2000, grid=4, estimator="ridge"
    )
    torch.testing.assert_close(saliency_map, 500 * plain, rtol=1e-2, atol=1e-3 * float(500 * plain.abs().max()))


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_several_images_equal_one_by_one(precision):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9 * 15, 3)
    ).eval()
    batch = random(3, 3, *SIZE)
    settings = {"n_masks": 300, "grid": 4, "precision": precision}
    together = last(RISE(model, "softmax").stream(batch, target=[0, 2, 1], **settings))
    for number, target in enumerate((0, 2, 1)):
        alone = last(RISE(model, "softmax").stream(batch[number : number + 1], target=target, **settings))
        # The same sums in other batches: rounding of bfloat16 may differ by one step, far below the masks' noise.
        gap = (together.map[number] - alone.map[0]).abs()
        assert gap.max() < 0.1 * alone.standard_error.mean()
        assert together.precision == alone.precision
