"""Import of models in memory as an experiment."""

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
from kdviz.importing.assemble import assemble_experiment
from kdviz.importing.model import ImportedModel, import_model, validated_module
from kdviz.importing.spec import ModelSpec, checked_input, role_of
from kdviz.importing.staging import move_into_place, require_replaceable, staging_folder, unfinished_of
from kdviz.importing.trusted import as_onnx
from kdviz.models.identify import Match, identify, tensors_for
from kdviz.models.library_inputs import input_of
from kdviz.models.networks import ONNX, build_network
from kdviz.studies.predictions.file_evaluation import evaluate_files

Model = nn.Module | Callable[[Tensor], Any] | str | Path

_NOISE = 4  # pictures on which a copy must return the module's logits
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
    """Make an experiment of models in memory or in files.

    Args:
        models: Role -> a module (it is copied, in evaluation mode), a function from a batch (n, C, H, W) float32 to
            logits (n, classes), or the path of a checkpoint, an ONNX file or a folder of timm or transformers. Roles
            other than ``teacher``, ``kd_student`` and ``student`` are free titles.
        classes: Class names, or a file with them; default: those of the data, or of the models.
        inputs: How a picture becomes an input: ``size``, ``resize``, ``crop``, ``interpolation``, ``mean``, ``std`` and
            ``channels``, for all models, or as a mapping from role to them. Fields that are not given are detected, or
            guessed.
        data: Pictures to measure on: see ``kdviz import --data``.
        out: Folder of the experiment, in which modules are stored as weights of a known network or as ONNX files. None:
            a temporary folder, and modules stay in memory.
        title: Title of the experiment.
        trust: Whether code in files may run.
        device: A torch device, or ``auto``.

    Raises:
        FolderInUseError: Another process is writing ``out``.
        KdvizError: A model, a file or the data cannot be used; the text says what to do.
    """
    if not models:
        raise SettingError("import_models needs at least one model.")
    names = read_classes(classes) if classes is not None else None
    pictures = read_picture_files(data, classes=names) if data is not None else None
    if out is not None:
        require_replaceable(Path(out))
    input_of_role = _input_by_role(inputs or {}, models)
    with staging_folder(Path(out)) if out is not None else _temporary() as folder:
        experiment = _experiment(
            models, folder, names, input_of_role, pictures, title or Path(out or "models").name, trust
        )
        if out is not None:
            keep_models(experiment)
            experiment.save()
        if pictures is not None:
            unfinished = unfinished_of(Path(out)) if out is not None else None
            deque(evaluate_files(experiment, pictures, device, unfinished=unfinished), maxlen=0)
        if out is not None:
            move_into_place(folder, Path(out))
            _relocate(experiment, Path(out))
    return experiment


def keep_models(experiment: Experiment) -> None:
    """Write the models that are only in memory into the experiment's folder.

    A module that is recognised as a network of torchvision, timm or kdviz, and returns the same logits, is stored as
    its weights, any other as an ONNX file.

    Raises:
        ModelError: torch cannot export a model.
    """
    for run in experiment.models.values():
        if run.weights:
            continue
        match = _recognised_network(run)
        if match is None:
            data, suffix = _export_onnx(run), "onnx"
            run.network = ONNX
        else:
            data, suffix = save_safetensors(_state(match, run.unadapted)), "safetensors"
            run.network, run.settings = match.network, dict(match.settings)
        run.sha256 = hashlib.sha256(data).hexdigest()
        run.weights = f"{run.role}-{run.sha256[:8]}.{suffix}"
        atomic_write(experiment.folder / run.weights, data)


# the experiment -------------------------------------------------------------------------------------------------------


def _experiment(
    models: Mapping[str, Model],
    folder: Path,
    names: Any,
    input_of_role: Mapping[str, Mapping[str, Any]],
    pictures: PictureFiles | None,
    title: str,
    trust: bool,
) -> Experiment:
    count = len(names.names) if names is not None else len(pictures.classes) if pictures is not None else 0
    small = pictures.small_size if pictures is not None else None
    imported_models: list[ImportedModel] = []
    modules: dict[str, nn.Module] = {}
    for name, model in models.items():
        role = role_of(name, [imported.spec.role for imported in imported_models])
        path = Path(model) if isinstance(model, (str, Path)) else Path(name)
        spec = ModelSpec(role, path, "" if name == role else name, given=input_of_role[name])
        if isinstance(model, (str, Path)):
            imported_models.append(import_model(spec, folder, count or None, trust=trust, pictures=small))
        else:
            module, imported = _import_module(spec, model, small)
            modules[role] = module
            imported_models.append(imported)
    class_names = names.names if names is not None and not names.aliases else ()
    experiment = assemble_experiment(
        folder, imported_models, tuple(class_names), pictures, title, names.aliases if names is not None else {}
    )
    for role, module in modules.items():
        experiment.runs[role].unadapted = module
    return experiment


def _import_module(
    spec: ModelSpec, model: nn.Module | Callable[[Tensor], Any], pictures: tuple[int, int] | None
) -> tuple[nn.Module, ImportedModel]:
    network = as_network(model)
    recorded = _recorded_input(model)
    channels = spec.given.get("channels") or _channels_of(network)
    input_spec, source = input_of(
        ONNX,
        recorded_input=recorded,
        given=spec.given,
        settings={},
        size=None,
        channels=channels,
        pictures=pictures,
    )
    network = validated_module(network, spec.role, input_spec)
    with torch.no_grad():
        shape = tuple(network(torch.zeros(_NOISE, input_spec.channels, *input_spec.size)).shape)
    if len(shape) != 2 or shape[0] != _NOISE:
        raise ModelError(
            "The model '{role}' must return logits of shape ({noise}, classes), got {shape}.",
            role=spec.role,
            noise=_NOISE,
            shape=shape,
        )
    names = _recorded_classes(model, shape[1])
    name = type(model).__name__ if isinstance(model, nn.Module) else _IN_MEMORY
    return network, ImportedModel(spec, name, _IN_MEMORY, input_spec, source, shape[1], names, {}, "", "")


def _recorded_input(model: Any) -> Mapping[str, Any]:
    """The input that a module of timm or transformers records."""
    settings = getattr(model, "pretrained_cfg", None)
    if isinstance(settings, Mapping) and "input_size" in settings:
        channels, height, width = settings["input_size"]
        fields = {"channels": channels, "size": (height, width)}
        return fields | {
            key: settings[key] for key in ("mean", "std", "interpolation", "crop_pct") if settings.get(key)
        }
    side = getattr(getattr(model, "config", None), "image_size", None)
    return {"size": (side, side)} if isinstance(side, int) else {}


def _recorded_classes(model: Any, logits: int) -> tuple[str, ...] | None:
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or len(names) != logits:
        return None
    class_names = tuple(str(names[key]) for key in sorted(names, key=int))
    return None if all(name.startswith("LABEL_") for name in class_names) else class_names


def _channels_of(network: nn.Module) -> int | None:
    """Number of input channels of the first convolution, if it is 1 or 3."""
    convolution = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return convolution.in_channels if convolution is not None and convolution.in_channels in (1, 3) else None


def _input_by_role(inputs: Mapping[str, Any], models: Mapping[str, Model]) -> dict[str, Mapping[str, Any]]:
    """Role -> the given fields of its input."""
    if inputs and set(inputs) <= set(models):
        return {role: checked_input(inputs.get(role, {})) for role in models}
    unknown = [name for name in inputs if name in ROLES]
    if unknown:
        raise SettingError(
            "inputs names '{unknown}', which is no model here; the models are {models}.",
            unknown=unknown[0],
            models=", ".join(models),
        )
    return dict.fromkeys(models, checked_input(inputs))


# storing --------------------------------------------------------------------------------------------------------------


def _recognised_network(run: Run) -> Match | None:
    """The network that a module is, if that network with the same weights returns the same logits."""
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
        is_equal = torch.allclose(copy.eval()(noise), module(noise), rtol=1e-3, atol=1e-4)
    return match if is_equal else None


def _state(match: Match, module: nn.Module) -> dict[str, Tensor]:
    state = tensors_for(match, module.state_dict())
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _export_onnx(run: Run) -> bytes:
    try:
        return as_onnx(run.unadapted, run.spec.channels, run.spec.size)
    except ModelError as error:
        raise ModelError(
            "The model '{role}' cannot be kept: {error} Leave out=None to use it in memory, or give an ONNX file.",
            role=run.role,
            error=error,
        ) from error


def _relocate(experiment: Experiment, out: Path) -> None:
    experiment.folder = out
    for run in experiment.runs.values():
        run.folder = out


@contextmanager
def _temporary() -> Iterator[Path]:
    """A folder that is removed when the process ends, alone in its parent, since the app lists a folder's siblings."""
    parent = Path(tempfile.mkdtemp(prefix="kdviz-models-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "models"
    folder.mkdir()
    yield folder
