"""Pictures of people's folders: quick ones are decoded here, and all others in a process that can be killed.

A folder may hold a hundred thousand pictures, of which each would cost half a millisecond or more to pass between
processes. So what is known to be quick, by counting in the file, is decoded in this process; whatever else a file may
ask of a decoder is not believed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from kdviz.core.decoding.apart import open_image_apart, open_mask_apart
from kdviz.core.decoding.ordinary import is_ordinary
from kdviz.core.images import open_image, open_mask, read_picture_file


def open_image_guarded(source: bytes | str | Path, name: str = "") -> Image.Image:
    """As :func:`kdviz.core.images.open_image`, apart unless the picture is an ordinary one.

    Args:
        source: The content of a file, or its path.
        name: Name of the picture in errors; default: the file's name.

    Raises:
        ImageError: The picture is refused.
        TooCostlyError: It takes too much time or memory.
    """
    content, name = read_picture_file(source, name)
    return open_image(content, name) if is_ordinary(content) else open_image_apart(content, name)


def open_mask_guarded(source: bytes | str | Path, name: str = "") -> np.ndarray:
    """As :func:`kdviz.core.images.open_mask`, bool (H, W), apart unless the picture is an ordinary one.

    Raises:
        ImageError: The picture is refused.
        TooCostlyError: It takes too much time or memory.
    """
    content, name = read_picture_file(source, name)
    return open_mask(content, name) if is_ordinary(content) else open_mask_apart(content, name)
