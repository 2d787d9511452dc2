"""Execute a training run, which has an identity: done once, continued where it was killed, the same on any machine.

::

    <store>/<identity>/
      checkpoint.pt             while it runs, or can be prolonged: the state after its last epoch
      epoch-0003.safetensors    weights after an epoch of the run's ``snapshots``
      weights.safetensors       weights of the best epoch
      logits-<split>.npy        float32 (N, classes), one file for every evaluated split
      result.json               written last: what was trained, and its curves
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.files import Store
from kdviz.core.moved import renamed
from kdviz.core.vocabulary import Split
from kdviz.data import LabelledImages
from kdviz.distill.beginnings import freeze
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.layers import head_of
from kdviz.distill.prediction import predict_logits
from kdviz.distill.storage.run_files import (
    StoredCheckpoint,
    has_snapshot,
    is_finished,
    new_network,
    read_array,
    read_state,
    snapshot_name,
    weights_of,
    write_array,
    write_weights,
)
from kdviz.distill.storage.teacher_explanations import teacher_explanations
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.distill.storage.view_logits import view_logits
from kdviz.distill.training import TrainingProgress, fit
from kdviz.distill.transfer_sets.making import StudentData, TransferSource, transfer_data
from kdviz.models.networks import build_network


def execute_run(
    run: TrainingRun, splits: Mapping[str, LabelledImages], store: Store, device: str = "auto", threads: int = 0
) -> Iterator[TrainingProgress]:
    """Execute a run, or what is left of it, and yield its progress; a finished run yields nothing.

    A kill at any moment loses at most the current epoch: result.json is written last.

    Args:
        run: The run.
        splits: ``train``, ``validation``, and further splits to evaluate.
        store: Store of its files.
        device: A torch device, or ``auto``.
        threads: Number of torch's threads; 0 leaves it. Results depend on it in the last digits.

    Raises:
        KdvizError: See :func:`kdviz.distill.fit`; or the store fails.
    """
    if is_finished(store, run):
        return
    if threads:
        torch.set_num_threads(threads)
    normalise = run.spec.normalise
    config = replace(run.config, device=device)
    data = yield from _student_data(run, config, splits, store)
    network = _beginning(run, store, data.training)
    n_classes = len(data.training.classes)
    teachers = [_teacher(run, store, n_classes)] if run.teacher and run.config.needs_live_teacher else []
    asked = (lambda: _teacher(run, store, n_classes)) if run.teacher else None
    explanations = teacher_explanations(asked, normalise, config, store, run.teacher, data.training)
    checkpoint = StoredCheckpoint(store, run)
    history = []
    steps = fit(
        network,
        data.training,
        data.validation,
        normalise,
        config,
        data.logits,
        teachers=teachers,
        explanations=explanations,
        checkpoint=checkpoint,
    )
    for progress in steps:
        if progress.ends_epoch:
            history.append(_curve(progress))
            if progress.epoch in run.snapshots:
                _keep_snapshot(store, run, network, splits, progress.epoch, device)
        yield progress
    _keep_result(store, run, network, splits, history, device)
    if not run.can_be_prolonged:
        checkpoint.remove()


def _keep_result(
    store: Store,
    run: TrainingRun,
    network: nn.Module,
    splits: Mapping[str, LabelledImages],
    history: list[dict[str, Any]],
    device: str,
) -> None:
    """Write the weights, the logits, and last the result, which marks them as complete."""
    write_weights(store, f"{run.identity}/weights.safetensors", network)
    for name, samples in splits.items():
        if name != Split.TRAIN:
            logits = predict_logits(network, samples, run.spec.normalise, device=device)
            write_array(store, f"{run.identity}/logits-{name}.npy", logits)
    result = {"role": run.role, "network": run.network, "config": run.config.to_json(), "curves": history}
    store.write(f"{run.identity}/result.json", json.dumps(result).encode())


def _beginning(run: TrainingRun, store: Store, training: LabelledImages) -> nn.Module:
    """The network before its first step, with what is not trained frozen."""
    network = new_network(run.network, run.spec, len(training.classes), run.config.seed, run.network_settings)
    if run.start:
        network.load_state_dict(read_state(store, run.start))
    if run.config.trainable != "all":
        head, _ = head_of(network, run.spec.normalise(training.images[:2]))
        freeze(network, run.config.trainable, head)
    return network


def _student_data(
    run: TrainingRun, config: TrainingConfig, splits: Mapping[str, LabelledImages], store: Store
) -> Generator[TrainingProgress, None, StudentData]:
    """What a run is trained on: the training split, or a transfer set, with the teacher's logits."""
    data = StudentData(splits[Split.TRAIN], splits[Split.VALIDATION])
    if not run.teacher:
        return data
    if config.has_own_pictures:
        n_classes = len(data.training.classes)
        source = TransferSource(
            lambda: _teacher(run, store, n_classes), run.teacher, run.spec, run.network, config, data.training
        )
        data = yield from transfer_data(source, store)
    if config.needs_live_teacher:
        return replace(data, logits=None)
    if config.has_own_pictures and not config.views:
        return data
    return replace(data, logits=_teacher_logits(run, store, data.training))


def _teacher_logits(run: TrainingRun, store: Store, training: LabelledImages) -> Tensor | list[Tensor]:
    if not run.config.views:
        return read_array(store, run.teacher)
    name, n_classes = run.teacher.removesuffix(".npy"), len(training.classes)
    return view_logits(lambda: _teacher(run, store, n_classes), name, training, run.spec.normalise, run.config, store)


def _teacher(run: TrainingRun, store: Store, classes: int) -> nn.Module:
    """The network whose logits are ``run.teacher``."""
    identity, _, file_name = run.teacher.partition("/")
    epoch = file_name.removesuffix(".npy").rpartition("-")[2]
    weights_name = snapshot_name(int(epoch)) if epoch.isdecimal() else "weights.safetensors"
    network = build_network(run.teacher_network, classes=classes, channels=run.spec.channels, size=run.spec.size)
    network.load_state_dict(read_state(store, f"{identity}/{weights_name}"))
    return network.eval().requires_grad_(False)


def _keep_snapshot(
    store: Store, run: TrainingRun, network: nn.Module, splits: Mapping[str, LabelledImages], epoch: int, device: str
) -> None:
    """Write the weights after an epoch and the logits of a network stopped there, unless they are kept already."""
    if has_snapshot(store, run, epoch):
        return  # the network, continued from a checkpoint, is already another one
    for name, samples in splits.items():
        # Logits of training samples only serve as targets; reported results must not depend on the machine's bfloat16.
        bf16 = run.config.bf16 if name == Split.TRAIN else "off"
        logits = predict_logits(network, samples, run.spec.normalise, device=device, bf16=bf16)
        write_array(store, f"{run.identity}/logits-{name}-{epoch:04d}.npy", logits)
    store.write(f"{run.identity}/{snapshot_name(epoch)}", weights_of(network))


def _curve(progress: TrainingProgress) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "train_loss": progress.loss,
        "train_accuracy": progress.accuracy,
        "validation_loss": progress.validation_loss,
        "validation_accuracy": progress.validation_accuracy,
        "temperature": progress.temperature,
        "alpha": progress.alpha,
        "seconds": round(progress.seconds_of_epoch, 3),
    }


def run_in_worker(
    run: TrainingRun, splits: Mapping[str, LabelledImages], results: str, device: str, threads: int
) -> Iterator[TrainingProgress]:
    """:func:`execute_run`, with the URL of the store, for a worker process."""
    return execute_run(run, splits, Store(results), device, threads)


__getattr__ = renamed(__name__, {"perform": "execute_run", "work": "run_in_worker"})
