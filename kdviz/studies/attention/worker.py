"""One group of a study as a job, done once on any machine: its maps first, then its rows, which mark it as done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kdviz.core.files import Store, parquet_of
from kdviz.studies.attention.maps import (
    GroupMaps,
    StudyJob,
    make_maps,
    maps_name,
    peak_memory,
    read_maps,
)
from kdviz.studies.attention.statistics.pairs import agreement_rows
from kdviz.studies.attention.unfinished_scores import scores_name

_COST = b"kdviz.cost"


def rows_name(group: int) -> str:
    """Name of the file with a group's rows, which is written last."""
    return f"rows-{group:06d}.parquet"


def make_group(group: int, job: StudyJob) -> Iterator[float]:
    """Make the maps and rows of a group, or what is left of them; yields the share that is done."""
    store = Store(job.store)
    if store.has(rows_name(group)):
        return
    yield from make_group_maps(group, job)
    maps = read_maps(store, group)  # rows are the same when they are made again from the file
    assert maps is not None  # they were made just now
    write_rows(store, group, job, maps)


def make_group_maps(group: int, job: StudyJob) -> Iterator[float]:
    """Make the maps of a group and keep them, unless they are there; yields the share that is done."""
    store = Store(job.store)
    if job.threads:
        torch.set_num_threads(job.threads)
    if read_maps(store, group) is not None:
        return
    for result in make_maps(job, group):
        if isinstance(result, GroupMaps):
            store.write(maps_name(group), result.to_bytes())
            store.remove(scores_name(group))
        else:
            yield result


def write_rows(store: Store, group: int, job: StudyJob, maps: GroupMaps) -> None:
    """Compare a group's maps and keep the rows, with what the group cost."""
    images, about = job.images[job.group(group)], {"study": job.study, "split": job.split}
    table = agreement_rows(maps, job.models, images, about, int(job.settings.get("n_masks", 0)))
    cost = {"seconds": maps.seconds, "memory_mb": max(maps.memory, peak_memory())}
    table = table.replace_schema_metadata({_COST: json.dumps(cost)})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    store.write(rows_name(group), buffer.getvalue().to_pybytes())


def read_rows(store: Store, group: int) -> tuple[pa.Table, dict[str, Any]] | None:
    """A group's rows, and its cost: ``seconds`` and ``memory_mb``; None where they are missing or damaged."""
    content = store.read(rows_name(group))
    if content is None:
        return None
    try:
        table = parquet_of(content)
        return table, json.loads((table.schema.metadata or {})[_COST])
    except (pa.ArrowException, KeyError, ValueError, OSError):
        store.set_aside(rows_name(group))
        return None
