"""Models that are in memory as an experiment."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.errors import KdvizError, ModelError, SettingError
from kdviz.core.files import atomic_write
from kdviz.data.labels.class_names import read_classes
from kdviz.data.picture_files import PictureFiles, read_picture_files
from kdviz.experiment import ROLES, Experiment
from kdviz.experiment.run import Run, as_network
from kdviz.importing.assemble import assembled, beside, move_into_place, require_replaceable
from kdviz.importing.model import ImportedModel, import_model, tried_module
from kdviz.importing.spec import ModelSpec, checked_input, role_of
from kdviz.importing.trusted import as_onnx
from kdviz.models.identify import Match, identify, tensors_for
from kdviz.models.library_inputs import input_of
from kdviz.models.networks import ONNX, build_network
from kdviz.studies.predictions.file_evaluation import evaluate_files

Model = nn.Module | Callable[[Tensor], Any] | str | Path

_NOISE = 4  # pictures on which a copy must answer as the module does
_IN_MEMORY = "module"


def import_models(
    models: Mapping[str, Model],
    *,
    classes: str | Sequence[str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    title: str = "",
    trust: bool = False,
    device: str = "auto",
) -> Experiment:
    """An experiment of models that are in memory or in files.

    Args:
        models: Role -> a module (it is copied, in evaluation mode), a function from a batch (n, C, H, W) float32 to
            logits (n, classes), or the path of a checkpoint, an ONNX file or a folder of timm or transformers. Roles
            other than ``teacher``, ``kd_student`` and ``student`` are free titles.
        classes: Names, or a file with them; default: those of the data, or of the models.
        inputs: How a picture becomes an input: ``size``, ``resize``, ``crop``, ``interpolation``, ``mean``, ``std`` and
            ``channels``, for all models, or as a mapping from role to them. What is not said is found, or guessed.
        data: Pictures to measure on: see ``kdviz import --data``.
        out: Folder of the experiment, where modules are kept by the network that they are, or as ONNX files. None: a
            temporary folder, and modules stay in memory.
        title: Of the experiment.
        trust: Whether code in files may run.
        device: A torch device, or ``auto``.

    Raises:
        KdvizError: A model, a file or the data cannot be used; the text says what to do.
    """
    if not models:
        raise SettingError("import_models needs at least one model.")
    names = read_classes(classes) if classes is not None else None
    pictures = read_picture_files(data, classes=names) if data is not None else None
    if out is not None:
        require_replaceable(Path(out))
    given = _by_role(inputs or {}, models)
    with beside(Path(out)) if out is not None else _temporary() as folder:
        experiment = _experiment(models, folder, names, given, pictures, title or Path(out or "models").name, trust)
        if out is not None:
            keep_models(experiment)
            experiment.save()
        if pictures is not None:
            deque(evaluate_files(experiment, pictures, device), maxlen=0)
        if out is not None:
            move_into_place(folder, Path(out))
            _settle(experiment, Path(out))
    return experiment


def keep_models(experiment: Experiment) -> None:
    """Write the models that are in memory only into the experiment's folder.

    A module that is a network of torchvision, timm or kdviz, and answers as that does, is kept as its weights, any
    other as an ONNX file.

    Raises:
        ModelError: torch cannot export a model.
    """
    for run in experiment.models.values():
        if run.weights:
            continue
        match = _known_network(run)
        if match is None:
            data, ending = _exported(run), "onnx"
            run.network = ONNX
        else:
            data, ending = save_safetensors(_state(match, run.unadapted)), "safetensors"
            run.network, run.settings = match.network, dict(match.settings)
        run.sha256 = hashlib.sha256(data).hexdigest()
        run.weights = f"{run.role}-{run.sha256[:8]}.{ending}"
        atomic_write(experiment.folder / run.weights, data)


# the experiment -------------------------------------------------------------------------------------------------------


def _experiment(
    models: Mapping[str, Model],
    folder: Path,
    names: Any,
    given: Mapping[str, Mapping[str, Any]],
    pictures: PictureFiles | None,
    title: str,
    trust: bool,
) -> Experiment:
    count = len(names.names) if names is not None else len(pictures.classes) if pictures is not None else 0
    found: list[ImportedModel] = []
    modules: dict[str, nn.Module] = {}
    for shown, model in models.items():
        role = role_of(shown, [one.spec.role for one in found])
        path = Path(model) if isinstance(model, (str, Path)) else Path(shown)
        spec = ModelSpec(role, path, "" if shown == role else shown, given=given[shown])
        if isinstance(model, (str, Path)):
            found.append(import_model(spec, folder, count or None, trust=trust))
        else:
            module, imported = _in_memory(spec, model)
            modules[role] = module
            found.append(imported)
    wanted = names.names if names is not None and not names.aliases else ()
    experiment = assembled(folder, found, tuple(wanted), pictures, title, names.aliases if names is not None else {})
    for role, module in modules.items():
        experiment.runs[role].unadapted = module
    return experiment


def _in_memory(spec: ModelSpec, model: nn.Module | Callable[[Tensor], Any]) -> tuple[nn.Module, ImportedModel]:
    network = as_network(model)
    recorded = _said_by(model)
    channels = spec.given.get("channels") or _channels_of(network)
    own, source = input_of(ONNX, recorded_input=recorded, given=spec.given, settings={}, size=None, channels=channels)
    network = tried_module(network, spec.role, own)
    with torch.no_grad():
        shape = tuple(network(torch.zeros(_NOISE, own.channels, *own.size)).shape)
    if len(shape) != 2 or shape[0] != _NOISE:
        raise ModelError(f"The model '{spec.role}' must return logits of shape ({_NOISE}, classes), got {shape}.")
    names = _names_said_by(model, shape[1])
    name = type(model).__name__ if isinstance(model, nn.Module) else _IN_MEMORY
    return network, ImportedModel(spec, name, _IN_MEMORY, own, source, shape[1], names, {}, "", "")


def _said_by(model: Any) -> Mapping[str, Any]:
    """What a module of timm or transformers says of its input."""
    settings = getattr(model, "pretrained_cfg", None)
    if isinstance(settings, Mapping) and "input_size" in settings:
        channels, height, width = settings["input_size"]
        found = {"channels": channels, "size": (height, width)}
        return found | {key: settings[key] for key in ("mean", "std", "interpolation", "crop_pct") if settings.get(key)}
    side = getattr(getattr(model, "config", None), "image_size", None)
    return {"size": (side, side)} if isinstance(side, int) else {}


def _names_said_by(model: Any, logits: int) -> tuple[str, ...] | None:
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or len(names) != logits:
        return None
    found = tuple(str(names[key]) for key in sorted(names, key=int))
    return None if all(name.startswith("LABEL_") for name in found) else found


def _channels_of(network: nn.Module) -> int | None:
    """Of the first convolution, if it takes grey or RGB."""
    first = next((one for one in network.modules() if isinstance(one, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels in (1, 3) else None


def _by_role(inputs: Mapping[str, Any], models: Mapping[str, Model]) -> dict[str, Mapping[str, Any]]:
    """Role -> what was said of its input."""
    if inputs and set(inputs) <= set(models):
        return {role: checked_input(inputs.get(role, {})) for role in models}
    unknown = [name for name in inputs if name in ROLES]
    if unknown:
        raise SettingError(f"inputs names '{unknown[0]}', which is no model here; the models are {', '.join(models)}.")
    return dict.fromkeys(models, checked_input(inputs))


# what is kept ---------------------------------------------------------------------------------------------------------


def _known_network(run: Run) -> Match | None:
    """The network that a module is, if a copy of it with the same weights gives the same logits."""
    module = run.unadapted
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    try:
        match = identify(shapes)
        copy = build_network(
            match.network,
            classes=run.n_classes,
            channels=run.spec.channels,
            size=run.spec.size,
            settings=match.settings,
        )
        copy.load_state_dict(_state(match, module))
    except (KdvizError, RuntimeError, ValueError, TypeError):
        return None
    noise = torch.randn(_NOISE, run.spec.channels, *run.spec.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        same = torch.allclose(copy.eval()(noise), module(noise), rtol=1e-3, atol=1e-4)
    return match if same else None


def _state(match: Match, module: nn.Module) -> dict[str, Tensor]:
    state = tensors_for(match, module.state_dict())
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _exported(run: Run) -> bytes:
    try:
        return as_onnx(run.unadapted, run.spec.channels, run.spec.size)
    except ModelError as error:
        raise ModelError(
            f"The model '{run.role}' cannot be kept: {error} Leave out=None to use it in memory, or give an ONNX file."
        ) from error


def _settle(experiment: Experiment, out: Path) -> None:
    experiment.folder = out
    for run in experiment.runs.values():
        run.folder = out


@contextmanager
def _temporary() -> Iterator[Path]:
    """A folder that is gone when the process ends; nothing is beside it, since the app shows a folder's neighbours."""
    parent = Path(tempfile.mkdtemp(prefix="kdviz-models-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "models"
    folder.mkdir()
    yield folder
