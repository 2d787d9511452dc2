"""The region of the study of regions on the picture that is shown, and what is sent of it to the viewer."""

from __future__ import annotations

from typing import Any

from kdviz.app.library import OpenExperiment
from kdviz.app.pages.compare.picture import SelectedImage
from kdviz.app.texts import say_error
from kdviz.app.widgets import viewer
from kdviz.core.errors import KdvizError
from kdviz.core.files import stamp_of
from kdviz.studies.regions import StudiedRegion, read_region


def region_of(opened: OpenExperiment, selected: SelectedImage) -> StudiedRegion | None:
    """The region of the picture; None: the study of regions has none of it, or there is no such study."""
    number = selected.sample
    if number is None or not selected.split:
        return None
    stamp = stamp_of(opened.experiment.folder, "regions.parquet", "region_samples.parquet")
    try:
        return opened.cache.get(
            ("region", selected.split, number), stamp, lambda: read_region(opened.experiment, selected.split, number)
        )
    except KdvizError as error:
        say_error(error)
        return None


def with_region(payload: dict[str, Any], region: StudiedRegion | None) -> dict[str, Any]:
    """The payload of the viewer with a region, unless it is empty or of another size than the maps."""
    if region is None or not region.inside.any() or list(region.shares.shape) != payload["size"]:
        return payload
    return {**payload, "region": viewer.region_payload(region)}
