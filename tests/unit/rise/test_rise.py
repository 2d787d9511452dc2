"""RISE against a second computation, against a model whose answer is known, and against Captum's conventions."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from captum.attr import PerturbationAttribution
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from kdviz.core.errors import ModelError, SettingError, TargetError, UnknownNameError
from kdviz.saliency import RISE, RandomMasks, estimate, explain, explain_stream, methods

# a second computation -------------------------------------------------------------------------------------------------


def weights_at(pixel: int, cells: int, cell: int) -> dict[int, float]:
    """Which cells, and how much of each, make pixel ``place`` of a grid enlarged to (cells + 1) * cell pixels."""
    position = min(max((pixel + 0.5) * cells / ((cells + 1) * cell) - 0.5, 0), cells - 1)
    low = int(position)
    high = min(low + 1, cells - 1)
    weights = {low: 1 - (position - low)}
    weights[high] = weights.get(high, 0) + position - low
    return weights


def loop_mask(bits: np.ndarray, shift: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """One mask, pixel by pixel."""
    cell = [int(np.ceil(side / cells)) for side, cells in zip(size, bits.shape, strict=True)]
    mask = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            rows = weights_at(y + shift[0], bits.shape[0], cell[0])
            columns = weights_at(x + shift[1], bits.shape[1], cell[1])
            mask[y, x] = sum(a * b * bits[i, j] for i, a in rows.items() for j, b in columns.items())
    return mask


def loop_masks(masks: RandomMasks, count: int) -> np.ndarray:
    bits, shifts = masks.draw(0, count)
    return np.stack([loop_mask(b, tuple(s), masks.size) for b, s in zip(bits.numpy(), shifts.numpy(), strict=True)])


def loop_estimate(masks: np.ndarray, scores: np.ndarray, p: float, estimator: str) -> tuple[np.ndarray, np.ndarray]:
    """Map and standard error by explicit sums over the masks."""
    n = len(scores)
    mean = sum(scores) / n if estimator == "centred" else 0.0
    offset = p if estimator == "centred" else 0.0
    terms = [(score - mean) * (mask - offset) / p for score, mask in zip(scores, masks, strict=True)]
    total = sum(terms)
    spread = sum((term - total / n) ** 2 for term in terms) / n
    return total / (n - 1 if estimator == "centred" else n), np.sqrt(spread / (n - 1))


SHAPES = [((8, 8), (4, 4)), ((9, 7), (3, 2)), ((10, 13), (4, 7)), ((5, 6), (5, 1)), ((7, 7), (1, 1))]


@pytest.mark.parametrize(("size", "grid"), SHAPES)
@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_masks_equal_the_loop(size, grid, probability):
    masks = RandomMasks(size, grid, probability, seed=3)
    np.testing.assert_allclose(masks.render(0, 20)[:, 0].numpy(), loop_masks(masks, 20), atol=1e-6)


@pytest.mark.parametrize("estimator", ["centred", "rise"])
@pytest.mark.parametrize("count", [50, 51])
def test_estimate_equals_the_loop(estimator, count):
    masks = RandomMasks((6, 9), (3, 4), 0.3, seed=1)
    rendered = loop_masks(masks, count)
    scores = np.random.default_rng(0).normal(2, 1, (2, count))
    result = estimate(masks, torch.from_numpy(scores), estimator)
    for target in range(2):
        for part, index in ((None, slice(None)), (0, slice(0, None, 2)), (1, slice(1, None, 2))):
            expected, error = loop_estimate(rendered[index], scores[target][index], 0.3, estimator)
            got = result.map if part is None else result.halves[part]
            np.testing.assert_allclose(got[target].numpy(), expected, rtol=1e-4, atol=1e-5)
            if part is None:
                np.testing.assert_allclose(result.standard_error[target].numpy(), error, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_model_is_fed_image_under_mask_and_baseline_elsewhere(channels):
    fed = []

    def record(batch: torch.Tensor) -> torch.Tensor:
        fed.append(batch.clone())
        return batch.flatten(1).sum(1)

    image = torch.rand(1, channels, 6, 5)
    base = torch.rand(1, channels, 1, 1)
    RISE(record).attribute(image, base, n_masks=30, grid=(2, 3), seed=4)
    masks = loop_masks(RandomMasks((6, 5), (2, 3), 0.5, 4), 30)[:, None]
    expected = image.numpy() * masks + base.numpy() * (1 - masks)
    np.testing.assert_allclose(torch.cat(fed[1:]).numpy(), expected, atol=1e-6)  # the first batch is a trial


# a model whose answer is known ----------------------------------------------------------------------------------------

SIZE, GRID, P = (8, 6), (3, 2), 0.4
CELL = (3, 3)
IMAGE = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHTS = torch.randn(1, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(batch: torch.Tensor) -> torch.Tensor:
    """Sum over pixels of w_j x_j."""
    return (batch.double() * WEIGHTS).flatten(1).sum(1)


def upsampling(shift: int, axis: int) -> np.ndarray:
    """(side, cells) for one shift along one axis."""
    matrix = np.zeros((SIZE[axis], GRID[axis]))
    for pixel in range(SIZE[axis]):
        for cell, weight in weights_at(pixel + shift, GRID[axis], CELL[axis]).items():
            matrix[pixel, cell] = weight
    return matrix


def covariance() -> np.ndarray:
    """Cov(M_i, M_j) for all pixels.

    E[M | shift] = p everywhere, so Cov is the mean over shifts of p (1 - p) sum_c A_ic A_jc, where A is
    the upsampling with that shift; the bits of different cells are independent.
    """
    total = np.zeros((SIZE[0] * SIZE[1],) * 2)
    for down in range(CELL[0]):
        for right in range(CELL[1]):
            rows, columns = upsampling(down, 0), upsampling(right, 1)
            matrix = np.einsum("yi,xj->yxij", rows, columns).reshape(SIZE[0] * SIZE[1], -1)
            total += P * (1 - P) * matrix @ matrix.T
    return total / (CELL[0] * CELL[1])


CONTRIBUTION = (IMAGE[0] * WEIGHTS).numpy().ravel()
EXPECTED = {
    "centred": (covariance() @ CONTRIBUTION / P).reshape(SIZE),
    "rise": (covariance() @ CONTRIBUTION / P + P * CONTRIBUTION.sum()).reshape(SIZE),
}


@pytest.mark.parametrize("estimator", ["centred", "rise"])
def test_a_linear_model_gets_its_closed_form(estimator):
    settings = {"n_masks": 4000, "grid": GRID, "probability": P, "estimator": estimator}
    *_, state = RISE(linear).stream(IMAGE, **settings)
    z = (state.map[0, 0].numpy() - EXPECTED[estimator]) / state.standard_error[0, 0].numpy()
    # Of 48 standard normal variables none is beyond 5 but with probability 48 * 6e-7 = 3e-5.
    assert np.abs(z).max() < 5
    # And the answer is not just within wide error bars.
    assert state.standard_error.max() < 0.15 * np.ptp(EXPECTED[estimator])
    # The wrong sign, or the answer for another image, is far outside.
    wrong = (state.map[0, 0].numpy() + EXPECTED["centred"]) / state.standard_error[0, 0].numpy()
    assert np.abs(wrong).max() > 20


def repeated(seeds: int, count: int, estimator: str) -> list:
    results = []
    for seed in range(seeds):
        masks = RandomMasks(SIZE, GRID, P, seed)
        scores = linear(masks.render(0, count) * IMAGE)
        results.append(estimate(masks, scores.unsqueeze(0), estimator))
    return results


@pytest.mark.parametrize("estimator", ["centred", "rise"])
@pytest.mark.slow
def test_it_is_unbiased_from_very_few_masks(estimator):
    # Dividing by n = 5 instead of n - 1 would shrink the centred map by 20 %.
    maps = np.stack([result.map[0].numpy().astype(float) for result in repeated(800, 5, estimator)])
    expected = EXPECTED[estimator]
    scale = (maps * expected).sum((1, 2)) / (expected**2).sum()  # 1 in the mean if unbiased
    error = scale.std(ddof=1) / np.sqrt(len(scale))
    assert abs(scale.mean() - 1) < 5 * error
    assert error < 0.04  # so that 20 % would be seen
    z = (maps.mean(0) - expected) / (maps.std(0, ddof=1) / np.sqrt(len(maps)))
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("estimator", ["centred", "rise"])
@pytest.mark.slow
def test_the_standard_error_covers_what_it_says(estimator):
    results = repeated(150, 300, estimator)
    maps = np.stack([result.map[0].numpy() for result in results])
    errors = np.stack([result.standard_error[0].numpy() for result in results])
    covered = (np.abs(maps - EXPECTED[estimator]) < 1.96 * errors).mean()
    # 95 % if all is right; pixels of a map are dependent, so count 150 independent trials: sd = sqrt(.95 * .05 / 150)
    # = 1.8 %; 90 to 99 % leaves room for that and would show errors that are 20 % too small or 30 % too large.
    assert 0.90 < covered < 0.99
    # The same as a ratio: the spread of the maps over the error that each states, over all pixels.
    assert maps.std(0, ddof=1).mean() / errors.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_halves_are_independent_estimates():
    maps = np.stack([result.halves[:, 0].numpy() for result in repeated(200, 100, "centred")])  # (200, 2, H, W)
    errors = maps - EXPECTED["centred"]
    # Correlation of two independent series of 200 in one pixel: sd = 1 / sqrt(200) = 0.07; 5 of them are 0.35.
    for y, x in ((0, 0), (4, 3), (7, 5)):
        assert abs(np.corrcoef(errors[:, 0, y, x], errors[:, 1, y, x])[0, 1]) < 0.35


def test_centring_needs_fewer_masks():
    level = 20.0  # a common level of the scores multiplies the masks' own noise in the published form
    masks = RandomMasks(SIZE, GRID, P, 0)
    scores = linear(masks.render(0, 500) * IMAGE).unsqueeze(0) + level
    centred, published = (estimate(masks, scores, name).standard_error.mean() for name in ("centred", "rise"))
    assert centred < published / 3


@pytest.mark.parametrize("estimator", ["centred", "rise"])
def test_the_pixel_that_matters_ranks_first(estimator):
    image = torch.ones(1, 1, 9, 9)
    model = lambda batch: batch[:, 0, 6, 2]  # noqa: E731
    result = RISE(model).attribute(image, n_masks=3000, grid=9, estimator=estimator)[0, 0]
    assert divmod(int(result.argmax()), 9) == (6, 2)
    if estimator == "centred":  # cells far away are independent of it: zero in the mean
        assert abs(float(result[0, 8])) < 0.1 * float(result[6, 2])


# masks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_masks_have_their_range_and_mean(probability):
    masks = RandomMasks((12, 10), (4, 5), probability, seed=7).render(0, 4000)
    assert masks.shape == (4000, 1, 12, 10)
    assert masks.dtype == torch.float32
    assert float(masks.min()) >= 0
    assert float(masks.max()) <= 1 + 1e-6
    # A pixel is a mean of bits: its variance is at most p (1 - p), so the mean's error is below sqrt(p (1 - p) / n).
    error = np.sqrt(probability * (1 - probability) / 4000)
    assert float((masks.mean(0) - probability).abs().max()) < 5 * error


def test_masks_are_the_same_in_any_pieces():
    masks = RandomMasks((10, 10), (4, 4), seed=2)
    whole = masks.render(0, 200)
    for cuts in ((0, 64, 128, 200), (0, 1, 63, 65, 127, 130, 200), (0, 100, 200)):
        pieces = [masks.render(start, stop) for start, stop in pairwise(cuts)]
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-6)
    assert len(torch.unique(whole.flatten(1), dim=0)) > 190  # blocks do not repeat each other


def test_the_seed_decides_the_masks():
    def first(seed):
        return RandomMasks((10, 10), seed=seed).render(0, 10)

    torch.manual_seed(1)
    saliency = first(5)
    torch.manual_seed(2)
    assert torch.equal(saliency, first(5))
    assert not torch.equal(saliency, first(6))


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": 0.0},
        {"probability": 1.0},
        {"probability": float("nan")},
        {"grid": (0, 3)},
        {"grid": (3, 11)},
        {"seed": -1},
    ],
    ids=str,
)
def test_mask_settings_outside_their_range(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        RandomMasks((10, 10), **{"grid": (3, 3), **wrong})


# one way of asking equals another -------------------------------------------------------------------------------------


def net(channels: int = 1, size: tuple[int, int] = (11, 9), classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten())
    width = 4 * (size[0] - 2) * (size[1] - 2)
    return nn.Sequential(*layers, nn.Linear(width, classes)).eval()


def images(count: int = 1, channels: int = 1, size: tuple[int, int] = (11, 9)) -> torch.Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(5))


SETTINGS = {"n_masks": 150, "grid": (4, 3), "seed": 2, "precision": "float32"}


@pytest.mark.parametrize("chunk", [1, 7, 64, 150, 1000])
def test_the_chunk_size_changes_nothing(chunk):
    rise = RISE(net())
    expected = rise.attribute(images(), target=1, **SETTINGS)
    got = rise.attribute(images(), target=1, chunk_size=chunk, **SETTINGS)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_equals_one_by_one(channels):
    rise, batch = RISE(net(channels)), images(3, channels)
    together = rise.attribute(batch, target=[0, 3, 1], **SETTINGS)
    assert together.shape == (3, 1, 11, 9)
    for number, target in enumerate((0, 3, 1)):
        alone = rise.attribute(batch[number : number + 1], target=target, **SETTINGS)
        torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-4, atol=1e-6)


def test_one_pass_serves_every_class():
    model = net()
    *_, state = RISE(model).stream(images(), target=0, **SETTINGS)
    masks = RandomMasks((11, 9), (4, 3), seed=2)
    together = estimate(masks, state.scores[0].T)
    for target in range(4):
        alone = RISE(model).attribute(images(), target=target, **SETTINGS)[0]
        torch.testing.assert_close(state.estimate(target).map, alone)
        torch.testing.assert_close(together.map[target : target + 1], alone, rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_map():
    rise = RISE(net())
    first, again, other = (
        rise.attribute(images(), target=1, chunk_size=40, **{**SETTINGS, "seed": seed}) for seed in (2, 2, 3)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)


def test_baselines_as_number_and_tensor():
    rise, image = RISE(net(3)), images(2, 3)
    number = rise.attribute(image, 0.5, target=1, chunk_size=40, **SETTINGS)
    for shape in ((), (1, 3, 1, 1), (2, 3, 11, 9)):
        assert torch.equal(rise.attribute(image, torch.full(shape, 0.5), target=1, chunk_size=40, **SETTINGS), number)
    assert torch.equal(
        rise.attribute(image, None, target=1, chunk_size=40, **SETTINGS),
        rise.attribute(image, 0, target=1, chunk_size=40, **SETTINGS),
    )
    assert not torch.allclose(rise.attribute(image, 0, target=1, chunk_size=40, **SETTINGS), number, atol=1e-4)
    # An image that is its own baseline has nothing to remove.
    assert float(rise.attribute(image, image, target=1, chunk_size=40, **SETTINGS).abs().max()) < 1e-5


def test_activations():
    model, image = net(), images()
    by_name = RISE(model, "softmax").attribute(image, target=2, **SETTINGS)
    by_hand = RISE(lambda batch: torch.softmax(model(batch), 1)).attribute(image, target=2, **SETTINGS)
    by_callable = RISE(model, lambda logits: logits.softmax(1)).attribute(image, target=2, **SETTINGS)
    torch.testing.assert_close(by_name, by_hand, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by_callable, by_name)
    assert not torch.allclose(RISE(model, "sigmoid").attribute(image, target=2, **SETTINGS), by_hand, atol=1e-4)
    with pytest.raises(SettingError, match="activation"):
        RISE(model, "relu6")


def test_it_touches_neither_the_image_nor_the_model():
    model, image = net(), images().requires_grad_()
    before = image.detach().clone()
    result = RISE(model).attribute(image, target=0, **SETTINGS)
    assert torch.equal(image, before)
    assert not result.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


# Captum ---------------------------------------------------------------------------------------------------------------


def test_it_is_a_captum_method():
    assert issubclass(RISE, PerturbationAttribution)
    assert RISE(net()).forward_func is not None


@pytest.mark.parametrize(
    "target",
    [2, [2], [2, 2], torch.tensor(2), torch.tensor([2]), torch.tensor([2, 2]), (2,), [(2,), (2,)], np.int64(2)],
    ids=str,
)
def test_every_way_to_name_a_target(target):
    rise, batch = RISE(net()), images(2)
    by_target, by_number = (rise.attribute(batch, target=given, chunk_size=40, **SETTINGS) for given in (target, 2))
    assert torch.equal(by_target, by_number)


def test_targets_of_outputs_with_more_dimensions():
    model = net(classes=12)
    rise = RISE(lambda batch: model(batch).view(-1, 3, 4))
    batch = images(2)
    flat = RISE(model)
    for target, same in (((1, 2), 6), ([(1, 2), (2, 3)], [6, 11])):
        expected = flat.attribute(batch, target=same, **SETTINGS)
        got = rise.attribute(batch, target=target, **SETTINGS)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_output_an_image_needs_no_target(shape):
    model = net(classes=1)
    result = RISE(lambda batch: model(batch).view(shape)).attribute(images(2), **SETTINGS)
    torch.testing.assert_close(result, RISE(model).attribute(images(2), target=0, **SETTINGS))


def test_additional_forward_args():
    model = net()
    factors = torch.tensor([1.0, 3.0])
    seen = []

    def forward(batch, factor, power, name):
        seen.append((factor.shape[0] == len(batch), power, name))
        return factor.view(-1, 1) * model(batch) ** power

    result = RISE(forward).attribute(images(2), target=1, additional_forward_args=(factors, 1, "x"), **SETTINGS)
    plain = RISE(model).attribute(images(2), target=1, **SETTINGS)
    torch.testing.assert_close(result, plain * factors.view(2, 1, 1, 1), rtol=1e-4, atol=1e-6)
    assert set(seen) == {(True, 1, "x")}
    single = RISE(lambda batch, factor: factor * model(batch)).attribute(
        images(2), target=1, additional_forward_args=2.0, **SETTINGS
    )
    torch.testing.assert_close(single, plain * 2, rtol=1e-4, atol=1e-6)


def test_captums_metrics_take_it():
    model, image = net(), images()
    rise = RISE(model)

    def perturb(inputs):
        change = 0.1 * torch.ones_like(inputs)
        return change, inputs - change

    maps = rise.attribute(image, target=1, **SETTINGS)
    assert torch.isfinite(infidelity(model, perturb, image, maps, target=1, n_perturb_samples=3)).all()
    change = sensitivity_max(rise.attribute, image, target=1, n_perturb_samples=2, n_masks=16, grid=3)
    assert torch.isfinite(change).all()


# the stream -----------------------------------------------------------------------------------------------------------


def test_the_stream_grows_and_ends_at_the_map():
    rise = RISE(net())
    states = list(rise.stream(images(), target=1, chunk_size=40, **SETTINGS))
    assert [state.n_masks for state in states] == [40, 80, 120, 150]
    assert {state.total for state in states} == {150}
    assert torch.equal(states[-1].map, rise.attribute(images(), target=1, chunk_size=40, **SETTINGS))
    # Earlier states are those of fewer masks, also when read later.
    fewer = rise.attribute(images(), target=1, **{**SETTINGS, "n_masks": 80})
    torch.testing.assert_close(states[1].map, fewer, rtol=1e-4, atol=1e-6)
    assert states[-1].standard_error.mean() < states[0].standard_error.mean()
    assert states[-1].halves.shape == (2, 1, 1, 11, 9)


def test_the_stream_can_be_stopped():
    calls = []

    def model(batch):
        calls.append(len(batch))
        return batch.flatten(1).sum(1)

    first = list(islice(RISE(model).stream(images(), chunk_size=10, **SETTINGS), 2))
    assert len(first) == 2
    assert calls[1:] == [10, 10]  # the first batch is a trial


def test_an_unset_chunk_size_gives_a_first_picture_soon():
    states = list(RISE(net()).stream(images(), target=1, n_masks=300, grid=3))
    assert states[0].n_masks <= 64
    assert states[-1].n_masks == 300


def test_progress_is_on_stderr_and_only_when_asked_for(capsys):
    rise = RISE(net())
    rise.attribute(images(), target=1, **SETTINGS)
    assert capsys.readouterr() == ("", "")
    rise.attribute(images(), target=1, show_progress=True, **SETTINGS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "150/150" in captured.err


def test_out_of_memory_halves_the_chunk_and_goes_on():
    model, sizes = net(), []

    def small(batch):
        sizes.append(len(batch))
        if len(batch) > 20:
            raise torch.OutOfMemoryError("too much")
        return model(batch)

    result = RISE(small).attribute(images(), target=1, chunk_size=64, **SETTINGS)
    torch.testing.assert_close(result, RISE(model).attribute(images(), target=1, **SETTINGS), rtol=1e-4, atol=1e-6)
    assert sizes[1:4] == [64, 32, 16]  # the first batch is a trial
    assert max(sizes[3:]) == 16

    def hopeless(batch):
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(ModelError, match="memory"):
        RISE(hopeless).attribute(images(), target=1, **SETTINGS)


# errors ---------------------------------------------------------------------------------------------------------------


def changing(batch):
    changing.calls = getattr(changing, "calls", 0) + 1
    return batch.flatten(1)[:, : 1 + changing.calls]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda batch: torch.full((len(batch), 3), float("nan")), "NaN or infinite"),
        (lambda batch: torch.full((len(batch), 3), float("inf")), "NaN or infinite"),
        (lambda batch: torch.zeros(len(batch) + 1, 3), "rows"),
        (lambda batch: torch.zeros(()), "rows"),
        (lambda batch: [0.0] * len(batch), "rows"),
        (lambda batch: batch @ torch.zeros(3, 3), "failed on a batch"),
        (changing, "changed its output's shape"),
    ],
    ids=["nan", "inf", "rows", "scalar", "list", "raises", "changing"],
)
def test_a_broken_model_is_a_model_error(model, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        RISE(model).attribute(images(), target=0, chunk_size=32, **SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", [4, -5, (1, 2), None, [0, 1], torch.tensor([9]), "1"], ids=str)
def test_a_target_that_does_not_exist(target):
    calls = []

    def model(batch):
        calls.append(len(batch))
        return net()(batch)

    with pytest.raises(TargetError, match="target"):
        RISE(model).attribute(images(3), target=target, **SETTINGS)
    assert len(calls) <= 4  # a trial and one chunk: it is not found out at the end


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"n_masks": 3}, "at least 4"),
        ({"grid": 10}, "does not fit"),
        ({"grid": 0}, "does not fit"),
        ({"probability": 1.0}, "probability"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"baselines": torch.zeros(1, 2, 11, 9)}, "baseline"),
        ({"inputs": torch.zeros(1, 1, 11, 9, dtype=torch.uint8)}, "float images"),
        ({"inputs": torch.zeros(11, 9)}, "float images"),
        ({"inputs": torch.zeros(0, 1, 11, 9)}, "float images"),
        ({"inputs": torch.full((1, 1, 11, 9), float("nan"))}, "NaN"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit(wrong, reason):
    given = {"inputs": images(), "target": 1, **SETTINGS, **wrong}
    with pytest.raises(SettingError, match=reason):
        RISE(net()).attribute(**given)


def test_an_unknown_estimator_suggests_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'centred'"):
        RISE(net()).attribute(images(), target=1, estimator="centered", n_masks=8, grid=3)


# explain: all models of an experiment ---------------------------------------------------------------------------------

QUICK = {"n_masks": 60, "grid": 4}


def test_explain_gives_each_model_the_map_of_rise(tiny, digits):
    picture = digits.picture(0)
    maps = explain(tiny, picture, target=8, seed=0, precision="float32", **QUICK)
    assert list(maps) == ["teacher", "kd_student", "student"]
    inputs = tiny.preprocess(picture)
    for role, saliency in maps.items():
        model = tiny.runs[role].model
        expected = RISE(model, "softmax").attribute(
            inputs, tiny.input.baseline("black").expand_as(inputs), target=8, precision="float32", **QUICK
        )
        np.testing.assert_allclose(saliency.values, expected[0, 0].numpy(), rtol=1e-4, atol=1e-7)
        assert (saliency.values.dtype, saliency.standard_error.dtype, saliency.shape) == (
            np.float32,
            np.float32,
            (14, 14),
        )
        np.testing.assert_allclose(saliency.probabilities, model(inputs).softmax(1)[0].numpy(), atol=1e-6)
        assert (saliency.role, saliency.target, saliency.n_masks, saliency.method) == (role, 8, 60, "rise")
        assert np.array_equal(np.asarray(saliency), saliency.values)
        np.testing.assert_allclose(saliency.halves.mean(0), saliency.values, atol=5 * saliency.standard_error.max())


def test_explain_one_model_at_a_time_equals_all_together(tiny, digit_file):
    together = explain(tiny, digit_file, 3, **QUICK)
    for role in tiny.runs:
        alone = explain(tiny, digit_file, 3, roles=[role], **QUICK)
        assert list(alone) == [role]
        np.testing.assert_allclose(alone[role].values, together[role].values, rtol=1e-4, atol=1e-7)


def test_targets_of_explain(tiny, digit_file):
    own = explain(tiny, digit_file, **QUICK)
    assert all(
        saliency.target == saliency.predicted == int(saliency.probabilities.argmax()) for saliency in own.values()
    )
    named = explain(tiny, digit_file, "7", **QUICK)
    assert {saliency.target for saliency in named.values()} == {7}
    mixed = explain(tiny, digit_file, {"teacher": 1, "student": "2"}, **QUICK)
    assert (mixed["teacher"].target, mixed["student"].target) == (1, 2)
    *_, state = explain_stream(tiny, digit_file, 0, **QUICK)
    np.testing.assert_allclose(state.maps(dict.fromkeys(tiny.runs, 7))["student"].values, named["student"].values)


@pytest.mark.slow
def test_bfloat16_changes_nothing_that_matters(tiny, digit_file):
    exact, rounded, chosen = (
        explain(tiny, digit_file, 3, precision=name, n_masks=500, grid=4) for name in ("float32", "bfloat16", "auto")
    )
    for role, saliency in exact.items():
        # Rounding errors of the scores are far below their change from mask to mask, which the error is made of.
        assert np.abs(rounded[role].values - saliency.values).max() < saliency.standard_error.max()
        assert not np.array_equal(rounded[role].values, saliency.values)
    precision = chosen["teacher"].settings["precision"]
    assert precision in ("float32", "bfloat16")
    same = exact if precision == "float32" else rounded
    np.testing.assert_allclose(chosen["teacher"].values, same["teacher"].values, atol=1e-4)


@pytest.mark.parametrize("baseline", ["black", "white", "mean", "grey"])
def test_every_baseline_by_name(tiny, digit_file, baseline):
    saliency = explain(tiny, digit_file, 1, baseline=baseline, **QUICK)["student"]
    assert saliency.settings["baseline"] == baseline
    assert np.isfinite(saliency.values).all()


@pytest.mark.parametrize("method", list(methods))
def test_every_method_is_described_and_checks_its_settings(tiny, digit_file, method):
    defaults = methods[method].complete({})
    assert set(defaults) == {setting.name for setting in methods[method].settings}
    for setting in methods[method].settings:
        assert setting.help.endswith(".")
        for wrong in ("nonsense", None, float("nan"), float("inf"), -1):
            with pytest.raises((SettingError, UnknownNameError), match=setting.name):
                methods[method].complete({setting.name: wrong})
        assert methods[method].complete({setting.name: setting.default}) == defaults
    with pytest.raises(UnknownNameError, match="n_masks" if method == "rise" else "Unknown setting"):
        explain(tiny, digit_file, 1, method, masks=5)


def test_numpy_numbers_are_settings_too(tiny, digit_file):
    maps = explain(tiny, digit_file, np.int64(3), n_masks=np.int64(60), grid=np.int32(4), probability=np.float32(0.5))
    other = explain(tiny, digit_file, 3, **QUICK)["student"]
    np.testing.assert_allclose(maps["student"].values, other.values, atol=1e-5)


def test_unknown_names_in_explain(tiny, digit_file):
    with pytest.raises(UnknownNameError, match="Did you mean 'rise'"):
        explain(tiny, digit_file, 1, "rice")
    with pytest.raises(UnknownNameError, match="Did you mean 'teacher'"):
        explain(tiny, digit_file, 1, roles=["teecher"])
    with pytest.raises(TargetError):
        explain(tiny, digit_file, 10, **QUICK)
