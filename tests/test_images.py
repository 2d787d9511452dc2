"""Pictures that nobody has checked: each is opened rightly or refused with one ImageError."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image

from kdviz.errors import ImageError
from kdviz.experiment import load_experiment
from kdviz.files import MODELS
from kdviz.images import MAX_BYTES, MAX_PIXELS, content_hash, mnist_digit, open_image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def png_claiming(width: int, height: int) -> bytes:
    """A valid header of a grey PNG of any size, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


# refused --------------------------------------------------------------------------------------------------------------

PNG = encoded(Image.fromarray(noise(40, 30, 3)))
JPEG = encoded(Image.fromarray(noise(40, 30, 3)), "JPEG")
REFUSED = {
    "empty.png": (b"", "empty"),
    "text.png": (b"a letter, not a picture\n" * 20, "not a picture"),
    "page.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "head.png": (PNG[:20], "not a picture|damaged"),
    "cut.png": (PNG[: len(PNG) // 2], "damaged or cut off"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "damaged or cut off"),
    "damaged.png": (PNG[:100] + b"\xff" * 200 + PNG[300:], "damaged or cut off"),
    "huge.png": (png_claiming(10_000, 10_000), "10000 x 10000 pixels"),
    "just too large.png": (png_claiming(MAX_PIXELS + 1, 1), "megapixels"),
    "bomb.png": (png_claiming(50_000, 50_000), "megapixels"),  # above Pillow's own error as well
    "heavy.png": (b"\0" * (MAX_BYTES + 1), "20 MB"),
    "pickle.png": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins.", "not a picture"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_bad_files_are_one_image_error(tmp_path, name):
    content, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    for source, given in ((path, ""), (str(path), ""), (content, name)):
        with pytest.raises(ImageError, match=reason) as caught:
            open_image(source, given)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_pixel_limit_is_checked_before_decoding(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="megapixels"):
        open_image(png_claiming(10_000, 10_000))


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_missing_files_and_folders(tmp_path, name):
    with pytest.raises(ImageError, match="Cannot read the picture"):
        open_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_any_damage_is_an_image_error_or_a_picture(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}
    intact = encoded(Image.fromarray(noise(12, 10, 3) // 64), kind, **options)
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(intact)
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(256)
        try:
            image = open_image(bytes(damaged[: random.integers(1, 2 * len(damaged))]))
        except ImageError:
            continue
        assert image.mode in ("L", "RGB")


# accepted -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_format_in_grey_and_colour(kind):
    smooth = np.add.outer(np.arange(32), np.arange(24)).astype(np.uint8) * 4
    for pixels in (smooth, np.stack([smooth, smooth[::-1], 255 - smooth], -1)):
        options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        image = open_image(encoded(Image.fromarray(pixels), kind, **options))
        assert image.size == (24, 32)
        got = np.asarray(image.convert("RGB")).astype(int)
        expected = np.asarray(Image.fromarray(pixels).convert("RGB")).astype(int)
        # GIF has 256 colours; JPEG is lossy.
        limit = {"GIF": 40, "JPEG": 12}.get(kind, 0) if pixels.ndim == 3 or kind == "JPEG" else 0
        assert np.abs(got - expected).max() <= limit


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = np.zeros((20, 30), np.uint8)
    upright[:6, :9] = 255  # bright at the top left
    # How the camera stores an upright picture under each orientation: the inverse of what a viewer does.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: np.rot90(upright.T, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
    assert np.array_equal(np.asarray(image), upright)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(mode):
    if mode == "P":
        layer = Image.new("P", (2, 1))
        layer.putpalette([0, 0, 0, 10, 20, 30])
        layer.putpixel((1, 0), 1)
        data = encoded(layer, transparency=0)
        opaque = (10, 20, 30)
    else:
        layer = Image.new(mode, (2, 1), (0,) * len(mode))
        opaque = (10, 20, 30) if mode == "RGBA" else (10, 10, 10)
        layer.putpixel((1, 0), (*opaque[: len(mode) - 1], 255))
        data = encoded(layer)
    image = open_image(data)
    assert image.mode == "RGB"
    assert [image.getpixel((0, 0)), image.getpixel((1, 0))] == [(255, 255, 255), opaque]


def test_half_transparent_is_blended():
    assert open_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = open_image(encoded(Image.fromarray(values), kind))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image).ravel(), np.arange(256))


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_float_grey_is_scaled_and_nan_is_black(high):
    values = np.linspace(0, high, 256).astype(np.float32).reshape(16, 16)
    values[0, 0] = np.nan
    image = open_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.abs(np.asarray(image).ravel().astype(int) - np.arange(256)).max() <= 1


def test_palette_one_bit_and_cmyk():
    colours = Image.fromarray(np.array([[[200, 10, 60], [0, 90, 255]]], np.uint8))
    assert np.array_equal(np.asarray(open_image(encoded(colours.quantize(4)))), np.asarray(colours))
    bits = open_image(encoded(Image.fromarray(np.array([[True, False, True]]))))
    assert (bits.mode, np.asarray(bits).tolist()) == ("L", [[255, 0, 255]])
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    pixel = open_image(encoded(red, "JPEG", quality=95)).getpixel((8, 8))
    assert np.abs(np.array(pixel) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert open_image(data).getpixel((4, 4)) == (255, 0, 0)


def test_the_hash_is_of_the_content():
    assert content_hash(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# photos of digits -----------------------------------------------------------------------------------------------------


def centre_of_mass(pixels: np.ndarray) -> np.ndarray:
    weights = pixels.astype(float) / pixels.sum()
    return np.array([weights.sum(1) @ np.arange(28), weights.sum(0) @ np.arange(28)])


@pytest.fixture(scope="module")
def photographed(digits) -> np.ndarray:
    """The first 100 bundled digits, photographed and brought back, uint8 (100, 28, 28)."""
    originals = digits.images[:100, 0].numpy()
    return np.stack([np.asarray(mnist_digit(open_image(photo(one, seed)))) for seed, one in enumerate(originals)])


def test_a_picture_of_mnists_size_is_left_alone(digits):
    for sample in range(20):
        assert np.array_equal(np.asarray(mnist_digit(digits.picture(sample))), digits.images[sample, 0].numpy())


def test_photos_get_mnists_form(photographed, digits):
    originals = digits.images[:100, 0].numpy()
    # MNIST's own centres of mass lie within a pixel of (14, 14), counting pixels from 0.
    assert np.abs([centre_of_mass(one) - 14 for one in originals]).max() < 1
    assert np.abs([centre_of_mass(one) - 14 for one in photographed]).max() < 1.5
    assert photographed.dtype == np.uint8
    assert photographed.max((1, 2)).min() == 255
    for one in photographed:
        rows, columns = np.flatnonzero(one.max(1)), np.flatnonzero(one.max(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
    corners = photographed[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() == 0


def test_photos_look_like_the_digit_they_show(photographed, digits):
    originals = digits.images[:100, 0].numpy()
    own = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(photographed, originals, strict=True)])
    other = np.array(
        [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(photographed, originals[::-1], strict=True)]
    )
    assert np.median(own) > 0.94
    assert np.quantile(own, 0.05) > 0.65
    assert np.median(other) < 0.5


@pytest.mark.skipif(not (MODELS / "mnist" / "experiment.json").is_file(), reason="needs the trained models/mnist")
def test_the_trained_teacher_reads_photos(photographed, digits):
    experiment = load_experiment(MODELS / "mnist")
    inputs = experiment.input.normalise(torch.from_numpy(photographed).unsqueeze(1))
    with torch.inference_mode():
        right = experiment.runs["teacher"].model(inputs).argmax(1) == digits.labels[:100]
    assert right.float().mean() >= 0.95


@pytest.mark.parametrize("size", [(300, 400), (1, 500), (2000, 3), (1, 1)])
def test_a_blank_page_is_refused(size):
    for level in (0, 128, 255):
        with pytest.raises(ImageError, match="No digit stands out"):
            mnist_digit(Image.new("RGB", size, (level,) * 3))


def test_uneven_light_alone_is_no_digit():
    slope = np.add.outer(np.linspace(90, 160, 300), np.linspace(0, 80, 200))
    page = Image.fromarray((slope + np.random.default_rng(0).normal(0, 2, slope.shape)).astype(np.uint8))
    with pytest.raises(ImageError, match="No digit stands out"):
        mnist_digit(page)


def test_specks_are_dropped(digits):
    clean = Image.fromarray(digits.images[5, 0].numpy()).resize((400, 400), Image.Resampling.BICUBIC)
    dirty = clean.copy()
    dirty.paste(255, (4, 4, 16, 16))
    alike = np.corrcoef(np.asarray(mnist_digit(clean)).ravel(), np.asarray(mnist_digit(dirty)).ravel())[0, 1]
    assert alike > 0.95
