"""Pictures that nobody has checked: each is opened rightly or refused with one ImageError."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image, features

from kdviz.core.errors import ImageError
from kdviz.core.files import MODELS
from kdviz.core.images import (
    ENDINGS,
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    content_hash,
    depth_of,
    open_image,
    resize_and_crop,
    to_grey_or_rgb,
)
from kdviz.core.mnist_digit import mnist_digit
from kdviz.experiment import load_experiment


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
        for offset in random.integers(0, len(damaged), 4):
            damaged[offset] = random.integers(256)
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


def test_resizing_makes_a_new_picture_and_sees_transparency_in_any_mode():
    picture = Image.fromarray(noise(8, 8, 3))
    same = resize_and_crop(picture, 8, (8, 8), 3)
    assert np.array_equal(np.asarray(same), np.asarray(picture))
    same.putpixel((0, 0), (1, 2, 3))
    assert picture.getpixel((0, 0)) != (1, 2, 3)
    black = Image.new("RGB", (8, 8))
    black.info["transparency"] = (0, 0, 0)  # as Pillow notes tRNS of a PNG
    assert np.asarray(resize_and_crop(black, 8, (8, 8), 3)).min() == 255


def test_half_transparent_is_blended():
    assert open_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = open_image(encoded(Image.fromarray(values), kind))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image).ravel(), np.arange(256))


def test_float_grey_is_zero_to_one_and_nan_is_black():
    values = np.linspace(0, 1, 256).astype(np.float32).reshape(16, 16)
    values[0, 0] = np.nan
    image = open_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.abs(np.asarray(image).ravel().astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "float"])
@pytest.mark.parametrize("brightest", [0.05, 0.5])
def test_a_dark_picture_is_not_scaled_by_its_brightest_pixel(kind, brightest):
    dtype = np.float32 if kind == "float" else np.uint16
    values = (np.linspace(0, brightest * (1 if kind == "float" else 65535), 64)).astype(dtype).reshape(8, 8)
    image = open_image(encoded(Image.fromarray(values), "TIFF" if kind == "float" else kind))
    assert np.asarray(image).max() == pytest.approx(brightest * 255, abs=1)
    depth, peak = depth_of(image)
    assert depth == ("float" if kind == "float" else "16")
    assert peak == pytest.approx(brightest, abs=1e-4)


def test_eight_bits_have_no_depth_to_speak_of():
    assert depth_of(open_image(encoded(Image.new("RGB", (4, 4), "white")))) == ("", 0.0)


def tiff(values: np.ndarray, bits: int, photometric: int = 1) -> bytes:
    """Grey, not compressed, written by hand from TIFF 6.0: Pillow writes no 12 bits."""
    height, width = values.shape
    if bits == 12:
        digits = "".join(f"{value:012b}" for value in values.ravel())
        data = int(digits, 2).to_bytes(len(digits) // 8, "big")
    else:
        data = values.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_twelve_bits_are_divided_by_their_own_white():
    data = tiff(np.array([[0, 2048], [1000, 4095]]), 12)
    for image in (open_image(data), to_grey_or_rgb(Image.open(io.BytesIO(data)))):
        assert np.asarray(image).tolist() == [[0, 128], [62, 255]]  # value / 4,095 x 255
        assert depth_of(image) == ("12", 1.0)


def test_sixteen_bits_whose_zero_is_white():
    image = open_image(tiff(np.array([[0, 65535], [13107, 0]]), 16, photometric=0))
    assert np.asarray(image).tolist() == [[255, 0], [204, 255]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.linspace(0, 255, 16, dtype=np.float32), "floating-point numbers from 0 to 255"),
        (np.linspace(-1, 1, 16, dtype=np.float32), "floating-point numbers from -1 to 1"),
        (np.array([0.5, np.inf] * 8, dtype=np.float32), "floating-point numbers from 0.5 to"),
        (np.arange(16, dtype=np.int32), "whole numbers with a sign or of 32 bits"),
        (np.arange(16, dtype=np.int32) * 5000, "whole numbers with a sign or of 32 bits"),
    ],
)
def test_values_whose_white_would_be_a_guess_are_refused(values, reason):
    with pytest.raises(ImageError, match=rf"^scan.tif holds {reason}.*nothing says which of them is white") as caught:
        open_image(encoded(Image.fromarray(values.reshape(4, 4)), "TIFF"), "scan.tif")
    assert "\n" not in str(caught.value)


def test_a_turned_picture_keeps_its_depth():
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.full((4, 6), 13107, np.uint16)
    image = open_image(encoded(Image.fromarray(values), exif=exif))
    assert (image.size, image.getpixel((0, 0)), depth_of(image)[0]) == ((4, 6), 51, "16")


def test_avif_is_read_where_pillow_can():
    assert (".avif" in ENDINGS) == ("AVIF" in FORMATS) == features.check("avif")
    if not features.check("avif"):
        pytest.skip("this Pillow cannot read AVIF")
    image = open_image(encoded(Image.new("RGB", (16, 16), (200, 40, 60)), "AVIF", quality=95))
    assert np.abs(np.array(image.getpixel((8, 8))) - (200, 40, 60)).max() < 12


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
    return np.stack([np.asarray(mnist_digit(open_image(photo(digit, seed)))) for seed, digit in enumerate(originals)])


def test_a_picture_of_mnists_size_is_left_alone(digits):
    for sample in range(20):
        assert np.array_equal(np.asarray(mnist_digit(digits.picture(sample))), digits.images[sample, 0].numpy())


def test_photos_get_mnists_form(photographed, digits):
    originals = digits.images[:100, 0].numpy()
    # MNIST's own centres of mass lie within a pixel of (14, 14), counting pixels from 0.
    assert np.abs([centre_of_mass(image) - 14 for image in originals]).max() < 1
    assert np.abs([centre_of_mass(image) - 14 for image in photographed]).max() < 1.5
    assert photographed.dtype == np.uint8
    assert photographed.max((1, 2)).min() == 255
    for image in photographed:
        rows, columns = np.flatnonzero(image.max(1)), np.flatnonzero(image.max(0))
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
