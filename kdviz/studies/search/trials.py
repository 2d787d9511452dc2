"""The trials of a search: asked of Optuna, trained, and told back; what was interrupted is tried again first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import ExperimentError, KdvizError
from kdviz.core.language import N_
from kdviz.core.vocabulary import Split
from kdviz.distill import Stage
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.studies.search.maps import MapAgreement
from kdviz.studies.search.objectives import AGREEMENT, LATENCY, OPERATIONS, Objective
from kdviz.studies.search.pareto import on_front
from kdviz.studies.search.space import Parameter
from kdviz.studies.search.storage import import_optuna, importance, open_study, sampler, whole_storage
from kdviz.studies.search.table import COMPLETE, FAILED, PRUNED, SEARCH
from kdviz.studies.search.trainings import Engine, Trainings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

_ROW, _SETTINGS = "row", "settings"  # of a trial's attributes


@dataclass
class Search:
    """A search, which goes on where it stopped.

    Args:
        trainings: The trainings.
        space: Column -> what is varied.
        objectives: What is optimised, accuracy first.
        seed: Seed of all trials and of the sampler.
        default: Settings of the default recipe, which are the first trial as far as the space holds them.
        prunes: Whether hopeless trials are stopped early; only with one objective, and where trainings run here.
        images, masks: Validation images whose maps are compared, and masks of each.

    Raises:
        KdvizError: See :func:`kdviz.studies.search.storage.open_study`.
    """

    trainings: Trainings
    space: Mapping[str, Parameter]
    objectives: Sequence[Objective]
    seed: int
    default: Mapping[str, Any]
    prunes: bool = True
    images: int = 20
    masks: int = 500
    _maps: MapAgreement = field(init=False)

    def __post_init__(self) -> None:
        self.prunes = self.prunes and len(self.objectives) == 1
        self._folder = self.trainings.experiment.folder
        self._states = import_optuna().trial.TrialState
        self._maps = MapAgreement(self.trainings, self.images, self.masks)
        directions = [objective.direction for objective in self.objectives]
        self.study = open_study(self._folder, directions, self._about(), prunes=self.prunes)

    def _about(self) -> dict[str, Any]:
        config = self.trainings.config.to_json()
        recipe = {name: value for name, value in config.items() if name not in ("device", "seed", *self.default)}
        return {
            "objectives": [objective.name for objective in self.objectives],
            "ranges": {name: parameter.text for name, parameter in self.space.items()},
            "recipe": recipe,
            **self.trainings.about,
            "seed": self.seed,
            **self._of_maps(),
        }

    def _of_maps(self) -> dict[str, int]:
        measured = any(objective.name == AGREEMENT for objective in self.objectives)
        return {"images": self.images, "masks": self.masks} if measured else {}

    # the loop ---------------------------------------------------------------------------------------------------------

    def run(self, count: int, engine: Engine, parallel: int = 1, timeout: float = math.inf) -> Iterator[Stage]:
        """Do trials until there are ``count``, and write search.parquet after each; yield their progress.

        Args:
            count: Number of trials that have ended, those of earlier calls among them.
            engine: :func:`kdviz.core.jobs.run_local`, or a function like it.
            parallel: Trials that are trained at a time, where the engine can.
            timeout: Seconds of training of all trials, those of earlier calls among them, after which no further
                trial begins.

        Raises:
            ExperimentError: The storage is locked, or no trial could be trained.
        """
        with whole_storage(self._folder):
            self._try_again()
            while (ended := len(self.ended)) < count and self.seconds < timeout:
                batch = [self._ask() for _ in range(min(parallel, count - ended))]
                yield from self._train(batch, ended, count, engine)
                self.write()
        self.write()
        if not self.complete:
            reasons = {row["reason"] for row in self.rows() if row["reason"]}
            raise ExperimentError(
                "No trial of '{folder}' could be trained to its end: {reason}",
                folder=self._folder,
                reason=next(iter(reasons), "all were stopped early"),
            )

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that have ended, without those that were interrupted, which have no figures."""
        return [trial for trial in self.study.trials if trial.state.is_finished() and _ROW in trial.user_attrs]

    @property
    def seconds(self) -> float:
        """Seconds of training of the trials that have ended."""
        return sum(trial.user_attrs[_ROW].get("seconds") or 0.0 for trial in self.ended)

    @property
    def complete(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.trials if trial.state == self._states.COMPLETE]

    def _try_again(self) -> None:
        """Queue the settings of trials whose process ended, which count as failed; begin with the default recipe."""
        if not self.study.trials:
            known = {name: self.default[name] for name, each in self.space.items() if not each.is_fixed}
            self.study.enqueue_trial({name: value for name, value in known.items() if self.space[name].holds(value)})
        for trial in self.study.trials:
            if trial.state != self._states.RUNNING:
                continue
            if _ROW in trial.user_attrs:  # only the last word is missing
                self._tell(trial.number, trial.user_attrs[_ROW])
            else:
                self.study.tell(trial.number, state=self._states.FAIL)
                self.study.enqueue_trial(trial.params)

    def _ask(self) -> Trial:
        self.study.sampler = sampler(self.seed, len(self.ended) + self._running())
        trial = self.study.ask()
        trial.set_user_attr(_SETTINGS, {name: each.suggested(trial) for name, each in self.space.items()})
        return trial

    def _running(self) -> int:
        return sum(trial.state == self._states.RUNNING for trial in self.study.trials)

    def _train(self, batch: Sequence[Trial], ended: int, count: int, engine: Engine) -> Iterator[Stage]:
        runs: dict[int, TrainingRun] = {}
        for number, trial in enumerate(batch):
            try:
                runs[number] = self.trainings.run(trial.user_attrs[_SETTINGS], self.seed)
            except KdvizError as error:  # settings that do not fit together
                self._end(trial, _failed("", str(error)))
        watches = {number: _Watch(batch[number], self.prunes) for number in runs}
        for number in [number for number, run in runs.items() if self.trainings.is_done(run)]:
            self._end(batch[number], self._replayed(runs.pop(number), watches[number]))
        numbers = list(runs)
        steps = self.trainings.execute(list(runs.values()), engine)
        for index, progress in steps:
            number = numbers[index]
            yield Stage(f"trial {batch[number].number}", ended + number + 1, count, progress)
            if progress is None:
                self._end(batch[number], self._figures(runs[number]))
            elif progress.ends_epoch and watches[number].is_hopeless(
                progress.epoch, progress.epochs, progress.validation_accuracy or 0.0, progress.seconds_of_epoch
            ):
                yield Stage(f"trial {batch[number].number}", ended + number + 1, count, None)
                next(steps, None)  # its state is kept
                self._end(batch[number], watches[number].row(runs[number]))
                break
        steps.close()  # type: ignore[attr-defined]

    # the end of a trial -----------------------------------------------------------------------------------------------

    def _end(self, trial: Trial, row: Mapping[str, Any]) -> None:
        """Keep a trial's figures, and tell Optuna."""
        trial.set_user_attr(_ROW, row)
        self._tell(trial.number, row)

    def _tell(self, number: int, row: Mapping[str, Any]) -> None:
        if row["state"] == COMPLETE:
            self.study.tell(number, [row[objective.column] for objective in self.objectives])
        else:
            self.study.tell(number, state=self._states.PRUNED if row["state"] == PRUNED else self._states.FAIL)

    def _replayed(self, run: TrainingRun, watch: _Watch) -> dict[str, Any]:
        """The figures of a run that was done before: the same, stopped early or not, as if it were trained now."""
        for each in self.trainings.curves(run):
            if watch.is_hopeless(each["epoch"], run.config.epochs, each["validation_accuracy"], each["seconds"]):
                return watch.row(run)
        return self._figures(run)

    def _figures(self, run: TrainingRun) -> dict[str, Any]:
        """The figures of a run that has ended, in the columns of search.parquet."""
        reason = self.trainings.failure(run)
        if reason:
            return _failed(run.identity, reason)
        metrics = self.trainings.metrics(run)
        row = {
            "state": COMPLETE,
            "run": run.identity,
            "epochs_done": run.config.epochs,
            "accuracy": metrics["accuracy"],
            "inherited": metrics.get("inherited_errors", 0.0),
            "seconds": self.trainings.seconds(run),
        }
        names = [objective.name for objective in self.objectives]
        row |= {"mflop": self.trainings.mflop(run)} if OPERATIONS in names else {}
        row |= {"latency": self.trainings.latency(run)} if LATENCY in names else {}
        row |= {"agreement": self._maps.of(run)} if AGREEMENT in names else {}
        if any(math.isnan(row[objective.column]) for objective in self.objectives):
            return _failed(run.identity, N_("one of its objectives could not be measured"))
        return row

    # the table --------------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """The rows of search.parquet: one a trial that has ended."""
        rows = [self._row(number, trial) for number, trial in enumerate(self.ended)]
        complete = [row for row in rows if row["state"] == COMPLETE]
        for row, best in zip(complete, on_front(complete, self.objectives), strict=True):
            row["front"] = best
        return rows

    def _row(self, number: int, trial: FrozenTrial) -> dict[str, Any]:
        settings, row = trial.user_attrs[_SETTINGS], trial.user_attrs[_ROW]
        return {"trial": number, "seed": self.seed, **settings, **row, "front": False}

    def write(self) -> None:
        """Replace search.parquet."""
        rows = self.rows()
        if not rows:
            return
        about = {**self._about(), "prunes": self.prunes, "importance": importance(self.study)}
        about |= {"split": str(Split.VALIDATION), "training_samples": self.trainings.training_samples}
        SEARCH.write(self.trainings.experiment, rows, about)


class _Watch:
    """What a trial reports from epoch to epoch."""

    def __init__(self, trial: Trial, prunes: bool):
        self._trial, self._prunes = trial, prunes
        self.epoch, self.accuracy, self.seconds = 0, 0.0, 0.0

    def is_hopeless(self, epoch: int, epochs: int, accuracy: float, seconds: float) -> bool:
        """Whether to stop after an epoch, by the best validation accuracy so far beside other trials' by then."""
        self.epoch = epoch
        self.seconds += seconds
        self.accuracy = max(self.accuracy, accuracy)
        if not self._prunes:
            return False
        self._trial.report(self.accuracy, epoch)
        return epoch < epochs and self._trial.should_prune()

    def row(self, run: TrainingRun) -> dict[str, Any]:
        """The figures of a trial that is stopped here."""
        figures = {"epochs_done": self.epoch, "accuracy": self.accuracy, "seconds": self.seconds}
        return {"state": PRUNED, "run": run.identity, **figures}


def _failed(identity: str, reason: str) -> dict[str, Any]:
    return {"state": FAILED, "run": identity, "reason": reason}
