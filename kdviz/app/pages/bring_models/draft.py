"""Models and pictures that a session sent, as files in its folder, until an experiment is made of them. No widgets.

Nothing here reads what a file holds beyond its first bytes: that is done by another process, see bring_job.py.
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

OF_INPUT = ("size", "resize", "crop", "interpolation", "mean", "std", "channels")
FIELDS = ("network", *OF_INPUT, "classes")
"""What a person may say of a model, as texts."""

MOST_MODELS = 12


@dataclass
class Slot:
    """One model.

    Attributes:
        role: ``teacher``, ``kd_student`` or ``student``; empty for a further one.
        title: Of a further one.
        path: Its file or folder; None: nothing was sent yet.
        source: What the person calls that.
        size: Its bytes.
        given: What the person says of it, by :data:`FIELDS`.
        found: What the last import found of it, likewise.
    """

    role: str = ""
    title: str = ""
    path: Path | None = None
    source: str = ""
    size: int = 0
    given: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SentPictures:
    """Pictures on the disk.

    Attributes:
        folder: Of them.
        source: What the person calls them.
        count: How many there are.
        size: Bytes, with a table of labels.
    """

    folder: Path
    source: str
    count: int
    size: int


class ModelsDraft:
    """What one session sent to be imported, and the import.

    Attributes:
        slots: By a key that stays the same.
        pictures: None: none were sent.
        classes: What the person says of the classes' names.
        job: The last import; None: none was begun.
        name: Of the session's experiment that was made; empty: none.
    """

    def __init__(self, mine: SessionStore):
        self._mine = mine
        self._folder = mine.folder / "draft"
        self._made = 0
        self.slots: dict[str, Slot] = {role: Slot(role) for role in ROLES}
        self.pictures: SentPictures | None = None
        self.classes = ""
        self.job: ImportJob | None = None
        self.name = ""
        self._learnt: ImportJob | None = None

    @property
    def size(self) -> int:
        """Bytes of what was sent."""
        return sum(one.size for one in self.slots.values()) + (self.pictures.size if self.pictures else 0)

    @property
    def is_running(self) -> bool:
        return self.job is not None and not self.job.ended

    @property
    def sent(self) -> dict[str, Slot]:
        """The slots that have a file."""
        return {key: one for key, one in self.slots.items() if one.path is not None}

    def end(self) -> None:
        """Stop the import, and remove every file that was sent; an experiment that was made of them stays."""
        if self.job is not None:
            self.job.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    # models -----------------------------------------------------------------------------------------------------------

    def add_slot(self) -> None:
        """A further model.

        Raises:
            SettingError: There are too many.
        """
        if len(self.slots) >= MOST_MODELS:
            raise SettingError(f"There are {MOST_MODELS} models at most; import more in a terminal with kdviz import.")
        self._made += 1
        self.slots[f"more-{self._made}"] = Slot()

    def take_model(self, key: str, source: str, content: bytes) -> None:
        """Keep the file of a model; one that was there before is removed.

        Raises:
            KdvizError: It is refused, or there is no room; nothing is left of it then.
        """
        self.drop_model(key)
        place = self._new_folder()
        with self._mine.room_for(written_size(source, content)):
            path = written_model(place, source, content)
        slot = self.slots[key]
        slot.path, slot.source, slot.size = path, source, bytes_in(place)

    def drop_model(self, key: str) -> None:
        """Remove a model's file and what is known of it; a further slot goes altogether when it is empty."""
        slot = self.slots[key]
        if slot.path is not None:
            shutil.rmtree(self._place_of(slot.path), ignore_errors=True)
        self.slots[key] = Slot(slot.role, slot.title)
        self._forget_failure()

    def drop_slot(self, key: str) -> None:
        """Remove a further model with its file."""
        self.drop_model(key)
        del self.slots[key]

    # pictures ---------------------------------------------------------------------------------------------------------

    def take_pictures(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Keep pictures: files, those of a folder with their paths, or a zip.

        Raises:
            KdvizError: They are refused, or there is no room; nothing is left of them then.
        """
        self.drop_pictures()
        place = self._new_folder() / "pictures"
        with sent_pictures(files) as wanted:
            size = sum(one.size for one in wanted)
            with self._mine.room_for(size):
                unpacking.write_files(wanted, place, MOST_PICTURES)
        count = sum(is_picture(one.name) for one in wanted)
        self.pictures = SentPictures(place, _name_of([name for name, _ in files]), count, size)

    def drop_pictures(self) -> None:
        """Remove them."""
        if self.pictures is not None:
            shutil.rmtree(self._place_of(self.pictures.folder), ignore_errors=True)
        self.pictures = None
        self._forget_failure()

    def _forget_failure(self) -> None:
        """What was refused were files of which some are gone: it is said no longer."""
        if self.job is not None and self.job.status == "failed":
            self.job = self._learnt = None

    # the import -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to make an experiment.

        Raises:
            KdvizError: There is no model, what is said of one cannot be read, or there is no room.
        """
        plan = self._plan()
        with self._mine.room_for(sum(one.size for one in self.sent.values())):
            pass  # the experiment needs about as much again; it would be refused after minutes
        job = ImportJob(plan, self._keep)
        job.start()
        self.job = job

    def _keep(self, made: Path) -> None:
        self.name = self._mine.adopt(made, self._title(), self.name).name

    def _title(self) -> str:
        sources = [self.pictures.source] if self.pictures is not None else []
        return Path(next(filter(None, [*sources, *(one.source for one in self.sent.values())]))).stem

    def _plan(self) -> JobPlan:
        if not self.sent:
            raise SettingError("No model was sent yet; send the file of one at least.")
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        roles = self.roles()
        models = [self._planned(one, roles[key], work) for key, one in self.sent.items()]
        data = None if self.pictures is None else str(data_in(self.pictures.folder))
        names = _class_file(self.classes, work / "classes.txt")
        renamed = [(str(one.path), one.source) for one in self.sent.values()]
        if self.pictures is not None:
            renamed.append((str(self.pictures.folder), self.pictures.source))
        return JobPlan(work, self._title(), models, data, names, renamed, limits.session_bytes())

    def roles(self) -> dict[str, str]:
        """Slot -> role in the experiment.

        Raises:
            SettingError: A further model is called as one that is there.
        """
        found = {key: one.role for key, one in self.sent.items() if one.role}
        for key, one in self.sent.items():
            if not one.role:
                found[key] = role_of(one.title or Path(one.source).stem, found.values())
        return found

    def _planned(self, slot: Slot, role: str, work: Path) -> PlannedModel:
        said = {name: value.strip() for name, value in slot.given.items() if value.strip()}
        given = checked_input({name: value for name, value in said.items() if name in OF_INPUT})
        title = "" if slot.role else slot.title or Path(slot.source).stem
        classes = _class_file(said.get("classes", ""), work / f"classes-{role}.txt", "/")
        return PlannedModel(role, str(slot.path), title, said.get("network", ""), given, classes)

    def learn(self, runs: Mapping[str, Run]) -> None:
        """Fill in what the last import found of each model, once: a file that is sent after it is another model."""
        if self.job is self._learnt:
            return
        self._learnt = self.job
        for key, role in self.roles().items():
            run = runs.get(role)
            if run is not None and run.has_model:
                self.slots[key].found = found_in(run)

    def command(self) -> str:
        """The same import in a terminal, of the files as the person calls them."""
        words = ["kdviz", "import", "--out", "models/mine"]
        for slot in self.sent.values():
            words += _option(slot)
        words += ["--data", "DIR"] if self.pictures is not None else []
        names = _names(self.classes)
        words += ["--classes", "classes.txt" if "=" in self.classes else ",".join(names)] if names else []
        return shlex.join(words)

    # on the disk ------------------------------------------------------------------------------------------------------

    def _new_folder(self) -> Path:
        self._made += 1
        return self._folder / f"sent-{self._made}"

    def _place_of(self, path: Path) -> Path:
        return self._folder / path.relative_to(self._folder).parts[0]


def draft_of(mine: SessionStore) -> ModelsDraft:
    """What a session sent; made when it sends the first."""
    if not isinstance(mine.draft, ModelsDraft):
        mine.draft = ModelsDraft(mine)
    return mine.draft


# texts ----------------------------------------------------------------------------------------------------------------


def found_in(run: Run) -> dict[str, str]:
    """What is known of an imported model, as a person would write it."""
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
    """What the person calls these pictures: the file, or the folder that they are in; empty for several files."""
    if len(paths) == 1:
        return paths[0]
    folder, below, _name = paths[0].lstrip("./").partition("/")
    return folder if below else ""


def _sides(size: tuple[int, int]) -> str:
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def _option(slot: Slot) -> list[str]:
    pairs = [f"{name}={value.strip()}" for name, value in slot.given.items() if value.strip() and name != "classes"]
    names = _names(slot.given.get("classes", ""), "/")
    pairs += [f"classes={'/'.join(names)}"] if names else []
    spec = ",".join([slot.source.removesuffix(".zip"), *pairs])
    if slot.role:
        return [f"--{slot.role.replace('_', '-')}", spec]
    return ["--model", f"{slot.title or Path(slot.source).stem}={spec}"]


def _names(text: str, separator: str = ",") -> list[str]:
    """One name a line, or a line with separators."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    parts = re.split(f"[{separator},]", lines[0]) if len(lines) == 1 else lines
    return [part.strip() for part in parts if part.strip()]


def _class_file(text: str, path: Path, separator: str = ",") -> str:
    """A file with the names: a text that a stranger wrote must never be taken for the path of a file."""
    names = _names(text, separator)
    if not names:
        return ""
    path.write_text("\n".join(names), encoding="utf-8")
    return str(path)
