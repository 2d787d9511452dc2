"""A few pictures of a study of shortcuts with their maps, kept in the experiment: its page needs no data set."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.metrics.localisation import energy_inside
from kdviz.studies.shortcuts.table import Condition, conditions_of, read_conditions, without

if TYPE_CHECKING:
    from kdviz.studies.shortcuts.study import ShortcutsStudy

NAME = "shortcut_samples"
"""Name of the table."""

SCHEMA = pa.schema(
    [
        ("shortcut", pa.string()),
        ("shown_to", pa.string()),
        ("loss", pa.string()),
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("cue", pa.int16()),
        ("planted", pa.bool_()),
        ("role", pa.string()),
        ("method", pa.string()),
        ("predicted", pa.int16()),
        ("probability", pa.float32()),
        ("energy", pa.float32()),
        ("height", pa.int16()),
        ("width", pa.int16()),
        ("map", pa.binary()),
        ("picture", pa.binary()),
    ]
)
"""One row for a view of a picture, model and method; ``map`` is float16 (H, W), ``picture`` a PNG file."""

_PICTURES = 3
_VIEWS = 4  # of a picture, of which the last two have the mark of another class


@dataclass(frozen=True, eq=False)
class ShownView:
    """A picture with or without a mark, and the map of one model.

    Attributes:
        sample, label, cue: Its number in the split, its class, and the class that the mark says and the map explains.
        planted: Whether the mark is in the picture.
        role, method: Of the map.
        predicted, probability: The model's answer, and the probability of ``cue``.
        energy: Share of the positive saliency inside the mark's region; NaN: the map has none.
        values: float32 (H, W), the map.
        file: The picture as PNG.
    """

    sample: int
    label: int
    cue: int
    planted: bool
    role: str
    method: str
    predicted: int
    probability: float
    energy: float
    values: np.ndarray
    file: bytes

    @property
    def picture(self) -> Image.Image:
        """The picture."""
        with Image.open(io.BytesIO(self.file)) as image:
            image.load()
            return image


@dataclass(frozen=True)
class ShownPictures:
    """The rows of one condition."""

    condition: Condition
    rows: pa.Table

    def write(self, experiment: Experiment) -> None:
        """Write them in the place of the condition's earlier ones; nothing where pictures may not be passed on."""
        if experiment.picture_source is not None:
            return
        earlier = _read(experiment)
        tables = [self.rows]
        if earlier is not None:
            tables.insert(0, without(earlier.cast(SCHEMA), self.condition))
        experiment.write_table(NAME, pa.concat_tables(tables).combine_chunks())


def shown_pictures(
    study: ShortcutsStudy,
    maps: Mapping[str, np.ndarray],
    answers: Mapping[str, tuple[np.ndarray, np.ndarray]],
    count: int = _PICTURES,
) -> ShownPictures:
    """The first pictures of a study, which are random ones, with the mark of another class and without.

    Args:
        study: The study.
        maps: Method -> float32 (models, views, H, W).
        answers: Role -> predicted class and probability of the mark's class, of each view.
        count: Number of pictures.
    """
    views = [_VIEWS * picture + view for picture in range(min(count, len(study.samples))) for view in (2, 3)]
    rows = []
    for method, job in study.jobs.items():
        for index, model in enumerate(job.models):
            energies = energy_inside(maps[method][index][views], study.regions[views])
            for view, energy in zip(views, energies.tolist(), strict=True):
                values = maps[method][index][view]
                rows.append(
                    {
                        **asdict(study.condition),
                        "sample": int(study.numbers[view // _VIEWS]),
                        "label": int(study.views.labels[view]),
                        "cue": int(study.cues[view]),
                        "planted": bool(study.planted[view]),
                        "role": model.key,
                        "method": method,
                        "predicted": int(answers[model.key][0][view]),
                        "probability": float(answers[model.key][1][view]),
                        "energy": energy,
                        "height": values.shape[0],
                        "width": values.shape[1],
                        "map": values.astype("<f2").tobytes(),
                        "picture": _png(study.views.picture(view)),
                    }
                )
    return ShownPictures(study.condition, pa.Table.from_pylist(rows, SCHEMA))


def read_shown(experiment: Experiment, condition: Condition) -> Sequence[ShownView]:
    """The kept views of a condition; empty where there are none.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = _read(experiment)
    if table is None:
        return []
    chosen = pa.array([other == condition for other in conditions_of(table)], pa.bool_())
    return [_view(row) for row in table.filter(chosen).to_pylist()]


def _view(row: Mapping[str, Any]) -> ShownView:
    values = np.frombuffer(row["map"], "<f2").reshape(row["height"], row["width"]).astype(np.float32)
    names = ("sample", "label", "cue", "planted", "role", "method", "predicted", "probability", "energy")
    return ShownView(**{name: row[name] for name in names}, values=values, file=row["picture"])


def _read(experiment: Experiment) -> pa.Table | None:
    damaged = ExperimentError(
        "shortcut_samples.parquet of '{folder}' is damaged; make it anew with: kdviz study --study shortcuts",
        folder=experiment.folder,
    )
    return read_conditions(experiment, NAME, SCHEMA, damaged)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
