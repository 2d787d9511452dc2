"""A table of a study is read whole, or said to be damaged."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from kdviz.core.errors import ExperimentError
from kdviz.studies.attention import pictures
from kdviz.studies.regions import report


def experiment(table: pa.Table | None):
    return SimpleNamespace(folder="mine", has_table=lambda name: table is not None, table=lambda name: table)


READERS = [
    (report.read_regions_report, report.SCHEMA, "regions.parquet"),
    (pictures.read_pictures, pictures.SCHEMA, "attention_samples.parquet"),
]


@pytest.mark.parametrize(("read", "schema", "file"), READERS)
def test_a_table_without_rows_or_a_column_is_damaged(read, schema, file):
    assert read(experiment(None)) is None
    for table in (schema.empty_table(), pa.table({schema.names[0]: ["one"]})):
        with pytest.raises(ExperimentError, match=f"{file} of 'mine' is damaged; make it anew with: kdviz study"):
            read(experiment(table))
