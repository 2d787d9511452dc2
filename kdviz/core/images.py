"""Reading pictures that nobody has checked, and bringing a photographed digit to MNIST's form.

Everything that opens a file from a user goes through :func:`open_image`: limits are checked before
a pixel is decoded, and every failure is one :class:`~kdviz.core.errors.ImageError`.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from kdviz.core.errors import ImageError

MAX_BYTES = 20 * 1024 * 1024


MAX_PIXELS = 40_000_000


_AVIF = bool(features.check("avif"))  # only some builds of Pillow read it


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", *(("AVIF",) if _AVIF else ()))


ENDINGS = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", *([".avif"] if _AVIF else [])]
)
"""Of the names of files that are taken for pictures, in small letters."""


FLOAT = "float"


_DEPTH, _PEAK, _INVERTED = "kdviz-depth", "kdviz-peak", "kdviz-inverted"  # what a decoded picture says of its file


_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF 6.0, section 8


_OVERSHOOT = 1e-3  # of floating-point values beyond 0 and 1, by rounding


_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_MARGIN = 8  # pixels beyond the middle of a strip, which its resizing takes into account


def content_hash(data: bytes) -> str:
    """SHA-256 of the bytes, as hex: the key under which results of an image are kept."""
    return hashlib.sha256(data).hexdigest()


def open_image(source: bytes | str | Path, name: str = "") -> Image.Image:
    """Decode one picture and return it upright, in mode ``L`` or ``RGB``.

    EXIF orientation is applied, transparency is put on white, and of an animation the first frame is taken. Grey values
    of more than 8 bits are divided by the white that the file declares (65,535 of 16 bits, 4,095 of 12), never by its
    brightest pixel, so that pictures of one data set stay comparable; floating-point values are 0 (black) to 1 (white).

    Args:
        source: The bytes of a file, or its path.
        name: What to call the picture in an error. Default: the file's name.

    Raises:
        ImageError: The file is missing, empty, not a picture, damaged or too large, or does not say which value is
            white.
    """
    data, name = _read(source, name)
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, and of sizes that our own limit, which is stricter, already refuses.
        warnings.simplefilter("ignore")
        return _decode(_identify(data, name), name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels "
            "that kdviz opens; please shrink it first."
        )
    try:
        image.load()
        return to_grey_or_rgb(ImageOps.exif_transpose(_declared(image)), name)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders also raise struct.error, TypeError and others on damaged files
        raise ImageError(
            f"{name} is damaged or cut off and cannot be decoded; please save it again as PNG or JPEG."
        ) from error


def _read(source: bytes | str | Path, name: str) -> tuple[bytes, str]:
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
            raise ImageError(f"Cannot read the picture '{path}': {error.strerror or error}.") from error
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); please choose a picture file.")
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return data, name


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name} is larger than {MAX_BYTES // 2**20} MB; please shrink it first.")


def _identify(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has more than the {MAX_PIXELS // 1_000_000} megapixels that kdviz opens; please shrink it first."
        ) from error
    except Exception as error:
        raise ImageError(
            f"{name} is not a picture that kdviz can read; please use PNG, JPEG, WebP, BMP, GIF or TIFF."
        ) from error


def depth_of(picture: Image.Image) -> tuple[str, float]:
    """Of a picture that :func:`open_image` gave: the bits of its file's grey values, and its brightest pixel.

    Returns:
        ``"16"``, ``"12"`` or :data:`FLOAT`, and the largest value in [0, 1]; ``""`` where 8 bits were enough.
    """
    return picture.info.get(_DEPTH, ""), picture.info.get(_PEAK, 0.0)


def to_grey_or_rgb(image: Image.Image, name: str = "The picture") -> Image.Image:
    """A picture in mode ``L`` or ``RGB``: transparency on white, grey values of more than 8 bits scaled.

    Raises:
        ImageError: Nothing says which of its values is white.
    """
    if image.mode.startswith(("I;16", "I", "F")):
        return _deep_grey(image, name)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")


def fit_to(image: Image.Image, size: tuple[int, int], channels: int) -> Image.Image:
    """What a model of such an input sees of a picture; one of the right size is only converted to grey or RGB.

    Args:
        image: In any mode.
        size: Height and width: the short side is resized and the middle kept.
        channels: 1 (grey) or 3 (RGB).
    """
    image = to_grey_or_rgb(image).convert("L" if channels == 1 else "RGB")
    return image if image.size == size[::-1] else _crop(image, size)


def resized_middle(
    image: Image.Image,
    resize: int | tuple[int, int],
    size: tuple[int, int],
    channels: int,
    interpolation: str = "bicubic",
) -> Image.Image:
    """A picture resized as torchvision's ``Resize`` does it, and the middle of it as its ``CenterCrop``.

    Args:
        image: In any mode.
        resize: The short side in pixels, or (height, width).
        size: Height and width of the middle; what is beyond the picture is black.
        channels: 1 (grey) or 3 (RGB).
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
    """
    image = to_grey_or_rgb(image).convert("L" if channels == 1 else "RGB")
    height, width = _resized_size(image, resize)
    if height * width > MAX_PIXELS and isinstance(resize, int):  # a long strip, enlarged whole, fills the memory
        image = _without_ends(image, max(size) / resize)
        height, width = _resized_size(image, resize)
    if image.size != (width, height):
        image = image.resize((width, height), _RESAMPLING[interpolation])
    top, left = _start_of_middle(height, size[0]), _start_of_middle(width, size[1])
    return image.crop((left, top, left + size[1], top + size[0]))


def _without_ends(image: Image.Image, length: float) -> Image.Image:
    """The middle of a long strip, ``length`` and a little more times as long as it is wide."""
    kept = math.ceil(min(image.size) * length) + 2 * _MARGIN
    left, top = (max(0, (side - kept) // 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _start_of_middle(side: int, wanted: int) -> int:
    """Below 0 where black has to be put around: torchvision then rounds otherwise."""
    return round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2)


def _resized_size(image: Image.Image, resize: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width; the long side is rounded down, as torchvision does it."""
    if not isinstance(resize, int):
        return resize
    if image.width <= image.height:
        return int(resize * image.height / image.width), resize
    return resize, int(resize * image.width / image.height)


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    scale = max(height / image.height, width / image.width)
    seen_width, seen_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - seen_width) / 2, (image.height - seen_height) / 2
    # The crop comes first: a long strip, enlarged whole, would not fit into memory.
    return image.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + seen_width, top + seen_height))


def _declared(image: Image.Image) -> Image.Image:
    """The same with what its file declares of its grey values, which Pillow's own operations lose."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF; a PNG's values fill 16 bits whatever its sBIT says (PNG, 11.3.3.4)
    if image.mode.startswith(("I;16", "F")):
        bits = tags.get(_BITS_PER_SAMPLE, 16)
        image.info[_DEPTH] = FLOAT if image.mode == "F" else str(bits[0] if isinstance(bits, tuple) else bits)
        image.info[_INVERTED] = tags.get(_PHOTOMETRIC) == 0
    return image


def _deep_grey(image: Image.Image, name: str) -> Image.Image:
    info = image.info if _DEPTH in image.info else _declared(image).info
    # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode.startswith("I;16"):
        values /= 2 ** int(info[_DEPTH]) - 1
    else:
        _require_unit(values, image.mode, name)
    values = np.clip(1 - values if info.get(_INVERTED) else values, 0, 1)
    grey = Image.fromarray((values * 255).round().astype(np.uint8))
    grey.info.update({_DEPTH: info[_DEPTH], _PEAK: float(values.max())})
    return grey


def _require_unit(values: np.ndarray, mode: str, name: str) -> None:
    """Refuse values whose white would have to be guessed: each file would be scaled by itself.

    Raises:
        ImageError: They are whole numbers, or floating-point ones beyond 0 to 1.
    """
    if mode != "F":
        raise ImageError(
            f"{name} holds whole numbers with a sign or of 32 bits, and nothing says which of them is white; please "
            "save it with 8 or 16 bits without a sign, or as floating-point numbers from 0 (black) to 1 (white)."
        )
    low, high = float(values.min()), float(values.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ImageError(
            f"{name} holds floating-point numbers from {low:g} to {high:g}, and nothing says which of them is white; "
            "please save it with numbers from 0 (black) to 1 (white), or with 8 or 16 bits."
        )
