"""Federated distillation: FedMD (Li and Wang, 2019), beside the same clients alone and one model of all their data.

::

    <store>/federated/<identity>/client-00-round-00.safetensors    weights of a client after a round
    <store>/federated/<identity>/client-00-round-00.npy            its logits of the public pictures, which it shares
    <store>/federated/<identity>/consensus-00.npy                  their mean, which all are sent

A client's step is a job, in this process or on Ray. Only logits of public pictures go from a client to the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.files import Store
from kdviz.core.jobs import run_local
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.distill import Stage, TrainingConfig, TrainingProgress, fit, predict_logits
from kdviz.distill.checks import check_seeds
from kdviz.distill.storage.run_files import new_network, read_array, read_state, write_array, write_weights
from kdviz.experiment import Experiment, InputSpec
from kdviz.studies.federated.report import ALONE, CENTRAL, FEDMD, LABEL, TABLE
from kdviz.studies.federated.shares import class_shares

SCHEMA = pa.schema(
    [
        ("seed", pa.int32()),
        ("method", pa.string()),
        ("client", pa.int32()),
        ("clients", pa.int32()),
        ("concentration", pa.float64()),
        ("rounds", pa.int32()),
        ("public", pa.int32()),
        ("private", pa.int32()),
        ("split", pa.string()),
        ("predicted", pa.list_(pa.int16())),
    ]
)
"""federated.parquet: one row a model, with the class that it says of each test sample; the method ``label`` has the
truth. ``private`` is the number of its labelled samples."""


@dataclass(frozen=True)
class ClientStep:
    """What one client does in one round: it learns from the consensus, if there is one, then from its own samples.

    Attributes:
        folder: Folder of the study in the store.
        client, round: Their numbers, from 0; the client alone has ``alone`` in its name.
        network: Name of its network.
        spec: Input of the network.
        config: The recipe of its own samples: ``epochs`` a round.
        digest: The recipe of the public pictures.
        samples: Indices of its samples in the training split.
        public: Indices of the public pictures there.
        alone: Whether it never sees a consensus.
    """

    folder: str
    client: int
    round: int
    network: str
    spec: InputSpec
    config: TrainingConfig
    digest: TrainingConfig
    samples: Sequence[int]
    public: Sequence[int]
    alone: bool = False

    @property
    def who(self) -> str:
        """The client, and whether it is alone."""
        return f"{'alone' if self.alone else 'client'}-{self.client:02d}"

    def name(self, number: int) -> str:
        """Start of the names of the files of a round."""
        return f"{self.folder}/{self.who}-round-{number:02d}"


def take_step(
    step: ClientStep, training: LabelledImages, url: str, device: str, threads: int
) -> Iterator[TrainingProgress]:
    """Do a client's step, unless it is done: a job for :func:`kdviz.core.jobs.run_local` or Ray."""
    store = Store(url)
    if store.has(f"{step.name(step.round)}.npy"):
        return
    if threads:
        torch.set_num_threads(threads)
    network = _network(step, store, len(training.classes))
    normalise = step.spec.normalise
    public = training.take(torch.tensor(list(step.public)))
    if step.round and not step.alone:
        consensus = read_array(store, f"{step.folder}/consensus-{step.round - 1:02d}.npy")
        told = replace(public, labels=consensus.argmax(1))
        yield from fit(network, told, told, normalise, replace(step.digest, device=device), consensus)
    own = training.take(torch.tensor(list(step.samples)))
    yield from fit(network, own, own, normalise, replace(step.config, device=device))
    write_weights(store, f"{step.name(step.round)}.safetensors", network)
    write_array(store, f"{step.name(step.round)}.npy", predict_logits(network, public, normalise, device=device))


def _network(step: ClientStep, store: Store, classes: int) -> nn.Module:
    """The client's network as its last round left it."""
    network = new_network(step.network, step.spec, classes, step.config.seed)
    if step.round:
        network.load_state_dict(read_state(store, f"{step.name(step.round - 1)}.safetensors"))
    return network


@dataclass(frozen=True)
class FederatedStudy:
    """FedMD among clients that have other shares of the classes.

    Args:
        experiment: Its KD student's network is every client's; the table is written to its folder.
        splits: ``train`` and ``test``.
        clients: Number of clients.
        concentration: Of the Dirichlet distribution of the clients' class shares: see :func:`class_shares`.
        rounds: Times that the consensus is formed; all clients have ``rounds`` + 1 trainings on their own samples.
        public: Number of training pictures that all see, whose labels nobody uses.
        private: Number of labelled samples of all clients together; 0: all that are left.
        seeds: Seeds of the shares, the weights and the order.
        config: The recipe of a client's own samples in a round; of temperature and alpha that of the public pictures.
        results: Folder for files, a path or an fsspec URL; default ``runs`` in the experiment's folder.
    """

    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    clients: int
    concentration: float
    rounds: int
    public: int
    private: int
    seeds: Sequence[int]
    config: TrainingConfig
    results: str | Path | None = None

    def __post_init__(self) -> None:
        if Role.KD_STUDENT not in self.experiment.runs:
            raise ExperimentError(
                "'{folder}' has no {role}, which a study needs.", folder=self.experiment.folder, role=Role.KD_STUDENT
            )
        check_seeds(self.seeds)
        if self.rounds < 1:
            raise SettingError("There must be at least one round, got {rounds}.", rounds=self.rounds)
        samples = len(self.splits[Split.TRAIN])
        if not 1 <= self.public < samples:
            raise SettingError(
                "The public pictures are taken from the {samples} for training, of which some must be left for the "
                "clients; got {public}. Set --public.",
                samples=samples,
                public=self.public,
            )

    @cached_property
    def store(self) -> Store:
        return Store(self.results or self.experiment.folder / "runs")

    def run(self, engine: Callable[..., Iterator[tuple[int, Any]]] = run_local, *, threads: int = 0) -> Iterator[Stage]:
        """Train all clients of all seeds, and write the table."""
        test = self.splits[Split.TEST]
        rows = [self._row(0, LABEL, -1, 0, test.labels.tolist())]
        for number, seed in enumerate(self.seeds):
            public, parts = self._parts(seed)
            for round_number in range(self.rounds + 1):
                steps = self._steps(seed, round_number, public, parts)
                shared = (self.splits[Split.TRAIN], self.store.url, self.config.device, threads)
                for index, progress in engine(take_step, steps, shared):
                    name = f"seed {seed}, round {round_number}, {steps[index].who}"
                    yield Stage(name, number * (self.rounds + 1) + round_number + 1, self._count, progress)
                self._write_consensus(steps)
            rows += self._rows(seed, public, parts, test)
        self.experiment.write_table(TABLE, pa.Table.from_pylist(rows, SCHEMA))

    @property
    def _count(self) -> int:
        return len(self.seeds) * (self.rounds + 1)

    def _parts(self, seed: int) -> tuple[list[int], list[list[int]]]:
        """Indices of the public pictures, and of each client's samples; the last part is that of all clients."""
        training = self.splits[Split.TRAIN]
        order = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))
        public, private = order[: self.public], order[self.public :]
        private = private[: self.private] if self.private else private
        labels = training.labels[private].numpy()
        parts = [private[part] for part in class_shares(labels, self.clients, self.concentration, seed)]
        return public.tolist(), [part.tolist() for part in (*parts, private)]

    def _steps(
        self, seed: int, round_number: int, public: Sequence[int], parts: Sequence[Sequence[int]]
    ) -> list[ClientStep]:
        """A round of all clients, of each alone, and of one that has all their samples."""
        network, spec = self.experiment.runs[Role.KD_STUDENT].network, self.experiment.input
        folder = f"federated/{self._identity(seed)}"
        steps = []
        for client, part in enumerate(parts):
            config = replace(self.config, seed=seed * 1_000 + client)
            digest = replace(config, alpha=1.0)
            central = client == self.clients
            ways = (True,) if central else (False, True)
            steps += [
                ClientStep(folder, client, round_number, network, spec, config, digest, part, public, alone)
                for alone in ways
            ]
        return steps

    def _write_consensus(self, steps: Sequence[ClientStep]) -> None:
        """The mean of the clients' logits of the public pictures."""
        logits = [read_array(self.store, f"{step.name(step.round)}.npy") for step in steps if not step.alone]
        write_array(self.store, f"{steps[0].folder}/consensus-{steps[0].round:02d}.npy", torch.stack(logits).mean(0))

    def _rows(
        self, seed: int, public: Sequence[int], parts: Sequence[Sequence[int]], test: LabelledImages
    ) -> list[dict[str, Any]]:
        rows = []
        for step in self._steps(seed, self.rounds + 1, public, parts):
            network = _network(step, self.store, len(test.classes))
            predicted = self._predicted(network, test)
            method = CENTRAL if step.client == self.clients else ALONE if step.alone else FEDMD
            rows.append(self._row(seed, method, step.client, len(step.samples), predicted.tolist()))
        return rows

    def _predicted(self, network: nn.Module, test: LabelledImages) -> Tensor:
        return predict_logits(network, test, self.experiment.input.normalise, device=self.config.device).argmax(1)

    def _row(self, seed: int, method: str, client: int, private: int, predicted: list[int]) -> dict[str, Any]:
        return {
            "seed": seed,
            "method": method,
            "client": client,
            "clients": self.clients,
            "concentration": self.concentration,
            "rounds": self.rounds,
            "public": self.public,
            "private": private,
            "split": "test",
            "predicted": predicted,
        }

    def _identity(self, seed: int) -> str:
        """A hash of all that decides the result."""
        run = self.experiment.runs[Role.KD_STUDENT]
        config = {name: value for name, value in self.config.to_json().items() if name not in ("device", "seed")}
        inputs = [run.network, self.experiment.input.to_json(), config, self.splits[Split.TRAIN].fingerprint]
        inputs += [self.clients, self.concentration, self.public, self.private, seed]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:16]
