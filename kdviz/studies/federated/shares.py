"""How the training samples are dealt out to clients."""

from __future__ import annotations

import numpy as np

from kdviz.core.errors import SettingError

LEAST, MOST = 1e-3, 1e6
"""Concentrations: beyond them all is given to one client, or all have the same."""
FEWEST = 10
"""Samples that each client has at least."""

_TRIES = 1_000


def class_shares(labels: np.ndarray, clients: int, concentration: float, seed: int) -> list[np.ndarray]:
    """Indices of each client's samples: each class is dealt out by shares from a Dirichlet distribution.

    As Hsu, Qi and Brown (2019, section 3), but drawn for each class, as Li et al. (2022, "Federated learning on non-IID
    data silos", section 4.1) do: all samples are used. A small concentration gives clients few classes each, a large
    one gives all the same. Drawn again until each client has 10 samples.

    Args:
        labels: int (samples,).
        clients: Number of clients, at least 2.
        concentration: Of the Dirichlet distribution, from 0.001 to 1,000,000.
        seed: Seed of all chance.

    Raises:
        SettingError: There are too few samples or clients.
    """
    if clients < 2 or not LEAST <= concentration <= MOST or len(labels) < 2 * FEWEST * clients:
        raise SettingError(
            "{samples} samples cannot be dealt out to {clients} clients with a concentration of {concentration:g}; "
            "there must be at least 2 clients with 20 samples each, and a concentration from {least:g} to {most:g}.",
            samples=len(labels),
            clients=clients,
            concentration=concentration,
            least=LEAST,
            most=MOST,
        )
    rng = np.random.default_rng(seed)
    for _ in range(_TRIES):
        parts = _dealt(labels, clients, concentration, rng)
        if min(map(len, parts)) >= FEWEST:
            return parts
    raise SettingError(
        "With a concentration of {concentration:g} some client has no samples; make it larger.",
        concentration=concentration,
    )


def _dealt(labels: np.ndarray, clients: int, concentration: float, rng: np.random.Generator) -> list[np.ndarray]:
    parts: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = (np.cumsum(rng.dirichlet([concentration] * clients))[:-1] * len(members)).round().astype(int)
        for part, dealt in zip(parts, np.split(members, ends), strict=True):
            part.append(dealt)
    return [np.sort(np.concatenate(part)) for part in parts]
