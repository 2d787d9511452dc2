"""Progress bars, costs and warnings on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kdviz.core.texts.counted import counted, duration

if TYPE_CHECKING:
    from kdviz.distill import Stage
    from kdviz.distill.training import TrainingProgress
    from kdviz.studies.sweep.runner import Cost


def show_stages(stages: Iterable[Stage | Cost], warnings: Iterable[str] = ()) -> None:
    """Show one bar a training, with the loss and the validation of its last epoch, and each warning once."""
    with ExitStack() as open_bars:  # a bar that is left open would be drawn again after an error
        _show_bars(stages, warnings, open_bars)


def _show_bars(stages: Iterable[Stage | Cost], warnings: Iterable[str], open_bars: ExitStack) -> None:
    from tqdm import tqdm

    from kdviz.studies.sweep.runner import Cost

    printed: set[str] = set()
    _warn(warnings, printed)
    bar, bar_name = None, ""
    for stage in stages:
        if isinstance(stage, Cost):
            tqdm.write(_cost_sentence(stage), file=sys.stderr)
            continue
        if stage.warnings:
            _warn(stage.warnings, printed)
            continue
        progress = stage.progress
        _warn(progress.warnings if progress else (), printed)
        total = progress.epochs * progress.steps if progress else bar.total if bar is not None else 1
        if bar is None or stage.name != bar_name or total != bar.total:  # what is made before a training has its own
            open_bars.close()
            bar_name = stage.name
            bar = tqdm(total=total, desc=f"{stage.number}/{stage.count} {stage.name}", unit="batch")
            open_bars.callback(bar.close)
        if progress is None:
            bar.update(bar.total - bar.n)
            continue
        bar.update((progress.epoch - 1) * progress.steps + progress.step - bar.n)
        if progress.loss is not None:
            bar.set_postfix_str(f"loss {progress.loss:.4f}, {measured_text(progress)}")


def measured_text(progress: TrainingProgress) -> str:
    """What the end of an epoch measured, by its right name: on a transfer set nobody knows the true labels."""
    name = "agreement with the teacher" if progress.labelled_by_teacher else "validation"
    return f"{name} {progress.validation_accuracy:.2%}"


def _cost_sentence(cost: Any) -> str:
    runs, epochs = counted(cost.runs, "run"), counted(cost.epochs, "epoch")
    return f"kdviz: {runs}, {epochs}: about {duration(cost.seconds)} on this machine"


def _warn(warnings: Iterable[str], printed: set[str]) -> None:
    from tqdm import tqdm

    for warning in warnings:
        if warning not in printed:
            tqdm.write(f"kdviz: warning: {warning}", file=sys.stderr)
            printed.add(warning)
