"""Models and pictures that a session sent, as files in its folder, until an experiment is made of them. No widgets.

Nothing here reads a file beyond its first bytes; another process does that, see process.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdviz.app import limits
from kdviz.app.pages.bring_models.files import (
    MOST_PICTURES,
    bytes_in,
    data_in,
    sent_pictures,
    written_model,
    written_size,
)
from kdviz.app.pages.bring_models.job import ImportJob, JobPlan, PlannedModel
from kdviz.app.uploads import unpacking
from kdviz.app.uploads.session_store import SessionStore
from kdviz.core.errors import SettingError
from kdviz.data.pictures import is_picture
from kdviz.experiment import ROLES, Run
from kdviz.importing import role_of
from kdviz.importing.spec import checked_input

INPUT_FIELDS = ("size", "resize", "crop", "interpolation", "mean", "std", "channels")
FIELDS = ("network", *INPUT_FIELDS, "classes")
"""Names of the fields in which a person may describe a model."""

MOST_MODELS = 12


@dataclass
class Slot:
    """One model, sent or yet to be sent.

    Attributes:
        role: ``teacher``, ``kd_student`` or ``student``; empty for a further model.
        title: Title of a further model.
        path: Its file or folder; None while nothing was sent.
        source: The name that the person gave to the file.
        size: Bytes of the files.
        entered: Texts that the person entered, by :data:`FIELDS`.
        detected: Texts for what the last import found, likewise.
    """

    role: str = ""
    title: str = ""
    path: Path | None = None
    source: str = ""
    size: int = 0
    entered: dict[str, str] = field(default_factory=dict)
    detected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SentPictures:
    """Pictures that were sent, on the disk.

    Attributes:
        folder: Their folder.
        source: The name that the person gave to them.
        count: Number of pictures.
        size: Bytes of the pictures and of a table of labels.
    """

    folder: Path
    source: str
    count: int
    size: int


class ModelsDraft:
    """What one session sent to be imported, with the import.

    Attributes:
        slots: The models, by keys that stay the same.
        pictures: The pictures; None if none were sent.
        classes: The text in which the person names the classes.
        job: The last import; None before the first.
        name: Name of the session's experiment that was made; empty before.
    """

    def __init__(self, store: SessionStore):
        self._store = store
        self._folder = store.folder / "draft"
        self._numbered = 0
        self.slots: dict[str, Slot] = {role: Slot(role) for role in ROLES}
        self.pictures: SentPictures | None = None
        self.classes = ""
        self.job: ImportJob | None = None
        self.name = ""
        self._filled_from: ImportJob | None = None

    @property
    def size(self) -> int:
        """Bytes of what was sent."""
        return sum(slot.size for slot in self.slots.values()) + (self.pictures.size if self.pictures else 0)

    @property
    def is_running(self) -> bool:
        return self.job is not None and not self.job.ended

    @property
    def sent(self) -> dict[str, Slot]:
        """The slots that have a file."""
        return {key: slot for key, slot in self.slots.items() if slot.path is not None}

    def end(self) -> None:
        """Stop the import, and remove every file that was sent; an experiment that was made of them stays."""
        if self.job is not None:
            self.job.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    # models -----------------------------------------------------------------------------------------------------------

    def add_slot(self) -> None:
        """Add a slot for a further model.

        Raises:
            SettingError: There are too many models.
        """
        if len(self.slots) >= MOST_MODELS:
            raise SettingError(
                "There are {most_models} models at most; import more in a terminal with kdviz import.",
                most_models=MOST_MODELS,
            )
        self._numbered += 1
        self.slots[f"more-{self._numbered}"] = Slot()

    def take_model(self, key: str, source: str, content: bytes) -> None:
        """Keep the file of a model; an earlier one is removed.

        Raises:
            KdvizError: The file is refused, or there is no room; nothing of it is kept then.
        """
        self.drop_model(key)
        folder = self._new_folder()
        with self._store.room_for(written_size(source, content)):
            path = written_model(folder, source, content)
        slot = self.slots[key]
        slot.path, slot.source, slot.size = path, source, bytes_in(folder)

    def drop_model(self, key: str) -> None:
        """Remove a model's file, and what is known about it; the slot stays."""
        slot = self.slots[key]
        if slot.path is not None:
            shutil.rmtree(self._top_folder(slot.path), ignore_errors=True)
        self.slots[key] = Slot(slot.role, slot.title)
        self._forget_failure()

    def drop_slot(self, key: str) -> None:
        """Remove a further model with its file."""
        self.drop_model(key)
        del self.slots[key]

    # pictures ---------------------------------------------------------------------------------------------------------

    def take_pictures(self, uploads: Sequence[tuple[str, bytes]]) -> None:
        """Keep pictures: files, those of a folder with their paths, or a zip.

        Raises:
            KdvizError: They are refused, or there is no room; nothing of them is kept then.
        """
        self.drop_pictures()
        folder = self._new_folder() / "pictures"
        with sent_pictures(uploads) as files_to_write:
            size = sum(file.size for file in files_to_write)
            with self._store.room_for(size):
                unpacking.write_files(files_to_write, folder, MOST_PICTURES)
        count = sum(is_picture(file.name) for file in files_to_write)
        self.pictures = SentPictures(folder, _name_of([name for name, _ in uploads]), count, size)

    def drop_pictures(self) -> None:
        """Remove the pictures."""
        if self.pictures is not None:
            shutil.rmtree(self._top_folder(self.pictures.folder), ignore_errors=True)
        self.pictures = None
        self._forget_failure()

    def _forget_failure(self) -> None:
        """Forget an import that failed: some of the files that it refused are gone."""
        if self.job is not None and self.job.status == "failed":
            self.job = self._filled_from = None

    # the import -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the import.

        Raises:
            KdvizError: There is no model, what was entered about one cannot be read, or there is no room.
        """
        plan = self._plan()
        with self._store.room_for(sum(slot.size for slot in self.sent.values())):
            pass  # the experiment takes about as much again; otherwise it would be refused after minutes
        job = ImportJob(plan, self._keep)
        job.start()
        self.job = job

    def _keep(self, built: Path) -> None:
        self.name = self._store.adopt(built, self._title(), self.name).name

    def _title(self) -> str:
        sources = [self.pictures.source] if self.pictures is not None else []
        return Path(next(filter(None, [*sources, *(slot.source for slot in self.sent.values())]))).stem

    def _plan(self) -> JobPlan:
        if not self.sent:
            raise SettingError("No model was sent yet; send the file of one at least.")
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        roles = self.roles()
        models = [self._planned_model(slot, roles[key], work) for key, slot in self.sent.items()]
        data = None if self.pictures is None else str(data_in(self.pictures.folder))
        names = _class_file(self.classes, work / "classes.txt")
        renamed = [(str(slot.path), slot.source) for slot in self.sent.values()]
        if self.pictures is not None:
            renamed.append((str(self.pictures.folder), self.pictures.source))
        return JobPlan(work, self._title(), models, data, names, renamed, limits.session_bytes())

    def roles(self) -> dict[str, str]:
        """Slot -> role in the experiment.

        Raises:
            SettingError: A further model has the name of another one.
        """
        roles = {key: slot.role for key, slot in self.sent.items() if slot.role}
        for key, slot in self.sent.items():
            if not slot.role:
                roles[key] = role_of(slot.title or Path(slot.source).stem, roles.values())
        return roles

    def _planned_model(self, slot: Slot, role: str, work: Path) -> PlannedModel:
        entered = {name: value.strip() for name, value in slot.entered.items() if value.strip()}
        input_settings = checked_input({name: value for name, value in entered.items() if name in INPUT_FIELDS})
        title = "" if slot.role else slot.title or Path(slot.source).stem
        classes = _class_file(entered.get("classes", ""), work / f"classes-{role}.txt", "/")
        return PlannedModel(role, str(slot.path), title, entered.get("network", ""), input_settings, classes)

    def fill_in(self, runs: Mapping[str, Run]) -> None:
        """Fill in what the last import found about each model, once: a file that is sent later is another model."""
        if self.job is self._filled_from:
            return
        self._filled_from = self.job
        for key, role in self.roles().items():
            run = runs.get(role)
            if run is not None and run.has_model:
                self.slots[key].detected = detected_fields(run)

    def command(self) -> str:
        """The same import as a command, with the files under the names that the person gave to them."""
        words = ["kdviz", "import", "--out", "models/mine"]
        for slot in self.sent.values():
            words += _option(slot)
        words += ["--data", "DIR"] if self.pictures is not None else []
        names = _names(self.classes)
        words += ["--classes", "classes.txt" if "=" in self.classes else ",".join(names)] if names else []
        return shlex.join(words)

    # on the disk ------------------------------------------------------------------------------------------------------

    def _new_folder(self) -> Path:
        self._numbered += 1
        return self._folder / f"sent-{self._numbered}"

    def _top_folder(self, path: Path) -> Path:
        return self._folder / path.relative_to(self._folder).parts[0]


def draft_of(store: SessionStore) -> ModelsDraft:
    """The draft of a session; it is made on first use."""
    if not isinstance(store.draft, ModelsDraft):
        store.draft = ModelsDraft(store)
    return store.draft


# texts ----------------------------------------------------------------------------------------------------------------


def detected_fields(run: Run) -> dict[str, str]:
    """What is known about an imported model, as a person would enter it."""
    spec = run.spec
    texts = {
        "network": run.network,
        "size": _sides(spec.size),
        "interpolation": spec.interpolation,
        "mean": "/".join(f"{value:g}" for value in spec.mean),
        "std": "/".join(f"{value:g}" for value in spec.std),
        "channels": str(spec.channels),
    }
    if spec.resize is not None:
        texts["resize"] = str(spec.resize) if isinstance(spec.resize, int) else _sides(spec.resize)
    return texts


def _name_of(paths: Sequence[str]) -> str:
    """The name of pictures: that of the only file, or of the folder that they are in; empty for several files."""
    if len(paths) == 1:
        return paths[0]
    folder, below, _name = paths[0].lstrip("./").partition("/")
    return folder if below else ""


def _sides(size: tuple[int, int]) -> str:
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def _option(slot: Slot) -> list[str]:
    pairs = [f"{name}={value.strip()}" for name, value in slot.entered.items() if value.strip() and name != "classes"]
    names = _names(slot.entered.get("classes", ""), "/")
    pairs += [f"classes={'/'.join(names)}"] if names else []
    spec = ",".join([slot.source.removesuffix(".zip"), *pairs])
    if slot.role:
        return [f"--{slot.role.replace('_', '-')}", spec]
    return ["--model", f"{slot.title or Path(slot.source).stem}={spec}"]


def _names(text: str, separator: str = ",") -> list[str]:
    """Names that are written one a line, or in one line with separators."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    parts = re.split(f"[{separator},]", lines[0]) if len(lines) == 1 else lines
    return [part.strip() for part in parts if part.strip()]


def _class_file(text: str, path: Path, separator: str = ",") -> str:
    """Write names to a file: a stranger's text must never be taken for the path of a file."""
    names = _names(text, separator)
    if not names:
        return ""
    path.write_text("\n".join(names), encoding="utf-8")
    return str(path)
