"""The declaration of any folder of parquet files with pictures as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.data.registry import TRANSFER, DataSet, datasets

if TYPE_CHECKING:
    from kdviz.data.samples import LabelledImages


def read(data: str | Path, size: tuple[int, int], channels: int, **options: Any) -> dict[str, LabelledImages]:
    """See :func:`kdviz.data.parquet_folder`."""
    from kdviz.data import parquet_folder

    return parquet_folder(data, size, channels=channels, **options)


def of_data(data: str | Path, size: tuple[int, int] | None = None, **options: Any) -> DataSet:
    """The declaration for the pictures in a folder."""
    from kdviz.data.readers.parquet import open_parquet
    from kdviz.data.readers.usual_training import declaration_for

    return declaration_for(datasets["parquet"], open_parquet(data, **options), size)


datasets.add(
    "parquet",
    DataSet(
        title="Images",
        description="A folder of parquet files as Hugging Face's datasets writes them: a picture and its label a row.",
        read=read,
        recipe=TRANSFER,
        options=("image_column", "label_column"),
        of_data=of_data,
    ),
)
