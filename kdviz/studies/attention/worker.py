"""A group of a study as a piece of work: done once, on any machine; its maps first, then its rows, which say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kdviz.core.files import Store, parquet_of
from kdviz.studies.attention.maps import GroupMaps, StudyJob, make_maps, maps_name, peak_memory, read_maps
from kdviz.studies.attention.statistics.pairs import agreement_rows

_COST = b"kdviz.cost"


def rows_name(group: int) -> str:
    """Of the file with a group's rows; it is written last."""
    return f"rows-{group:06d}.parquet"


def make_group(group: int, work: StudyJob) -> Iterator[float]:
    """Maps and rows of a group, or what is left of it; yields the share of it that is done."""
    store = Store(work.store)
    if store.has(rows_name(group)):
        return
    if work.threads:
        torch.set_num_threads(work.threads)
    maps = read_maps(store, group)
    if maps is None:
        for one in make_maps(work, group):
            if isinstance(one, GroupMaps):
                maps = one
            else:
                yield one
        assert maps is not None  # the last that is made
        content = maps.to_bytes()
        store.write(maps_name(group), content)
        maps = GroupMaps.from_bytes(content)  # so that rows are the same when they are made again from the file
    write_rows(store, group, work, maps)


def write_rows(store: Store, group: int, work: StudyJob, maps: GroupMaps) -> None:
    """Compare a group's maps and keep the rows, with what the group cost."""
    images, about = work.images[work.group(group)], {"study": work.study, "split": work.split}
    table = agreement_rows(maps, work.models, images, about, int(work.settings.get("n_masks", 0)))
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
    except (pa.ArrowException, KeyError, ValueError):
        return None
