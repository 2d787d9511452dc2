"""The scores of a group of images that is not finished, kept so that a study continues within the group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor

from kdviz.core.files import Store

_COST = "kdviz.seconds"  # beside the models' keys


def scores_name(group: int) -> str:
    """Name of the file with the scores of a group that is not finished."""
    return f"scores-{group:06d}.safetensors"


def write_scores(store: Store, group: int, scores: Mapping[str, Tensor], seconds: float) -> None:
    """Keep the scores of the first masks.

    Args:
        store: Store of the study's maps.
        group: Number of the group.
        scores: Key of a model -> scores (images, masks so far).
        seconds: What they took.
    """
    arrays = {key: np.ascontiguousarray(values.cpu().numpy()) for key, values in scores.items()}
    store.write(scores_name(group), save_arrays({**arrays, _COST: np.array([seconds])}))


def read_scores(
    store: Store, group: int, keys: Sequence[str], shape: tuple[int, int]
) -> tuple[dict[str, Tensor], float]:
    """The scores that are kept of a group, and the seconds that they took; none and 0 where they do not fit.

    Args:
        store, group: As in :func:`write_scores`.
        keys: Keys of the study's models.
        shape: Images of the group, and masks of the finished group.
    """
    content = store.read(scores_name(group))
    try:
        arrays = load_arrays(content or b"")
        seconds = float(arrays.pop(_COST)[0])
        ((images, masks),) = {array.shape for array in arrays.values()}
        if set(arrays) != set(keys) or images != shape[0] or masks >= shape[1]:
            return {}, 0.0
    except Exception:  # safetensors has its own errors for a damaged file
        return {}, 0.0
    return {key: torch.from_numpy(arrays[key].copy()) for key in keys}, seconds
