"""Insertion and deletion: against a loop, on models whose best order is known, and on real digits."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
import torch

from kdviz.core.errors import ModelError, SettingError, TargetError
from kdviz.metrics import faithfulness, faithfulness_of_maps, trivial_map

SIZE = (6, 5)
PIXELS = SIZE[0] * SIZE[1]


class Additive:
    """Probability of class 1 = mean of the picture, weighted: removing a pixel takes its share away.

    So on a baseline of zero the order of weight * picture has the lowest deletion AUC and the highest insertion AUC of
    all orders, and its reverse the opposite.
    """

    def __init__(self, seed: int = 0, channels: int = 2, size: tuple[int, int] = SIZE):
        random = np.random.default_rng(seed)
        self.inputs = torch.tensor(random.uniform(0.1, 1, (1, channels, *size)), dtype=torch.float32)
        self.weight = torch.tensor(random.exponential(size=(1, channels, *size)), dtype=torch.float32)
        self.total = self.weight.sum()
        self.seen: list[torch.Tensor] = []

    @property
    def right(self) -> np.ndarray:
        return (self.weight * self.inputs)[0].sum(0).numpy()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        self.seen.append(images.clone())
        share = (images * self.weight).sum((1, 2, 3)) / self.total
        return torch.stack([1 - share, share], 1)


def curves_by_hand(model, inputs, saliency, target, baseline, steps):
    """Pixel by pixel, one picture a forward pass; no ties."""
    pixels = saliency.size
    order = sorted(np.ndindex(saliency.shape), key=lambda pixel: -saliency[pixel])
    base = torch.as_tensor(baseline).expand_as(inputs)
    curves = []
    for start, end in ((inputs, base), (base, inputs)):
        picture, values, fractions, done = start.clone(), [], [], 0
        for step in range(steps + 1):
            while done < step * pixels // steps:
                row, column = order[done]
                for channel in range(inputs.shape[1]):
                    picture[0, channel, row, column] = end[0, channel, row, column]
                done += 1
            with torch.inference_mode():
                values.append(float(model(picture)[0, target]))
            fractions.append(done / pixels)
        curves.append((fractions, values))
    return curves


@pytest.mark.parametrize("steps", [1, 7, 29, PIXELS, None])
@pytest.mark.parametrize("baseline", [0.0, torch.tensor([0.2, 0.7]).view(1, 2, 1, 1), 0.5 * torch.rand(1, 2, *SIZE)])
def test_equal_a_loop(steps, baseline):
    model = Additive()
    saliency = np.random.default_rng(5).normal(size=SIZE)
    result = faithfulness(model, model.inputs, saliency, 1, baseline, steps=steps)
    loops = curves_by_hand(model, model.inputs, saliency, 1, baseline, steps or PIXELS)
    for curve, (fractions, values) in zip((result.deletion, result.insertion), loops, strict=True):
        assert curve.fraction == pytest.approx(fractions)
        assert curve.probability == pytest.approx(values, abs=1e-6)
        area = sum(
            (fractions[k + 1] - fractions[k]) * (values[k] + values[k + 1]) / 2 for k in range(len(fractions) - 1)
        )
        assert curve.auc == pytest.approx(area, abs=1e-6)


def test_the_pictures_that_the_model_sees():
    model = Additive(channels=1, size=(2, 2))
    faithfulness(model, model.inputs, [[4, 1], [2, 3]], 1, 0.0)
    pictures = torch.cat(model.seen)
    a, b, c, d = model.inputs.flatten().tolist()
    deletion = [[a, b, c, d], [0, b, c, d], [0, b, c, 0], [0, b, 0, 0], [0, 0, 0, 0]]
    insertion = [[0, 0, 0, 0], [a, 0, 0, 0], [a, 0, 0, d], [a, 0, c, d], [a, b, c, d]]
    assert pictures.flatten(1).tolist() == deletion + insertion


def test_no_order_beats_the_right_one():
    model = Additive(channels=1, size=(2, 3))
    orders = [np.reshape(order, (2, 3)) for order in permutations(range(6))]
    maps = {str(number): order for number, order in enumerate(orders)} | {"right": model.right}
    results = faithfulness_of_maps(model, model.inputs, maps, 1, 0.0)
    right = results.pop("right")
    assert right.deletion.auc == pytest.approx(min(result.deletion.auc for result in results.values()), abs=1e-6)
    assert right.insertion.auc == pytest.approx(max(result.insertion.auc for result in results.values()), abs=1e-6)
    half = right.deletion.probability[0] / 2  # of a random order
    assert right.deletion.auc < 0.8 * half
    assert right.insertion.auc > 1.2 * half


def test_a_wrong_map_scores_worse():
    model = Additive()
    maps = {"right": model.right, "constant": np.zeros(SIZE), "reversed": -model.right}
    results = faithfulness_of_maps(model, model.inputs, maps, 1, 0.0)
    deletion = [result.deletion.auc for result in results.values()]
    insertion = [result.insertion.auc for result in results.values()]
    assert deletion == sorted(deletion)
    assert insertion == sorted(insertion, reverse=True)
    assert deletion[0] + 0.05 < deletion[1] < deletion[2] - 0.05
    # The other class is 1 - p: its curves are the mirror image.
    other = faithfulness(model, model.inputs, model.right, 0, 0.0)
    assert other.deletion.auc == pytest.approx(1 - deletion[0], abs=1e-6)


@pytest.mark.parametrize("half", ["top", "bottom", "left", "right"])
def test_ties_have_no_reading_order(half):
    """A model that looks at one half only. In reading order the top half would go first: AUC .25, the bottom .75."""
    size = (20, 20)
    weight = torch.zeros(size)
    weight[{"top": (slice(10),), "bottom": (slice(10, 20),)}.get(half, (slice(None),))] = 1
    if half in ("left", "right"):
        weight = torch.zeros(size)
        weight[:, :10] = half == "left"
        weight[:, 10:] = half == "right"

    def forward(images):
        return (images[:, 0] * weight).sum((1, 2)) / weight.sum()

    result = faithfulness(forward, torch.ones(1, 1, *size), np.full(size, 3.0), None, 0.0)
    # Deletion AUC = mean place of the n = 200 pixels that count among N = 400, a sample without replacement from
    # uniform places: variance 1/12 / n * (N - n) / (N - 1); standard error .0145.
    error = np.sqrt(1 / 12 / 200 * 200 / 399)
    assert result.deletion.auc == pytest.approx(0.5, abs=4 * error)
    assert result.insertion.auc == pytest.approx(0.5, abs=4 * error)


def test_ties_are_ordered_by_the_seed_and_only_they():
    model = Additive()
    flat, right = np.zeros(SIZE), model.right
    by_seed, again, by_other_seed = (faithfulness(model, model.inputs, flat, 1, 0.0, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(by_seed.deletion.probability, again.deletion.probability)
    assert not np.array_equal(by_seed.deletion.probability, by_other_seed.deletion.probability)
    first, second = (faithfulness(model, model.inputs, right, 1, 0.0, seed=seed) for seed in (0, 1))
    assert np.array_equal(first.deletion.probability, second.deletion.probability)


@pytest.mark.parametrize("batch_size", [1, 3, 64, 10_000])
def test_the_batch_size_bounds_the_batch_and_changes_nothing(batch_size):
    model = Additive()
    expected = faithfulness(model, model.inputs, model.right, 1, 0.0)
    model.seen.clear()
    result = faithfulness(model, model.inputs, model.right, 1, 0.0, batch_size=batch_size)
    assert max(map(len, model.seen)) == min(batch_size, 2 * (PIXELS + 1))
    for name in ("deletion", "insertion"):
        assert getattr(result, name).probability == pytest.approx(getattr(expected, name).probability, abs=1e-6)


def test_large_pictures_come_in_small_batches_by_default():
    seen = []

    def forward(images):
        seen.append(len(images))
        return torch.zeros(len(images))

    faithfulness(forward, torch.zeros(1, 3, 224, 224), np.zeros((224, 224)), None, 0.0)
    assert sum(seen) == 2 * 225
    assert max(seen) * 3 * 224 * 224 * 4 < 8e6  # bytes


def test_several_maps_equal_one_by_one():
    model = Additive()
    maps = {str(seed): np.random.default_rng(seed).normal(size=SIZE).round() for seed in range(4)}
    together = faithfulness_of_maps(model, model.inputs, maps, 1, 0.3, steps=11, batch_size=9)
    assert list(together) == list(maps)
    for name, saliency in maps.items():
        alone = faithfulness(model, model.inputs, saliency, 1, 0.3, steps=11)
        assert together[name].deletion.probability == pytest.approx(alone.deletion.probability, abs=1e-6)
        assert together[name].insertion.probability == pytest.approx(alone.insertion.probability, abs=1e-6)
    assert faithfulness_of_maps(model, model.inputs, {}, 1, 0.3) == {}


def test_what_a_map_may_be():
    model = Additive()
    expected = faithfulness(model, model.inputs, model.right, 1, 0.0).deletion.auc
    for saliency in (
        torch.tensor(model.right, requires_grad=True),
        torch.tensor(model.right, dtype=torch.float64),
        model.right.tolist(),
    ):
        assert faithfulness(model, model.inputs, saliency, 1, 0.0).deletion.auc == pytest.approx(expected)
    whole = faithfulness(model, model.inputs, (model.right > 1).astype(np.uint8), 1, 0.0)  # unsigned: no -1 to wrap
    assert whole.deletion.auc < faithfulness(model, model.inputs, model.right <= 1, 1, 0.0).deletion.auc


def test_the_data():
    model = Additive()
    result = faithfulness(model, model.inputs, model.right, 1, 0.0)
    assert (result.deletion.better, result.insertion.better) == ("lower", "higher")
    assert result.deletion.fraction[[0, -1]].tolist() == result.insertion.fraction[[0, -1]].tolist() == [0, 1]
    assert result.deletion.probability[0] == pytest.approx(result.insertion.probability[-1])
    assert result.deletion.probability[[0, -1]] == pytest.approx([model.right.sum() / float(model.total), 0])
    document = json.loads(json.dumps(result.to_json()))
    assert document["deletion"]["auc"] == result.deletion.auc
    assert document["insertion"]["better"] == "higher"
    assert len(document["insertion"]["probability"]) == len(document["insertion"]["fraction"]) == PIXELS + 1
    assert f"deletion {result.deletion.auc:.3f} (lower is better)" in str(result)


@pytest.mark.parametrize(("size", "steps"), [((3, 4), 12), ((14, 14), 196), ((28, 28), 224), ((40, 50), 224)])
def test_the_default_steps(size, steps):
    result = faithfulness(
        lambda images: torch.full((len(images),), 0.5), torch.ones(1, 1, *size), np.ones(size), None, 0.0
    )
    parts = np.diff(result.deletion.fraction) * size[0] * size[1]
    assert len(parts) == steps
    assert np.ptp(parts.round().astype(int)) <= 1  # nearly equal parts
    assert result.deletion.auc == result.insertion.auc == pytest.approx(0.5)


def ask(**changes):
    model = Additive()
    settings = {"forward": model, "inputs": model.inputs, "saliency": model.right, "target": 1, "baseline": 0.0}
    return faithfulness(**{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"saliency": np.zeros((5, 6))}, r"map of shape \(5, 6\) does not fit a picture of \(6, 5\)"),
        ({"saliency": np.zeros((1, *SIZE))}, r"map of shape \(1, 6, 5\)"),
        ({"saliency": np.where(np.eye(6, 5) > 0, np.nan, 1)}, "has NaN"),
        ({"inputs": torch.zeros(2, 2, *SIZE)}, "one picture"),
        ({"inputs": torch.zeros(2, *SIZE)}, "one picture"),
        ({"baseline": torch.zeros(1, 3, 1, 1)}, "baseline of shape"),
        ({"baseline": torch.zeros(2, 2, 1, 1)}, "baseline of shape"),
        ({"steps": 0}, "from 1 to 30"),
        ({"steps": 31}, "from 1 to 30"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(SettingError, match=message):
        ask(**changes)


@pytest.mark.parametrize("target", [-1, 2, None])
def test_a_class_that_the_model_does_not_have(target):
    with pytest.raises(TargetError, match="from 0 to 1"):
        ask(target=target)
    with pytest.raises(TargetError, match="no classes"):
        ask(forward=lambda images: torch.zeros(len(images)))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda images: 5 * torch.ones(len(images), 2), "softmax"),
        (lambda images: torch.full((len(images), 2), -1.0), "softmax"),
        (lambda images: torch.full((len(images), 2), float("nan")), "softmax"),
        (lambda images: torch.zeros(1, 2), r"\(1, 2\) for"),
        (lambda images: torch.zeros(len(images), 2, 2), "expected probabilities"),
    ],
)
def test_models_that_give_no_probabilities(forward, message):
    with pytest.raises(ModelError, match=message):
        ask(forward=forward)


# the trivial map ------------------------------------------------------------------------------------------------------


def test_the_trivial_map_is_the_blurred_digit(digits):
    picture = digits.images[3].float()[None] / 255
    result = trivial_map(picture)
    assert (result.shape, result.dtype) == ((28, 28), np.float32)
    # Gaussian of sigma 2 by hand, on the mirrored digit: one dot product a pixel.
    window = np.array([np.exp(-(x**2) / 8) for x in range(-6, 7)])
    weights = np.outer(window, window) / window.sum() ** 2
    mirrored = np.pad(picture[0, 0].numpy(), 6, mode="reflect")
    expected = [[(mirrored[y : y + 13, x : x + 13] * weights).sum() for x in range(28)] for y in range(28)]
    assert result == pytest.approx(np.array(expected), abs=1e-5)


def test_the_trivial_map_finds_what_is_not_background():
    picture = torch.full((1, 3, 30, 40), 0.8)
    picture[:, :, 10:16, 20:26] = torch.tensor([0.2, 0.8, 0.9]).view(1, 3, 1, 1)
    result = trivial_map(picture)
    assert 10 <= np.unravel_index(result.argmax(), result.shape)[0] <= 15
    assert result[0, 0] == pytest.approx(0, abs=1e-6)
    inverted = trivial_map(1 - picture)  # dark on light is as light on dark
    assert inverted == pytest.approx(result, abs=1e-6)
    assert trivial_map(torch.rand(1, 1, 1, 1)).shape == (1, 1)
    with pytest.raises(SettingError, match="one picture"):
        trivial_map(picture[0])


def test_on_real_digits_the_trivial_map_beats_a_random_order(digits):
    """On black, what matters of a digit is its ink: no model is needed to find it."""
    for sample in range(3):
        picture = digits.images[sample].float()[None] / 255

        def ink_left(images, ink=picture):
            return (images * ink).sum((1, 2, 3)) / (ink * ink).sum()

        maps = {"trivial": trivial_map(picture), "random": np.zeros((28, 28))}
        trivial, random = faithfulness_of_maps(ink_left, picture, maps, None, 0.0).values()
        assert trivial.deletion.auc < random.deletion.auc - 0.2
        assert trivial.insertion.auc > random.insertion.auc + 0.2
