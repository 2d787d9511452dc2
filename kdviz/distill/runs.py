"""A training as a piece of work with an identity: done once, continued where it was killed, the same anywhere.

::

    <store>/<identity>/
      checkpoint.pt             while it is under way, or can be prolonged: the state after its last epoch
      epoch-0003.safetensors    weights after an epoch that was asked for
      weights.safetensors       of the best epoch
      logits-<split>.npy        float32 (N, classes), of every split that is measured
      result.json               last of all: what was trained, and its curves
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.errors import KdvizError
from kdviz.core.files import Store
from kdviz.core.moved import renamed
from kdviz.data import LabelledImages
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.distill.objectives.layers import head_of
from kdviz.distill.objectives.losses import teacher_losses
from kdviz.distill.objectives.objective import freeze
from kdviz.distill.training import Progress, fit, predict_logits
from kdviz.experiment import InputSpec
from kdviz.models.networks import build_network

_ALWAYS = ("epochs", "batch_size", "learning_rate", "seed")
_NEVER = ("device",)  # where it runs is not what it is


@dataclass(frozen=True)
class TrainingRun:
    """One training of a study.

    Attributes:
        role: ``teacher``, ``kd_student`` or ``student``.
        network: By name.
        config: The recipe.
        data: The fingerprint of the data.
        spec: Of the network's input.
        teacher: Of a KD student: the name of its teacher's answers in the store, as :func:`teacher_key` gives it.
        snapshots: Epochs after which the weights are kept, and the answers of a network that was stopped there.
        teacher_network: By name, where the recipe needs a teacher that answers in every step; its weights are in the
            store, beside its answers.
        start: The name in the store of the weights that it begins with; empty: fresh ones, from the seed.

    A run with snapshots and without a teacher can be prolonged: more epochs and other snapshots are the same run, and
    what it has of them already is not done again.
    """

    role: str
    network: str
    config: TrainingConfig
    data: str
    spec: InputSpec
    teacher: str = ""
    snapshots: tuple[int, ...] = ()
    teacher_network: str = ""
    start: str = ""

    @cached_property
    def identity(self) -> str:
        """A hash of everything that decides the result, and of nothing else.

        Settings that have their default are left out, so that a setting added later renames no run; so are those of
        distillation when there is no teacher.
        """
        everything: dict[str, Any] = {
            "network": self.network,
            "data": self.data,
            "input": self.spec.to_json(),
            "teacher": self.teacher,
            "snapshots": bool(self.snapshots) if self.can_be_prolonged else self.snapshots,
            "settings": self._settings(),
        }
        if self.start:
            everything["start"] = self.start
        text = json.dumps(everything, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def can_be_prolonged(self) -> bool:
        return bool(self.snapshots) and not self.teacher  # the schedules of a distillation depend on its length

    def _settings(self) -> dict[str, Any]:
        default = TrainingConfig()
        always = _ALWAYS + (("temperature", "alpha", "loss") if self.teacher else ())
        never = (*_NEVER, *(() if self.teacher else TEACHER_SETTINGS), *(("epochs",) if self.can_be_prolonged else ()))
        settings = {}
        for one in fields(self.config):
            value = _canonical(getattr(self.config, one.name), getattr(default, one.name))
            if one.name == "loss_options":  # those at the loss's own defaults say nothing
                known = teacher_losses[self.config.loss].options
                value = {name: number for name, number in value.items() if number != known[name]}
            if one.name not in never and (one.name in always or value != getattr(default, one.name)):
                settings[one.name] = value
        return settings


def _canonical(value: Any, default: Any) -> Any:
    """One form for what means the same: 4 and 4.0, where numbers need not be whole."""
    if isinstance(value, Mapping):
        return {name: float(number) for name, number in value.items()}
    if isinstance(default, tuple):
        return tuple(float(number) for number in value)
    return float(value) if isinstance(default, float) and isinstance(value, int) else value


def data_fingerprint(splits: Mapping[str, LabelledImages]) -> str:
    """Of all splits together; see :attr:`kdviz.data.LabelledImages.fingerprint`."""
    parts = "".join(f"{name}:{samples.fingerprint};" for name, samples in sorted(splits.items()))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def teacher_key(identity: str, epoch: int | None = None) -> str:
    """The name under which a teacher's answers to the training samples are in the store.

    Args:
        identity: Of the run that trained it, or the start of its weights' SHA-256.
        epoch: After which it was stopped; None: its best.
    """
    return f"{identity}/logits-train.npy" if epoch is None else f"{identity}/logits-train-{epoch:04d}.npy"


# in the store ---------------------------------------------------------------------------------------------------------


def write_array(store: Store, name: str, values: Tensor) -> None:
    """Write a tensor as a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, values.detach().cpu().numpy(), allow_pickle=False)
    store.write(name, buffer.getvalue())


def read_array(store: Store, name: str) -> Tensor:
    """Read what :func:`write_array` wrote.

    Raises:
        KdvizError: It is missing or damaged.
    """
    content = _content(store, name)
    try:
        return torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise KdvizError(f"'{name}' in '{store.url}' is damaged; remove it and run the study again.") from error


class NamedCheckpoint:
    """A training's state in a store, under a name; one that is damaged counts as none."""

    def __init__(self, store: Store, name: str):
        self._store, self._name = store, name

    def load(self) -> dict[str, Any] | None:
        content = self._store.read(self._name)
        if content is None:
            return None
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            int(state["epoch"])
        except Exception:  # torch.load has many ways to say that a file is damaged
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._store.write(self._name, buffer.getvalue())

    def remove(self) -> None:
        self._store.remove(self._name)


class StoredCheckpoint(NamedCheckpoint):
    """That of a run of a study; one that is beyond a snapshot that is missing counts as none, too."""

    def __init__(self, store: Store, run: TrainingRun):
        super().__init__(store, f"{run.identity}/checkpoint.pt")
        self._run = run

    def load(self) -> dict[str, Any] | None:
        state = super().load()
        if state is None:
            return None
        passed = [epoch for epoch in self._run.snapshots if epoch <= state["epoch"]]
        return state if all(has_snapshot(self._store, self._run, epoch) for epoch in passed) else None


def read_result(store: Store, identity: str) -> dict[str, Any] | None:
    """What result.json says of a finished run, or None."""
    content = store.read(f"{identity}/result.json")
    if content is None:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def is_finished(store: Store, run: TrainingRun) -> bool:
    """Whether nothing is left of a run."""
    result = read_result(store, run.identity)
    if result is None:
        return False
    return len(result["curves"]) >= run.config.epochs and all(has_snapshot(store, run, one) for one in run.snapshots)


def has_snapshot(store: Store, run: TrainingRun, epoch: int) -> bool:
    """Whether the weights and answers after an epoch are kept; the weights are written last."""
    return store.has(f"{run.identity}/{_snapshot(epoch)}")


def read_weights(store: Store, run: TrainingRun, classes: int, epoch: int | None = None) -> nn.Module:
    """The trained network of a finished run, or as it was after ``epoch``.

    Raises:
        KdvizError: The weights are missing.
    """
    name = f"{run.identity}/" + ("weights.safetensors" if epoch is None else _snapshot(epoch))
    content = store.read(name)
    if content is None:
        raise KdvizError(f"'{name}' is missing from '{store.url}'; run the study again.")
    network = build_network(run.network, classes=classes, channels=run.spec.channels, size=run.spec.size)
    network.load_state_dict(load_safetensors(content))
    return network.eval().requires_grad_(False)


def write_weights(store: Store, name: str, network: nn.Module) -> None:
    """Write a network's weights as safetensors."""
    store.write(name, weights_of(network))


def _snapshot(epoch: int) -> str:
    return f"epoch-{epoch:04d}.safetensors"


def weights_of(network: nn.Module) -> bytes:
    """A network's weights as the content of a safetensors file."""
    return save_safetensors({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()})


# the work -------------------------------------------------------------------------------------------------------------


def execute_run(
    run: TrainingRun, splits: Mapping[str, LabelledImages], store: Store, device: str = "auto", threads: int = 0
) -> Iterator[Progress]:
    """Do one run, or what is left of it, and yield its progress; a finished run yields nothing.

    A kill at any moment loses at most the epoch that was under way: result.json is written last.

    Args:
        run: What to do.
        splits: ``train``, ``validation``, and others that are measured.
        store: Where its files go.
        device: A torch device, or ``auto``.
        threads: Of torch; 0 leaves them. Results depend on their number in the last digits.

    Raises:
        KdvizError: See :func:`kdviz.distill.fit`; or the store fails.
    """
    if is_finished(store, run):
        return
    if threads:
        torch.set_num_threads(threads)
    training, normalise = splits["train"], run.spec.normalise
    network = _beginning(run, store, splits)
    live = bool(run.teacher) and run.config.needs_live_teacher
    soft = read_array(store, run.teacher) if run.teacher and not live else None
    teachers = [_teacher(run, store, len(training.classes))] if live else []
    checkpoint = StoredCheckpoint(store, run)
    history = []
    steps = fit(
        network,
        training,
        splits["validation"],
        normalise,
        replace(run.config, device=device),
        soft,
        teachers=teachers,
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
    """The weights, the answers, and last of all what says that they are complete."""
    write_weights(store, f"{run.identity}/weights.safetensors", network)
    for name, samples in splits.items():
        if name != "train":
            logits = predict_logits(network, samples, run.spec.normalise, device=device)
            write_array(store, f"{run.identity}/logits-{name}.npy", logits)
    result = {"role": run.role, "network": run.network, "config": run.config.to_json(), "curves": history}
    store.write(f"{run.identity}/result.json", json.dumps(result).encode())


def _beginning(run: TrainingRun, store: Store, splits: Mapping[str, LabelledImages]) -> nn.Module:
    """The network before its first step, with what is not trained frozen."""
    training = splits["train"]
    network = new_network(run.network, run.spec, len(training.classes), run.config.seed)
    if run.start:
        network.load_state_dict(load_safetensors(_content(store, run.start)))
    if run.config.unfreeze != "all":
        head, _ = head_of(network, run.spec.normalise(training.images[:2]))
        freeze(network, run.config.unfreeze, head)
    return network


def _teacher(run: TrainingRun, store: Store, classes: int) -> nn.Module:
    """The network behind the answers ``run.teacher``."""
    identity, _, answers = run.teacher.partition("/")
    epoch = answers.removesuffix(".npy").rpartition("-")[2]
    file = _snapshot(int(epoch)) if epoch.isdecimal() else "weights.safetensors"
    network = build_network(run.teacher_network, classes=classes, channels=run.spec.channels, size=run.spec.size)
    network.load_state_dict(load_safetensors(_content(store, f"{identity}/{file}")))
    return network.eval().requires_grad_(False)


def _content(store: Store, name: str) -> bytes:
    content = store.read(name)
    if content is None:
        raise KdvizError(f"'{name}' is missing from '{store.url}'; all machines must see the same folder of results.")
    return content


def _keep_snapshot(
    store: Store, run: TrainingRun, network: nn.Module, splits: Mapping[str, LabelledImages], epoch: int, device: str
) -> None:
    """The weights after an epoch and the answers of a network that was stopped there, unless they are kept already."""
    if has_snapshot(store, run, epoch):
        return  # and the network, continued from a checkpoint, is another by now
    for name, samples in splits.items():
        # The training samples' are only taught; what is reported must not depend on the machine's bfloat16.
        bf16 = run.config.bf16 if name == "train" else "off"
        logits = predict_logits(network, samples, run.spec.normalise, device=device, bf16=bf16)
        write_array(store, f"{run.identity}/logits-{name}-{epoch:04d}.npy", logits)
    store.write(f"{run.identity}/{_snapshot(epoch)}", weights_of(network))


def _curve(progress: Progress) -> dict[str, Any]:
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


def new_network(name: str, spec: InputSpec, classes: int, seed: int) -> nn.Module:
    """A network whose initial weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(name, classes=classes, channels=spec.channels, size=spec.size)


def work(
    run: TrainingRun, splits: Mapping[str, LabelledImages], results: str, device: str, threads: int
) -> Iterator[Progress]:
    """:func:`execute_run`, with the store by its URL: what is sent to another process."""
    return execute_run(run, splits, Store(results), device, threads)


__getattr__ = renamed(__name__, {"perform": "execute_run"})
