"""Options and parsers of values that several commands share, and the data of an experiment."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from kdviz.core.errors import SettingError
from kdviz.core.files import MODELS
from kdviz.core.texts.comma_lists import entries
from kdviz.core.vocabulary import Split

READ = (Split.TRAIN, Split.VALIDATION, Split.TEST)
"""The splits of a data set that is read."""

Written = Callable[[argparse.Namespace], "str | Iterable[str] | None"]
"""Which folder, or folders, a command with these options writes; None: none."""


def verb(
    verbs: Any, name: str, run: Callable[[Any], None], help: str, writes: Written | None = None
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        verbs: What :meth:`argparse.ArgumentParser.add_subparsers` gave.
        name, help: Of the command.
        run: What it does, with its options.
        writes: Which folders it writes, so that one command at a time does; None: none.
    """
    parser = verbs.add_parser(name, help=help, description=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(run=run, writes=writes, wrong_usage=parser.error)
    return parser


def the_out(options: argparse.Namespace) -> str | None:
    """The folder of ``--out``."""
    return options.out


def the_experiment(options: argparse.Namespace) -> str | None:
    """The folder of ``-e``; None where there is none, and where a command only estimates."""
    return None if getattr(options, "estimate", False) else experiment_folder(options.experiment)


def experiment_folder(name: str) -> str | None:
    """The folder of an experiment, given by its path or by its name in models/; None where there is none."""
    given, bundled = Path(name), MODELS / name
    folders = [folder for folder in (given, bundled) if _is_experiment(folder)]
    return str(folders[0]) if folders else None


def _is_experiment(folder: Path) -> bool:
    try:
        return (folder / "experiment.json").is_file()
    except (OSError, ValueError):  # not a possible name of a file
        return False


class LazyText(str):
    """A help text that is made only when it is shown, since reading a registry loads plugins."""

    make: Callable[[], str]

    def __new__(cls, make: Callable[[], str]) -> LazyText:
        """Create a text whose content ``make`` returns."""
        text = super().__new__(cls, "made when it is shown")
        text.make = make
        return text

    def __add__(self, other: str) -> str:
        return self.make() + other

    def __mod__(self, values: Any) -> str:
        return self.make() % values

    def __str__(self) -> str:
        return self.make()


class LazyNames:
    """Names to choose from, read when a command is parsed or its help is shown.

    Args:
        read: The names.
        suggested: Those that are suggested in place of a mistyped one; None: the same.
    """

    def __init__(self, read: Callable[[], Iterable[str]], suggested: Callable[[], Iterable[str]] | None = None):
        self._read, self.suggested = read, suggested or read

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __contains__(self, name: object) -> bool:
        return name in list(self)


def common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, or auto for the fastest there is")
    parser.add_argument("--threads", type=at_least_one, default=None, help="CPU threads (default: torch's choice)")


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def at_least_zero(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


NONE = "none"
"""What an option is given to take back what a recipe or a data set says, where leaving it empty would be a slip."""


Converter = TypeVar("Converter", bound=Callable[[str], Any])


def or_none(convert: Converter) -> Converter:
    """Mark the type of an option that can be taken back, so that a recipe may also leave it empty."""
    convert.or_none = True  # type: ignore[attr-defined]
    return convert


def comma_list(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """The type of an option that is a list with commas between."""

    def parse(text: str) -> list[Any]:
        try:
            parts = entries(text)
        except SettingError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return [kind(part) for part in parts]

    parse.__name__ = "list"
    return parse


def comma_list_or_none(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """As :func:`comma_list`, but ``none`` is the empty list, and so is the empty text of a default or a recipe."""
    parse_entries = comma_list(kind)

    def parse(text: str) -> list[Any]:
        return [] if text in (NONE, "") else parse_entries(text)

    parse.__name__ = "list"
    return or_none(parse)


def names(text: str) -> str:
    """Names with commas between, as a text."""
    return ",".join(comma_list(str)(text))


@or_none
def names_or_none(text: str) -> str:
    """Names with commas between, as a text; empty for ``none`` and as a default."""
    return ",".join(comma_list_or_none(str)(text))


@or_none
def name_or_none(text: str) -> str:
    """A name; empty for ``none``."""
    return "" if text == NONE else text


def seeds(text: str) -> list[int]:
    """Parse seeds with commas between; a repeated one would count as evidence twice, and stays once."""
    return list(dict.fromkeys(comma_list(int)(text)))


seeds.__name__ = "list"


# Help on the values of --temperature and --alpha; kdviz.distill.schedules, which parses them, imports torch.
LEARNED = "; 1:21:learned: trained against the student between these"
SCHEDULE = "a number, or over the epochs: 10:1 linear, 10:1:cosine, or 1=10,6=4 for 10 from epoch 1 and 4 from epoch 6"


def schedule(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def named_number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


named_number.__name__ = "NAME=VALUE"


def require_machine(options: argparse.Namespace) -> None:
    """Check the device and the engine that were named, before anything is read or trained.

    Raises:
        SettingError: They are not there.
    """
    if getattr(options, "device", "auto") != "auto":
        from kdviz.core.devices import choose_device

        choose_device(options.device)
    if getattr(options, "engine", "") == "ray":
        from kdviz.core.jobs import require_ray

        require_ray()


def set_threads(options: argparse.Namespace) -> None:
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)


def add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-e", "--experiment", metavar="DIR", default="mnist", help="folder of the experiment, or its name in models/"
    )


def add_reader_options(parser: Any) -> None:
    parser.add_argument("--groups", metavar="CSV", help="folder: columns file and group; no group is split")
    add_columns(parser)


def add_columns(parser: Any) -> None:
    parser.add_argument("--image-column", metavar="NAME", help="parquet: column of the pictures (default: by its type)")
    parser.add_argument("--label-column", metavar="NAME", help="parquet: column of the classes (default: by its type)")


def reader_options(options: argparse.Namespace) -> dict[str, str]:
    """The options of the data set's reader that were given."""
    given = {name: getattr(options, name) for name in ("groups", "image_column", "label_column")}
    return {name: value for name, value in given.items() if value}


def engine(options: argparse.Namespace) -> Any:
    from functools import partial

    from kdviz.core.jobs import run_local, run_on_ray

    if options.engine == "local":
        return run_local
    return partial(run_on_ray, address=options.address, cpus=options.threads or 1, gpus=options.gpus)


def splits_of(experiment: Any, options: argparse.Namespace) -> Any:
    """The splits of an experiment's data set, with a warning if the models were trained on another training split.

    ``--split`` is refused before anything is read.
    """
    from kdviz.distill.recipes import read_splits

    if getattr(options, "split", Split.TEST) not in READ:
        options.wrong_usage(f"argument --split: there are {', '.join(READ)}")
    splits = read_splits(experiment.dataset, options.data, experiment.input, **reader_options(options))
    learned = {run.training["data"] for run in experiment.runs.values() if "data" in run.training}
    if learned and splits[Split.TRAIN].fingerprint[:16] not in learned:
        advice = "its models may have learned from images of the other splits; name the same folder and --groups"
        print(
            f"kdviz: warning: '{options.data}' has another training split than '{experiment.folder}': {advice}.",
            file=sys.stderr,
        )
    return splits
