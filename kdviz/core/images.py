"""Reading of untrusted pictures, and resizing them for models.

All files of users are opened by :func:`open_image`: limits are checked before a pixel is decoded, and every failure is
an :class:`~kdviz.core.errors.ImageError`.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from kdviz.core.decoding.work import require_few_parts, require_little_work
from kdviz.core.errors import ImageError
from kdviz.core.resizing import covering_box, crop_offset, resized_size

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 40_000_000

_AVIF = bool(features.check("avif"))  # only some builds of Pillow read it

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", *(("AVIF",) if _AVIF else ()))

ENDINGS = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", *([".avif"] if _AVIF else [])]
)
"""Endings of the names of picture files, in lower case."""

FLOAT = "float"
"""The depth of a picture with floating-point values, see :func:`depth_of`."""

_DEPTH, _PEAK, _INVERTED = "kdviz-depth", "kdviz-peak", "kdviz-inverted"  # keys of a decoded picture's ``info``
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF 6.0, section 8
_ORIENTATION, _ON_ITS_SIDE = 274, (5, 6, 7, 8)  # EXIF 2.3, section 4.6.4
_OVERSHOOT = 1e-3  # by which rounded floating-point values may exceed [0, 1]
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_AT_ONCE = 500_000  # pixels that are converted in double precision at a time
_MARGIN = 8  # pixels beyond the centre of a strip that influence its resizing


def content_hash(data: bytes) -> str:
    """SHA-256 of the bytes, as hex: the key under which results for an image are cached."""
    return hashlib.sha256(data).hexdigest()


def open_image(source: bytes | str | Path, name: str = "") -> Image.Image:
    """Decode one picture and return it upright, in mode ``L`` or ``RGB``.

    EXIF orientation is applied, transparency is replaced by white, and only the first frame of an animation is used.
    Grey values of more than 8 bits are divided by the white that the file declares (65,535 for 16 bits, 4,095 for 12),
    never by its brightest pixel, so that pictures of one data set stay comparable; floating-point values go from 0
    (black) to 1 (white).

    Args:
        source: The content of a file, or its path.
        name: Name of the picture in errors; default: the file's name.

    Raises:
        ImageError: The file is missing, empty, not a picture, damaged or too large, or does not say which value is
            white.
    """
    data, name = read_picture_file(source, name)
    with warnings.catch_warnings():
        # Pillow warns about odd metadata, and about sizes that our own, stricter limit already refuses.
        warnings.simplefilter("ignore")
        image = _identify(data, name)
        _require_pixels(image, name)
        require_little_work(data, image.size, name)
        return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        return to_grey_or_rgb(ImageOps.exif_transpose(_with_declared_depth(image)), name)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders also raise struct.error, TypeError and others on damaged files
        raise _damaged(name) from error


def _require_pixels(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            "{name} has {width} x {height} pixels, more than the {max_pixels} megapixels that kdviz "
            "opens; please shrink it first.",
            name=name,
            width=width,
            height=height,
            max_pixels=MAX_PIXELS // 1000000,
        )


def _damaged(name: str) -> ImageError:
    return ImageError(
        "{name} is damaged or cut off and cannot be decoded; please save it again as PNG or JPEG.", name=name
    )


def picture_size(source: bytes | str | Path, name: str = "") -> tuple[int, int]:
    """Height and width of a picture as :func:`open_image` returns it, read without decoding its pixels.

    Raises:
        ImageError: The file is missing, empty, not a picture, cut off or too large.
    """
    data, name = read_picture_file(source, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _identify(data, name)
        try:
            turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
        except Exception as error:  # as in _decode: a PNG's EXIF data may follow its pixels
            raise _damaged(name) from error
    width, height = image.size
    return (width, height) if turned else (height, width)


def open_mask(source: bytes | str | Path, name: str = "") -> np.ndarray:
    """Decode a picture of a region: bool (H, W), True where a pixel is neither black nor transparent.

    In a picture that is black throughout, what is not transparent is inside.

    Args:
        source: The content of a file, or its path.
        name: Name of the picture in errors; default: the file's name.

    Raises:
        ImageError: The file is missing, empty, not a picture, damaged or too large.
    """
    data, name = read_picture_file(source, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _identify(data, name)
        _require_pixels(image, name)
        require_little_work(data, image.size, name)
        pixels = _mask_pixels(image, name)
    colour, opaque = pixels[..., :-1].any(-1), pixels[..., -1]
    return colour & opaque if colour.any() or opaque.all() else opaque


def _mask_pixels(image: Image.Image, name: str) -> np.ndarray:
    """Colours and opacity, bool (H, W, 2 or 4)."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(("1", "L", "I", "F")) and not upright.has_transparency_data:
            grey = np.asarray(upright) != 0
            return np.stack([grey, np.ones_like(grey)], -1)
        return np.asarray(upright.convert("RGBA")) != 0
    except Exception as error:  # as in _decode
        raise _damaged(name) from error


def read_picture_file(source: bytes | str | Path, name: str = "") -> tuple[bytes, str]:
    """The content of a picture's file, and the picture's name in errors.

    Raises:
        ImageError: The file cannot be read, is empty or is too large.
    """
    if isinstance(source, bytes):
        data, name = source, name or "The picture"
    else:
        path = Path(source)
        name = name or path.name
        try:
            if path.stat().st_size > MAX_BYTES:
                raise _too_large(name)
            data = path.read_bytes()
        except OSError as error:
            raise ImageError(
                "Cannot read the picture '{path}': {strerror}.", path=path, strerror=error.strerror or error
            ) from error
    if not data:
        raise ImageError("{name} is empty (0 bytes); please choose a picture file.", name=name)
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return data, name


def _too_large(name: str) -> ImageError:
    return ImageError(
        "{name} is larger than {max_bytes} MB; please shrink it first.", name=name, max_bytes=MAX_BYTES // 2**20
    )


def _identify(data: bytes, name: str) -> Image.Image:
    require_few_parts(data, name)
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            "{name} has more than the {max_pixels} megapixels that kdviz opens; please shrink it first.",
            name=name,
            max_pixels=MAX_PIXELS // 1000000,
        ) from error
    except Exception as error:
        raise ImageError(
            "{name} is not a picture that kdviz can read; please use PNG, JPEG, WebP, BMP, GIF or TIFF.", name=name
        ) from error


def depth_of(picture: Image.Image) -> tuple[str, float]:
    """The bits of the grey values in a picture's file, and its brightest pixel, as :func:`open_image` noted them.

    Returns:
        ``"16"``, ``"12"`` or :data:`FLOAT`, and the largest value in [0, 1]; ``""`` and 0 for 8 bits.
    """
    return picture.info.get(_DEPTH, ""), picture.info.get(_PEAK, 0.0)


def to_grey_or_rgb(image: Image.Image, name: str = "The picture") -> Image.Image:
    """Convert a picture to mode ``L`` or ``RGB``: transparency becomes white, and deep grey values are scaled.

    Raises:
        ImageError: The file does not say which of its values is white.
    """
    if image.mode.startswith(("I;16", "I", "F")):
        return _deep_grey(image, name)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")


def fit_to(image: Image.Image, size: tuple[int, int], channels: int) -> Image.Image:
    """Resize and crop a picture to a model's input; one of the right size is only converted to grey or RGB.

    Args:
        image: A picture in any mode.
        size: Height and width; the picture is resized to cover them, and its centre is kept.
        channels: 1 (grey) or 3 (RGB).
    """
    image = to_grey_or_rgb(image).convert("L" if channels == 1 else "RGB")
    height, width = size
    if image.size == (width, height):
        return image
    # The crop comes first: a long strip, enlarged as a whole, would not fit into memory.
    return image.resize((width, height), Image.Resampling.BICUBIC, covering_box((image.height, image.width), size))


def resize_and_crop(
    image: Image.Image,
    resize: int | tuple[int, int],
    size: tuple[int, int],
    channels: int,
    interpolation: str = "bicubic",
) -> Image.Image:
    """Resize a picture as torchvision's ``Resize`` does, and crop its centre as ``CenterCrop`` does.

    Args:
        image: A picture in any mode.
        resize: The short side in pixels, or (height, width).
        size: Height and width of the crop; what is beyond the picture is black.
        channels: 1 (grey) or 3 (RGB).
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
    """
    wanted = "L" if channels == 1 else "RGB"
    if image.mode != wanted or image.has_transparency_data:  # else two copies of the whole picture
        image = to_grey_or_rgb(image).convert(wanted)
    height, width = resized_size((image.height, image.width), resize)
    # A long strip, enlarged as a whole, would fill the memory.
    if height * width > MAX_PIXELS and isinstance(resize, int):
        image = _trim_strip(image, max(size) / resize)
        height, width = resized_size((image.height, image.width), resize)
    if image.size != (width, height):
        image = image.resize((width, height), _RESAMPLING[interpolation])
    top, left = crop_offset(height, size[0]), crop_offset(width, size[1])
    return image.crop((left, top, left + size[1], top + size[0]))


def _trim_strip(image: Image.Image, length: float) -> Image.Image:
    """The centre of a long strip: ``length`` times its width, and a margin."""
    length_kept = math.ceil(min(image.size) * length) + 2 * _MARGIN
    left, top = (max(0, (side - length_kept) // 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _with_declared_depth(image: Image.Image) -> Image.Image:
    """The picture with its file's declaration of grey values in ``info``, which Pillow's operations would lose."""
    tags = getattr(image, "tag_v2", {})  # in TIFF only; PNG values fill 16 bits whatever sBIT says (PNG, 11.3.3.4)
    if image.mode.startswith(("I;16", "F")):
        bits = tags.get(_BITS_PER_SAMPLE, 16)
        image.info[_DEPTH] = FLOAT if image.mode == "F" else str(bits[0] if isinstance(bits, tuple) else bits)
        image.info[_INVERTED] = tags.get(_PHOTOMETRIC) == 0
    return image


def _deep_grey(image: Image.Image, name: str) -> Image.Image:
    info = image.info if _DEPTH in image.info else _with_declared_depth(image).info
    stored, is_whole = np.asarray(image), image.mode.startswith("I;16")
    if not is_whole:
        _require_unit_range(stored, image.mode, name)
    # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
    white, inverted = 2 ** int(info[_DEPTH]) - 1 if is_whole else 1, bool(info.get(_INVERTED))
    pixels, peak = np.empty(stored.shape, np.uint8), 0.0
    for rows in _blocks_of_rows(stored):
        values = np.nan_to_num(stored[rows].astype(np.float64)) / white
        values = np.clip(1 - values if inverted else values, 0, 1)
        pixels[rows], peak = (values * 255).round(), max(peak, float(values.max()))
    grey = Image.fromarray(pixels)
    grey.info.update({_DEPTH: info[_DEPTH], _PEAK: peak})
    return grey


def _blocks_of_rows(stored: np.ndarray) -> Iterator[slice]:
    """The rows of an array, some at a time: in double precision a large picture takes half a gigabyte."""
    count = max(1, _AT_ONCE // max(1, stored.shape[1]))
    return (slice(first, first + count) for first in range(0, len(stored), count))


def _require_unit_range(values: np.ndarray, mode: str, name: str) -> None:
    """Refuse values whose white would have to be guessed, so that each file would be scaled differently.

    Raises:
        ImageError: The values are integers, or floating-point numbers outside [0, 1].
    """
    if mode != "F":
        raise ImageError(
            "{name} holds whole numbers with a sign or of 32 bits, and nothing says which of them is "
            "white; please save it with 8 or 16 bits without a sign, or as floating-point numbers from "
            "0 (black) to 1 (white).",
            name=name,
        )
    low, high = math.inf, -math.inf
    for rows in _blocks_of_rows(values):
        block = np.nan_to_num(values[rows].astype(np.float64))
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ImageError(
            "{name} holds floating-point numbers from {low:g} to {high:g}, and nothing says which of "
            "them is white; please save it with numbers from 0 (black) to 1 (white), or with 8 or 16 "
            "bits.",
            name=name,
            low=low,
            high=high,
        )
