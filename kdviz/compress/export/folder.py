"""The folder of an export: all files that go with the models, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdviz import __version__
from kdviz.compress.export.contents import Export
from kdviz.compress.export.example import example_script
from kdviz.compress.export.graph import matrix_product
from kdviz.core.errors import KdvizError, SettingError
from kdviz.core.files import ASSETS, PART, replacing

RECORD = "export.json"
FORMAT = 1
"""The version of :data:`RECORD`, under the key ``kdviz_export``."""

_SYSTEMS_OWN = frozenset([".DS_Store", "Thumbs.db", "desktop.ini", "__pycache__"])  # what others add by themselves


def folder_files(made: Export, card: str) -> dict[str, bytes]:
    """Name -> content of every file of an export's folder.

    Args:
        made: The export.
        card: The model card, Markdown.
    """
    others = {
        "README.md": card.encode(),
        "labels.json": _json(list(made.experiment.classes)),
        "check.npz": _check(made),
        "check.py": (ASSETS / "export" / "check.py").read_bytes(),
        "example.py": example_script(made).encode(),
        **made.more,
    }
    if made.operations is not None:
        others["limit.onnx"] = matrix_product()
    models = {file.name: file.content for file in made.files}
    return {**models, **others, RECORD: _json(record(made, others))}


def record(made: Export, others: Mapping[str, bytes]) -> dict[str, Any]:
    """The content of export.json: what programs have to know of an export."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    return {
        "kdviz_export": FORMAT,
        "experiment": made.experiment.name,
        "dataset": made.experiment.dataset,
        "role": made.run.role,
        "network": made.run.network,
        "weights": made.run.sha256,
        "input": made.run.spec.to_json(),
        "preprocessing": made.settings.preprocessing,
        "output": made.output,
        "opset": made.opset,
        "parameters": made.parameters,
        "flops": made.operations and made.operations.flops,
        "uncounted": list(made.operations.uncounted) if made.operations else None,
        "difference_from_torch": made.difference,
        "files": {
            file.name: {
                "form": str(file.form),
                "sha256": file.sha256,
                "bytes": file.size,
                "other_answers_than_float": file.different,
                "accuracy": file.accuracy(made.split),
            }
            for file in made.files
        },
        "others": {name: hashlib.sha256(content).hexdigest() for name, content in others.items()},
        "kdviz": __version__,
        "torch": str(torch.__version__),
        "onnxruntime": str(onnxruntime.__version__),
    }


def _check(made: Export) -> bytes:
    """The pictures of the check, and the scores of every file."""
    buffer = io.BytesIO()
    scores = {f"scores {file.name}": file.answers for file in made.files}
    np.savez_compressed(buffer, pictures=made.pictures, **scores)  # type: ignore[arg-type]
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


# writing --------------------------------------------------------------------------------------------------------------


def require_replaceable(folder: str | Path) -> None:
    """Check that an export may be written to a folder: nothing is there but, perhaps, an earlier export.

    Raises:
        SettingError: Something else is there.
        KdvizError: Nothing can be written there.
    """
    path = Path(folder).resolve()
    _require_free(folder, path)
    with _folder_errors(folder), tempfile.TemporaryDirectory(dir=_lowest_folder(path.parent)):
        pass


def _lowest_folder(path: Path) -> Path:
    """A path, or the lowest folder above it that exists, which may be no folder."""
    return next(each for each in (path, *path.parents) if each.exists())


def _require_free(folder: str | Path, path: Path) -> None:
    """Check that nothing is there but, perhaps, an earlier export."""
    if path.is_file():
        raise SettingError("'{folder}' is a file; name a folder with --out.", folder=folder)
    if not path.exists():
        return
    there = {entry.name for entry in path.iterdir()} - _SYSTEMS_OWN
    own = _names(path)
    if there and not own:
        raise SettingError(
            "'{folder}' exists and holds no export of kdviz; name another folder with --out.", folder=folder
        )
    foreign = sorted(there - own)
    if foreign:
        raise SettingError(
            "'{folder}' holds what kdviz has not exported ({names}), which a new export would remove; move it away.",
            folder=folder,
            names=", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else ""),
        )


def _names(path: Path) -> set[str]:
    """Names of the files of the export in a folder; empty if there is none."""
    try:
        document = json.loads((path / RECORD).read_bytes())
        if not isinstance(document["kdviz_export"], int):
            return set()
        return {RECORD, *map(str, document["files"]), *map(str, document["others"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_folder(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Write an export's folder, in place of an earlier export: whole, or the earlier one stays.

    Raises:
        SettingError: Something else is there.
        KdvizError: It cannot be written.
    """
    require_replaceable(folder)
    path = Path(folder).resolve()
    with _folder_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent))
        try:
            fresh, earlier = work / "new", work / "earlier"
            fresh.mkdir()
            for name, content in files.items():
                with replacing(fresh / name) as temporary:
                    temporary.write_bytes(content)
            _swap(path, fresh, earlier)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _swap(path: Path, fresh: Path, earlier: Path) -> None:
    """Put a folder in the place of another, which comes back if that fails."""
    had = path.exists()
    if had:
        path.rename(earlier)
    try:
        fresh.rename(path)
    except BaseException:
        if had:
            earlier.rename(path)
        raise


@contextlib.contextmanager
def _folder_errors(folder: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KdvizError("Cannot write '{path}': {strerror}.", path=folder, strerror=error.strerror or error) from error
