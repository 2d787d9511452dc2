"""Messages about tensors that fit no network, or none for certain: the reason, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

import torch

from kdviz.core.errors import ModelError
from kdviz.core.language import _
from kdviz.models.identify.fits import Fit, Misfit, Shape
from kdviz.models.identify.index import Index

_OWN_CODE = "give its code (code=FILE.py:NAME, with --trust), or export it as ONNX"
_SHOWN = 3  # names in a sentence


def no_fit(
    fits: Sequence[Fit], misfits: Sequence[Misfit], network: str | None, find_fitting: Callable[[], str | None]
) -> ModelError:
    """The error that says why no network fits.

    Args:
        fits: Networks that would fit if the file had no further tensors.
        misfits: Networks that nearly fit.
        network: The only network that was tried, if one was given.
        find_fitting: Returns the network that fits instead; only called if ``network`` is given and does not fit.
    """
    if fits:
        return _with_more(max(fits, key=lambda fit: fit.matched))
    headless = [misfit for misfit in misfits if misfit.head]
    if headless:
        return _headless(max(headless, key=lambda misfit: misfit.matched))
    nearest = max(misfits, key=lambda misfit: misfit.matched, default=None)
    if network is not None and nearest is not None:
        return _not_this(nearest, network, find_fitting())
    if nearest is None or not nearest.matched:
        return ModelError(
            "No network of torchvision, timm or kdviz has such tensors; give its code "
            "(code=FILE.py:NAME, with --trust), or export it as ONNX."
        )
    tensor, expected, actual = _difference(nearest)
    return ModelError(
        "No network of torchvision, timm or kdviz has these tensors; the nearest is {network}, where "
        "'{tensor}' is {expected}, in the file {actual}; give its code (code=FILE.py:NAME, with "
        "--trust), or export it as ONNX.",
        network=nearest.entry.network,
        tensor=tensor,
        expected=expected,
        actual=actual,
    )


def _not_this(nearest: Misfit, network: str, fitting: str | None) -> ModelError:
    tensor, expected, actual = _difference(nearest)
    if fitting is None:
        return ModelError(
            "The weights are not those of {network}, where '{tensor}' is {expected}, in the file "
            "{actual}; check the name, or give its code (code=FILE.py:NAME, with --trust), or export "
            "it as ONNX.",
            network=network,
            tensor=tensor,
            expected=expected,
            actual=actual,
        )
    return ModelError(
        "The weights are not those of {network}, where '{tensor}' is {expected}, in the file "
        "{actual}; they fit {fitting}: name that instead.",
        network=network,
        tensor=tensor,
        expected=expected,
        actual=actual,
        fitting=fitting,
    )


def _difference(misfit: Misfit) -> tuple[str, str, str]:
    """The first tensor that differs, its shape in the network, and its shape in the file."""
    return f"{misfit.prefix}{misfit.tensor}", misfit.expected, "absent" if misfit.actual is None else f"{misfit.actual}"


def _with_more(fit: Fit) -> ModelError:
    if fit.unexplained_inside:
        return ModelError(
            "The weights are those of {network} with more layers ({listed}), whose computing is not "
            "known; give its code (code=FILE.py:NAME, with --trust), or export it as ONNX.",
            network=fit.entry.network,
            listed=_listed(fit.unexplained_inside),
        )
    return ModelError(
        "The weights are those of {network} with more layers ({listed}), whose computing is not "
        "known; give its code (code=FILE.py:NAME, with --trust), or export it as ONNX, or leave these "
        "out with 'prefix={prefix}'.",
        network=fit.entry.network,
        listed=_listed(fit.unexplained),
        prefix=fit.prefix,
    )


def part_of_more(fit: Fit, around: Sequence[str]) -> ModelError:
    """The error for a network that may be only a part of a larger one.

    Args:
        fit: The network.
        around: Names of the file's other tensors.
    """
    return ModelError(
        "The weights below '{prefix}' are those of {network}, but others are around it ({listed}), "
        "whose computing is not known; leave these out with 'prefix={prefix}', or give its code "
        "(code=FILE.py:NAME, with --trust), or export it as ONNX.",
        prefix=fit.prefix,
        network=fit.entry.network,
        listed=_listed(around),
    )


def _headless(misfit: Misfit) -> ModelError:
    own_head = [name for name in misfit.extra if name.split(".")[-1] in ("weight", "bias")]
    network, head = misfit.entry.network, _listed(misfit.head)
    if not own_head:
        return ModelError(
            "The weights are those of {network} without its classifier ({head}), so that there are no "
            "classes; give the weights of a whole classifier.",
            network=network,
            head=head,
        )
    return ModelError(
        "The weights are those of {network} with a head of their own ({listed} instead of {head}), "
        "whose computing is not known; give its code (code=FILE.py:NAME, with --trust), or export it "
        "as ONNX.",
        network=network,
        listed=_listed(own_head),
        head=head,
    )


def several(networks: Mapping[str, str]) -> ModelError:
    """The error for a file of which several parts are networks.

    Args:
        networks: Prefix -> network.
    """
    listed = ", ".join(f"'{prefix}' ({network})" for prefix, network in networks.items())
    return ModelError("The file holds several networks: {listed}; say which is meant: prefix=NAME.", listed=listed)


def unknown(index: Index, network: str) -> ModelError:
    """The error for a name that no network has."""
    close = difflib.get_close_matches(network.lower(), index.by_name, n=1, cutoff=0.5)
    if close:
        return ModelError(
            "Neither torchvision nor timm nor kdviz has a classifier '{network}'. Did you mean "
            "'{close}'? Without a name the network is found from the weights.",
            network=network,
            close=close[0],
        )
    return ModelError(
        "Neither torchvision nor timm nor kdviz has a classifier '{network}'. Leave the name out to "
        "have the network found from the weights, or give its code (code=FILE.py:NAME, with --trust), "
        "or export it as ONNX.",
        network=network,
    )


def require_floats(dtypes: Mapping[str, torch.dtype], prefix: str) -> None:
    """Refuse integer weights.

    Raises:
        ModelError: Some weights are integers.
    """
    leaves = ("weight", "bias")
    integers = [
        name
        for name, dtype in dtypes.items()
        if name.startswith(prefix) and name.rpartition(".")[2] in leaves and not dtype.is_floating_point
    ]
    if integers:
        raise ModelError(
            "'{integers}' holds {dtypes} numbers, as a quantised model's; give the weights before "
            "quantisation, or export the quantised model as ONNX.",
            integers=integers[0],
            dtypes=str(dtypes[integers[0]]).removeprefix("torch."),
        )


def no_such_prefix(prefix: str, shapes: Mapping[str, Shape]) -> ModelError:
    """The error for a prefix with which no name starts."""
    starts = list(dict.fromkeys(name.partition(".")[0] for name in shapes))
    return ModelError(
        "No tensor's name in the file starts with '{prefix}'; they start with {listed}.",
        prefix=prefix,
        listed=_listed(starts),
    )


def notes(fit: Fit) -> tuple[str, ...]:
    """The assumptions about a fit, one sentence each."""
    sentences = []
    if fit.entry.settings.get("transform_input"):
        sentences.append(
            _(
                "{network} is taken to normalise its input anew (transform_input), as those do that start from "
                "torchvision's weights.",
                network=fit.entry.network,
            )
        )
    if fit.renamed:
        layer = next(iter(fit.renamed.values())).rpartition(".")[0]
        sentences.append(_("The layer '{layer}' is taken to be the classifier.", layer=layer))
    return tuple(sentences)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"{name!r:.80}" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
