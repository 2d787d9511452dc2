"""The storage of a search, in which a kill leaves every earlier trial whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import ExperimentError, SettingError

if TYPE_CHECKING:
    from optuna.study import Study

FILE = "search.db"
"""SQLite, which optuna-dashboard opens: ``optuna-dashboard sqlite:///models/NAME/search.db``."""

_WAIT = 10.0  # seconds for another program that has the file
_ABOUT = "about"


def import_optuna() -> Any:
    """The module optuna, with its log kept quiet.

    Raises:
        SettingError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise SettingError('kdviz tune needs Optuna; install it with: pip install "kdviz[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def whole_storage(folder: Path) -> Iterator[None]:
    """Turn errors of the storage into one sentence; what it held stays.

    Raises:
        ExperimentError: It is locked by another program, or damaged.
    """
    import sqlalchemy.exc

    optuna = import_optuna()
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = str(error.__cause__ or error)
        if "locked" in cause:
            raise ExperimentError(
                "'{path}' is locked by another program; close it, and give the same command again: "
                "all earlier trials are kept.",
                path=folder / FILE,
            ) from error
        raise ExperimentError(
            "'{path}' cannot be used ({reason}); move it away to search anew.",
            path=folder / FILE,
            reason=cause.splitlines()[0],
        ) from error


def open_study(folder: Path, directions: list[str], about: Mapping[str, Any], *, prunes: bool) -> Study:
    """Open the search of a folder, or begin it.

    Args:
        folder: Folder of the experiment.
        directions: ``maximize`` or ``minimize`` for each objective.
        about: What its trials have in common; JSON values.
        prunes: Whether hopeless trials are stopped early, by successive halving (Li et al., 2020).

    Raises:
        ExperimentError: It was begun with other settings, is locked, or is damaged.
        SettingError: Optuna is not installed.
    """
    optuna = import_optuna()
    with whole_storage(folder):
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{(folder / FILE).absolute()}", engine_kwargs={"connect_args": {"timeout": _WAIT}}
        )
        pruner = optuna.pruners.NopPruner()
        if prunes:
            pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        study = _existing(optuna, storage, folder, directions, pruner)
        text = json.dumps(about, sort_keys=True)
        known = study.user_attrs.get(_ABOUT)
        if known is None:
            study.set_user_attr(_ABOUT, text)
        elif known != text:
            raise ExperimentError(
                "The search in '{folder}' was begun with other {names}; give the same options, or move {file} away "
                "to search anew.",
                folder=folder,
                names=" and ".join(_changed(json.loads(known), json.loads(text))),
                file=FILE,
            )
    return study


def _existing(optuna: Any, storage: Any, folder: Path, directions: list[str], pruner: Any) -> Study:
    names = optuna.get_all_study_names(storage)
    if not names:
        return optuna.create_study(storage=storage, study_name="kdviz", directions=directions, pruner=pruner)
    study = optuna.load_study(storage=storage, study_name=names[0], pruner=pruner)
    if [direction.name.lower() for direction in study.directions] != directions:
        raise ExperimentError(
            "The search in '{folder}' was begun with other {names}; give the same options, or move {file} away "
            "to search anew.",
            folder=folder,
            names="objectives",
            file=FILE,
        )
    return study


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


def sampler(seed: int, number: int) -> Any:
    """The sampler of one trial: the same whether the search was interrupted before it or not."""
    return import_optuna().samplers.TPESampler(seed=(1_000_003 * seed + number) % 2**32)


def importance(study: Study) -> dict[str, float]:
    """Share of each parameter in what sets the best trials apart (PED-ANOVA; Watanabe et al., 2023).

    It is of the first objective, over the trials that were trained to their end; empty where they are too few or all
    alike.
    """
    optuna = import_optuna()
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < _FEWEST or len({trial.values[0] for trial in complete}) < 2:
        return {}
    try:
        found = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: trial.values[0],
        )
    except (ValueError, RuntimeError):  # no parameter varies in all of them
        return {}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


_FEWEST = 8
"""Trials for importances."""
