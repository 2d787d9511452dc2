"""Sentences on tensors that are no network's, or not surely one's: what is the matter, and what can be done."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

import torch

from kdviz.errors import ModelError
from kdviz.identify.fits import Fit, Misfit, Shape
from kdviz.identify.index import Index

_OWN_CODE = "give its code (code=FILE.py:NAME, with --trust), or export it as ONNX"
_SHOWN = 3  # names in a sentence


def no_fit(
    fits: Sequence[Fit], misfits: Sequence[Misfit], network: str | None, fitting: Callable[[], str | None]
) -> ModelError:
    """Why no network fits.

    Args:
        fits: Those that would, but for tensors that they do not have.
        misfits: Those that nearly do.
        network: The only one that was looked for, if one was.
        fitting: Says which network fits instead; only asked where ``network`` is given and does not fit.
    """
    if fits:
        return _with_more(max(fits, key=lambda fit: fit.matched))
    headless = [misfit for misfit in misfits if misfit.head]
    if headless:
        return _headless(max(headless, key=lambda misfit: misfit.matched))
    nearest = max(misfits, key=lambda misfit: misfit.matched, default=None)
    if network is not None:
        instead = fitting()
        way_out = f"they fit {instead}: name that instead" if instead else f"check the name, or {_OWN_CODE}"
        difference = "" if nearest is None else f": {_difference(nearest)}"
        return ModelError(f"The weights are not those of {network}{difference}; {way_out}.")
    if nearest is None or not nearest.matched:
        return ModelError(f"No network of torchvision, timm or kdviz has such tensors; {_OWN_CODE}.")
    return ModelError(
        f"No network of torchvision, timm or kdviz has these tensors; the nearest is {nearest.entry.network}, but "
        f"{_difference(nearest)}; {_OWN_CODE}."
    )


def _with_more(fit: Fit) -> ModelError:
    if fit.inside:
        more, way_out = fit.inside, _OWN_CODE
    else:
        more, way_out = fit.strange, f"{_OWN_CODE}, or name the network to leave these out"
    return ModelError(
        f"The weights are those of {fit.entry.network} with more layers ({_listed(more)}), whose computing is not "
        f"known; {way_out}."
    )


def _headless(misfit: Misfit) -> ModelError:
    other = [name for name in misfit.extra if name.split(".")[-1] in ("weight", "bias")]
    network, head = misfit.entry.network, _listed(misfit.head)
    if not other:
        return ModelError(
            f"The weights are those of {network} without its classifier ({head}), so that there are no classes; give "
            "the weights of a whole classifier."
        )
    return ModelError(
        f"The weights are those of {network} with a head of their own ({_listed(other)} instead of {head}), whose "
        f"computing is not known; {_OWN_CODE}."
    )


def _difference(misfit: Misfit) -> str:
    name = f"{misfit.prefix}{misfit.tensor}"
    if misfit.given is None:
        return f"'{name}' {misfit.wanted} is missing"
    return f"'{name}' is {misfit.given} instead of {misfit.wanted}"


def several(networks: Mapping[str, str]) -> ModelError:
    """Several parts of the file are networks.

    Args:
        networks: Prefix -> network.
    """
    listed = ", ".join(f"'{prefix}' ({network})" for prefix, network in networks.items())
    return ModelError(f"The file holds several networks: {listed}; say which is meant: prefix=NAME.")


def unknown(index: Index, network: str) -> ModelError:
    """No network has the name."""
    close = difflib.get_close_matches(network.lower(), index.by_name, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return ModelError(
        f"Neither torchvision nor timm nor kdviz has a classifier '{network}'.{hint} Leave the name out to have the "
        f"network found from the weights, or {_OWN_CODE}."
    )


def require_floats(dtypes: Mapping[str, torch.dtype], prefix: str) -> None:
    """Refuse weights that are whole numbers.

    Raises:
        ModelError: Some are.
    """
    leaves = ("weight", "bias")
    whole = [
        name
        for name, dtype in dtypes.items()
        if name.startswith(prefix) and name.rpartition(".")[2] in leaves and not dtype.is_floating_point
    ]
    if whole:
        raise ModelError(
            f"'{whole[0]}' holds {str(dtypes[whole[0]]).removeprefix('torch.')} numbers, as a quantised model's; give "
            "the weights before quantisation, or export the quantised model as ONNX."
        )


def tops(shapes: Mapping[str, Shape]) -> str:
    """How the names start."""
    starts = list(dict.fromkeys(name.partition(".")[0] for name in shapes))
    return f"they start with {_listed(starts)}"


def notes(fit: Fit) -> tuple[str, ...]:
    """What was taken for granted, a sentence each."""
    said = []
    if fit.entry.settings.get("transform_input"):
        said.append(
            f"{fit.entry.network} is taken to normalise its input anew (transform_input), as those do that start from "
            "torchvision's weights."
        )
    if fit.renamed:
        said.append(f"The layer '{next(iter(fit.renamed.values())).rpartition('.')[0]}' is taken to be the classifier.")
    return tuple(said)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"{name!r:.80}" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
