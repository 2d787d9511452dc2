"""A saliency map with its standard error, the difference of two maps, and files of several."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kdviz.core.errors import SettingError
from kdviz.core.moved import warn_renamed
from kdviz.explanation.scores import MapDoubt, is_flat
from kdviz.rise.estimators import jackknife_error, reliability


@dataclass(frozen=True)
class SaliencyMap:
    """One model's map of one picture. It converts to an array: ``np.asarray(saliency_map)``.

    Attributes:
        role: Role of the model.
        target: Index of the class explained.
        values: float32 (H, W): change of the class's probability when the pixel is kept (centred RISE).
        standard_error: float32 (H, W): standard error of ``values``.
        halves: float32 (2, H, W): two independent estimates, from half of the masks each.
        jackknife_maps: float32 (units, H, W): the map without each unit of masks in turn; see
            :class:`kdviz.saliency.Estimate`. None for a method without masks.
        jackknife_halves: float32 (units, H, W): for each unit, the half that it belongs to, without it. None for a
            method without masks.
        doubts: Why it may be uninformative or misleading.
        probabilities: float32 (classes,), for the unmasked picture.
        picture: uint8 (H, W) or (H, W, 3): the picture as the model saw it.
        classes: Class names.
        n_masks: Masks used.
        method: Name of the method.
        settings: All of its settings.
    """

    role: str
    target: int
    values: np.ndarray
    standard_error: np.ndarray
    halves: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    picture: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    n_masks: int
    method: str
    settings: Mapping[str, Any] = field(repr=False)
    jackknife_maps: np.ndarray | None = field(default=None, repr=False)
    jackknife_halves: np.ndarray | None = field(default=None, repr=False)
    doubts: tuple[MapDoubt, ...] = field(default=(), repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def reliability(self) -> float:
        """Predicted correlation with the map of infinitely many masks, 0 to 1."""
        return float(reliability(torch.from_numpy(np.asarray(self.halves))))

    @property
    def is_flat(self) -> bool:
        """Whether it has a single value, so that its reliability and its similarity to other maps are undefined."""
        return is_flat(self.values)

    @property
    def predicted(self) -> int:
        """Index of the class with the highest probability."""
        return int(self.probabilities.argmax())

    @property
    def left_out(self) -> np.ndarray | None:
        """Former name of ``jackknife_maps``."""
        warn_renamed("SaliencyMap.left_out", "jackknife_maps")
        return self.jackknife_maps

    @property
    def halves_without(self) -> np.ndarray | None:
        """Former name of ``jackknife_halves``."""
        warn_renamed("SaliencyMap.halves_without", "jackknife_halves")
        return self.jackknife_halves


@dataclass(frozen=True)
class MapDifference:
    """The difference of two models' maps of one picture, made with the same masks.

    Attributes:
        values: float32 (H, W).
        standard_error: float32 (H, W), of ``values``; it accounts for the noise that the maps share by their masks.
        reliability: Predicted correlation with the difference of infinitely many masks, 0 to 1.
    """

    values: np.ndarray
    standard_error: np.ndarray
    reliability: float


def difference(first: SaliencyMap, second: SaliencyMap) -> MapDifference:
    """``first`` minus ``second``, two maps from one call of :func:`kdviz.explain`.

    Raises:
        SettingError: The maps are of different pictures, or were not made in the same way with the same masks.
    """
    same_settings = _shared_settings(first) == _shared_settings(second) and first.shape == second.shape
    if not same_settings or not np.array_equal(first.picture, second.picture):
        raise SettingError("Only maps of one picture with the same settings can be subtracted; explain them together.")
    if first.jackknife_maps is None or second.jackknife_maps is None:
        error = np.hypot(first.standard_error, second.standard_error)
    else:
        error = jackknife_error(torch.from_numpy(first.jackknife_maps - second.jackknife_maps)).numpy()
    halves = torch.from_numpy(first.halves - second.halves)
    return MapDifference(first.values - second.values, error, float(reliability(halves)))


def _shared_settings(saliency_map: SaliencyMap) -> dict[str, Any]:
    """The settings in which two maps must agree to be subtracted."""
    return {**saliency_map.settings, "precision": None, "n_masks": saliency_map.n_masks, "method": saliency_map.method}


def maps_npz(maps: Mapping[str, SaliencyMap]) -> bytes:
    """An .npz with float32 (H, W) named by role, and ``<role>_se`` for its standard error."""
    arrays = {role: saliency_map.values for role, saliency_map in maps.items()}
    arrays |= {f"{role}_se": saliency_map.standard_error for role, saliency_map in maps.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:  # np.savez takes no array named "file"
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(array, dtype=np.float32), allow_pickle=False)
    return buffer.getvalue()
