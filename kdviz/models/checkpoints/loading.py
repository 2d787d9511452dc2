"""Weights into networks: all of a trained classifier's, or what fits for transfer learning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import Renormalised

_COUNTER = "num_batches_tracked"  # of a BatchNorm; old checkpoints lack it, and nothing depends on it


@dataclass(frozen=True)
class Loaded:
    """What :func:`load_pretrained` did; names are the network's.

    Attributes:
        loaded: Number of tensors that were copied.
        head: Tensors that were left fresh because they belong to the head.
        missing: Fresh, because the checkpoint lacks them.
        mismatched: Fresh, because their shape or kind is another in the checkpoint.
        unused: Names in the checkpoint that were not used, other than those of its head.
    """

    loaded: int
    head: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        rest = [
            f"{len(names)} {what} (first {names[0]!r:.100})"
            for names, what in (
                (self.missing, "not in the checkpoint"),
                (self.mismatched, "of another shape"),
                (self.unused, "in the checkpoint only"),
            )
            if names
        ]
        return f"{self.loaded} tensors loaded, {len(self.head)} of the head are fresh" + "".join(
            f", {text}" for text in rest
        )


def load_pretrained(network: nn.Module, state: Mapping[str, Tensor], *, head: str | tuple[str, ...]) -> Loaded:
    """Copy what fits of a checkpoint into a network, for transfer learning; the rest stays as it is.

    Args:
        network: A :class:`~kdviz.models.networks.Renormalised` one gets the tensors into its inner network.
        state: What :func:`read_checkpoint` or :func:`download_pretrained` gave.
        head: The part that is left fresh, by name: see :func:`classifier_head`.

    Raises:
        SettingError: The network has no such part.
        ModelError: Fewer than half of the network's tensors are in the checkpoint: it is another network's.
    """
    heads = (head,) if isinstance(head, str) else head
    own, state = network.state_dict(), _named_for(network, state)
    of_head = tuple(name for name in own if _is_part(name, heads))
    if not of_head:
        raise SettingError(f"The network has no part '{', '.join(heads)}'; its parts are {_parts(own)}.")
    body = [name for name in own if name not in of_head]
    missing = tuple(name for name in body if name not in state and not name.endswith(_COUNTER))
    mismatched = tuple(name for name in body if name in state and not _is_alike(own[name], state[name]))
    fitting = {name: state[name] for name in body if name in state and name not in mismatched}
    wanted, found = (sum(not name.endswith(_COUNTER) for name in names) for names in (body, fitting))
    if found < wanted / 2:
        raise ModelError(
            f"Only {found} of the network's {wanted} tensors are in the checkpoint with the same name and shape; it is "
            "another network's: check the name of the network."
        )
    network.load_state_dict(fitting, strict=False)
    unused = tuple(name for name in state if name not in own and not _is_part(name, heads))
    return Loaded(len(fitting), of_head, missing, mismatched, unused)


def load_trained(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a trained classifier's checkpoint into its network: all of it must fit.

    Args:
        network: A :class:`~kdviz.models.networks.Renormalised` one takes a checkpoint of its inner network, too.
        state: What :func:`read_checkpoint` gave.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape, or the classes are not as many.
    """
    own, state = network.state_dict(), _named_for(network, state)
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in own]
    mismatched = [name for name in own if name in state and not _is_alike(own[name], state[name])]
    if mismatched and not missing and not unexpected:
        _require_classes(network, state, mismatched)
    problems = [
        f"{len(names)} {what} (first {names[0]!r:.100})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (mismatched, "of another shape"))
        if names
    ]
    if problems:
        raise ModelError(
            f"The checkpoint does not fit the network: of its tensors {', '.join(problems)}; check the network's name "
            "and input size."
        )
    network.load_state_dict(dict(state), strict=False)


def _require_classes(network: nn.Module, state: Mapping[str, Tensor], mismatched: Iterable[str]) -> None:
    """Say so if the number of classes is all that differs."""
    own, head = network.state_dict(), classifier_head(network)
    pairs = [(own[name].shape, state[name].shape) for name in mismatched if _is_part(name, head)]
    counts = {(mine[:1], given[:1]) for mine, given in pairs if mine[1:] == given[1:]}
    if len(pairs) == len(list(mismatched)) and len(counts) == 1:
        ((mine, given),) = counts
        raise ModelError(
            f"The checkpoint is of a classifier of {given[0]} classes, and here there are {mine[0]}; "
            "use it as pretrained weights, or train one of these classes."
        )


def classifier_head(network: nn.Module) -> tuple[str, ...]:
    """The names of the part that gives the logits: as timm says of its networks, or the last layer with weights.

    Raises:
        SettingError: The network has no weights.
    """
    if isinstance(network, Renormalised):
        return tuple(f"network.{name}" for name in classifier_head(network.network))
    described = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    names = (described,) if isinstance(described, str) else tuple(described)
    if names:
        return names
    layers = [
        name for name, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    if not layers:
        raise SettingError(f"The network {type(network).__name__} has no weights, so that none can be loaded.")
    return (layers[-1],)


def _named_for(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint under the network's names: of a renormalised one's inner network, if it is one of that."""
    if not isinstance(network, Renormalised) or {"scale", "shift"} <= state.keys():
        return dict(state)
    inner = {f"network.{name}": tensor for name, tensor in state.items()}
    return {"scale": network.scale, "shift": network.shift, **inner}


def _is_part(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _is_alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _parts(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
