"""Loading of weights into networks: all of a trained classifier's, or those that fit for transfer learning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import Renormalised

_COUNTER = "num_batches_tracked"  # buffer of a BatchNorm; old checkpoints lack it, and nothing depends on it


@dataclass(frozen=True)
class Loaded:
    """Result of :func:`load_pretrained`; names are the network's.

    Attributes:
        loaded: Number of tensors that were copied.
        head: Tensors left fresh because they belong to the head.
        missing: Tensors left fresh because the checkpoint lacks them.
        mismatched: Tensors left fresh because their shape or type differs in the checkpoint.
        unused: Names in the checkpoint that were not used, without those of its head.
    """

    loaded: int
    head: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        differences = [
            f"{len(names)} {problem} (first {names[0]!r:.100})"
            for names, problem in (
                (self.missing, "not in the checkpoint"),
                (self.mismatched, "of another shape"),
                (self.unused, "in the checkpoint only"),
            )
            if names
        ]
        return f"{self.loaded} tensors loaded, {len(self.head)} of the head are fresh" + "".join(
            f", {text}" for text in differences
        )


def load_pretrained(network: nn.Module, state: Mapping[str, Tensor], *, head: str | tuple[str, ...]) -> Loaded:
    """Copy the tensors of a checkpoint that fit into a network, for transfer learning; the others stay as they are.

    Args:
        network: The network; for a :class:`~kdviz.models.networks.Renormalised` one, its inner network is loaded.
        state: Tensors, as :func:`read_checkpoint` or :func:`download_pretrained` return them.
        head: Name of the part that is left fresh: see :func:`classifier_head`.

    Raises:
        SettingError: The network has no such part.
        ModelError: Fewer than half of the network's tensors are in the checkpoint, so it is another network's.
    """
    heads = (head,) if isinstance(head, str) else head
    network_state, state = network.state_dict(), _with_network_names(network, state)
    head_names = tuple(name for name in network_state if _is_part(name, heads))
    if not head_names:
        raise SettingError(
            "The network has no part '{heads}'; its parts are {parts}.",
            heads=", ".join(heads),
            parts=_parts(network_state),
        )
    body = [name for name in network_state if name not in head_names]
    missing = tuple(name for name in body if name not in state and not name.endswith(_COUNTER))
    mismatched = tuple(name for name in body if name in state and not _is_alike(network_state[name], state[name]))
    matching = {name: state[name] for name in body if name in state and name not in mismatched}
    expected, available = (sum(not name.endswith(_COUNTER) for name in names) for names in (body, matching))
    if available < expected / 2:
        raise ModelError(
            "Only {available} of the network's {expected} tensors are in the checkpoint with the same "
            "name and shape; it is another network's: check the name of the network.",
            available=available,
            expected=expected,
        )
    network.load_state_dict(matching, strict=False)
    unused = tuple(name for name in state if name not in network_state and not _is_part(name, heads))
    return Loaded(len(matching), head_names, missing, mismatched, unused)


def load_trained(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a trained classifier's checkpoint into its network; all of it must fit.

    Args:
        network: The network; a :class:`~kdviz.models.networks.Renormalised` one also takes a checkpoint of its inner
            network.
        state: Tensors, as :func:`read_checkpoint` returns them.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape, or the number of classes differs.
    """
    network_state, state = network.state_dict(), _with_network_names(network, state)
    missing = [name for name in network_state if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in network_state]
    mismatched = [name for name in network_state if name in state and not _is_alike(network_state[name], state[name])]
    if mismatched and not missing and not unexpected:
        _require_classes(network, state, mismatched)
    problems = [
        f"{len(names)} {problem} (first {names[0]!r:.100})"
        for names, problem in ((missing, "missing"), (unexpected, "unexpected"), (mismatched, "of another shape"))
        if names
    ]
    if problems:
        raise ModelError(
            "The checkpoint does not fit the network: of its tensors {problems}; check the network's "
            "name and input size.",
            problems=", ".join(problems),
        )
    network.load_state_dict(dict(state), strict=False)


def _require_classes(network: nn.Module, state: Mapping[str, Tensor], mismatched: Iterable[str]) -> None:
    """Raise an error that names the number of classes if nothing else differs."""
    network_state, head = network.state_dict(), classifier_head(network)
    pairs = [(network_state[name].shape, state[name].shape) for name in mismatched if _is_part(name, head)]
    counts = {
        (network_shape[:1], checkpoint_shape[:1])
        for network_shape, checkpoint_shape in pairs
        if network_shape[1:] == checkpoint_shape[1:]
    }
    if len(pairs) == len(list(mismatched)) and len(counts) == 1:
        ((network_shape, checkpoint_shape),) = counts
        raise ModelError(
            "The checkpoint is of a classifier of {checkpoint_shape} classes, and here there are "
            "{network_shape}; use it as pretrained weights, or train one of these classes.",
            checkpoint_shape=checkpoint_shape[0],
            network_shape=network_shape[0],
        )


def classifier_head(network: nn.Module) -> tuple[str, ...]:
    """The names of the part that computes the logits: according to timm, or else the last layer with weights.

    Raises:
        SettingError: The network has no weights.
    """
    if isinstance(network, Renormalised):
        return tuple(f"network.{name}" for name in classifier_head(network.network))
    timm_names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    names = (timm_names,) if isinstance(timm_names, str) else tuple(timm_names)
    if names:
        return names
    layers = [
        name for name, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    if not layers:
        raise SettingError(
            "The network {name} has no weights, so that none can be loaded.", name=type(network).__name__
        )
    return (layers[-1],)


def _with_network_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint under the network's names, which differ if it is one of a renormalised network's inner network."""
    if not isinstance(network, Renormalised) or {"scale", "shift"} <= state.keys():
        return dict(state)
    inner = {f"network.{name}": tensor for name, tensor in state.items()}
    return {"scale": network.scale, "shift": network.shift, **inner}


def _is_part(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _is_alike(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and first.is_floating_point() == second.is_floating_point()


def _parts(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
