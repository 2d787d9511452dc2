"""What lies beside the weights of a checkpoint: read as plain facts, and nothing more even where the file is forged."""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import pathlib
import sys
import types
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checkpoint_files import STUDENT, same, saved
from torchvision.transforms import InterpolationMode

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import open_model_file

BESIDE = {
    "namespace": (argparse.Namespace(lr=0.1, sizes=[1, 2], other=None), {"lr": 0.1, "sizes": [1, 2], "other": None}),
    "simple namespace": (SimpleNamespace(lr=0.1), {"lr": 0.1}),
    "float64": (np.float64(0.25), 0.25),
    "float32": (np.float32(0.25), 0.25),
    "int64": (np.int64(-3), -3),
    "bool": (np.bool_(True), True),
    "text": (np.str_("résnet"), "résnet"),
    "big endian": (np.array([1.5, 2.5], ">f8"), [1.5, 2.5]),
    "array": (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    "array of columns": (np.asfortranarray(np.arange(6).reshape(2, 3)), [[0, 1, 2], [3, 4, 5]]),
    "path": (pathlib.PurePosixPath("/data/x"), "/data/x"),
    "own path": (pathlib.Path("runs") / "a", "runs/a"),
    "windows": (pathlib.PureWindowsPath("C:/data/x"), "C:\\data\\x"),
    "defaultdict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "ordered": (OrderedDict(a=1), {"a": 1}),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "deque": (collections.deque([1, 2], maxlen=5), [1, 2]),
    "size": (torch.Size([1, 2]), [1, 2]),
    "device": (torch.device("cpu"), "cpu"),
    "dtype": (torch.float16, "torch.float16"),
    "date": (datetime.datetime(2024, 5, 6, 7), "2024-05-06T07:00:00"),
    "time": (datetime.timedelta(hours=1), "1:00:00"),
    "set": ({1}, [1]),
    "frozen": (frozenset([1]), [1]),
    "tuple": ((1, "a"), [1, "a"]),
    "enumeration": (InterpolationMode.BICUBIC, "bicubic"),
    "version": (torch.torch_version.TorchVersion("2.1"), "2.1"),
    "bytes": (b"abc", None),
    "infinite": (float("inf"), None),
    "tensor": (torch.tensor(0.5), 0.5),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", list(BESIDE))
def test_what_lies_beside_the_weights(tmp_path, kind, zipped):
    value, fact = BESIDE[kind]
    path = saved(tmp_path, {"model": STUDENT, "fact": value}, _use_new_zipfile_serialization=zipped)
    read = open_model_file(path)
    assert same(read.weights[0].tensors, STUDENT)
    assert read.recorded.get("fact") == fact
    json.dumps(dict(read.recorded), allow_nan=False)


def test_arrays_of_objects_and_of_many_numbers_are_left_out(tmp_path):
    content = {"model": STUDENT, "a": np.zeros(5000), "b": np.array([1, "x", None], dtype=object), "c": 1}
    assert open_model_file(saved(tmp_path, content)).recorded == {"c": 1}


def test_swin_with_the_settings_of_yacs(tmp_path):
    """Reference: microsoft/Swin-Transformer, utils.py (save_checkpoint): config is a CfgNode, with a state."""
    path = saved(tmp_path, {"model": STUDENT, "config": _pickled_as("yacs.config", "CfgNode")(TYPE="swin")})
    assert open_model_file(path).recorded["config"]["TYPE"] == "swin"


def _pickled_as(module: str, name: str):
    """A dictionary of a class whose pickle names ``module.name``."""
    made = type(name, (dict,), {"__module__": module})
    made.__init__ = lambda self, **values: (dict.__init__(self, values), setattr(self, "_immutable", False))[0]
    outer, _, _ = module.partition(".")
    sys.modules.setdefault(outer, types.ModuleType(outer))
    sys.modules.setdefault(module, types.ModuleType(module))
    setattr(sys.modules[module], name, made)
    return made


# what a forged file can do --------------------------------------------------------------------------------------------


def test_numpy_is_as_before_after_a_forged_dtype(tmp_path):
    """A state given to the one float64 of the process would change what all of its arrays hold."""

    class Forged:
        def __reduce__(self):
            return np.dtype, ("f8",), (3, ">", None, None, None, -1, -1, 0)

    open_model_file(saved(tmp_path, {"model": STUDENT, "a": Forged()}))
    assert np.frombuffer(np.float64(1).tobytes(), np.dtype("f8"))[0] == 1


def test_bytes_are_never_taken_for_objects(tmp_path):
    class Forged:
        def __reduce__(self):
            kind = (np.dtype, ("O",), (3, "|", None, None, None, -1, -1, 63))
            return (
                np._core.multiarray._reconstruct,
                (np.ndarray, (0,), b"b"),
                (1, (1,), _Reduced(kind), False, b"\1" * 8),
            )

    recorded = open_model_file(saved(tmp_path, {"model": STUDENT, "a": Forged(), "b": 1})).recorded
    assert recorded == {"b": 1}


class _Reduced:
    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return self.how


FORGED = {
    "a shape that is not its numbers'": (
        np._core.multiarray._reconstruct,
        (np.ndarray, (0,), b"b"),
        (1, (-1, -8), _Reduced((np.dtype, ("i1",))), False, b"\1" * 8),
    ),
    "a date of the year 0": (datetime.date, (0, 1, 1)),
    "a call of a name": (int, ("9",)),
}


@pytest.mark.parametrize("kind", list(FORGED))
def test_what_cannot_be_is_damaged(tmp_path, kind):
    path = saved(tmp_path, {"model": STUDENT, "a": _Reduced(FORGED[kind])})
    with pytest.raises(ModelError, match="is damaged, or is not a checkpoint"):
        open_model_file(path)


def test_no_object_of_a_class_is_made(tmp_path):
    """Whatever a namespace's pickle sets stays an entry: ``keys`` and ``items`` are not called."""
    args = argparse.Namespace(items=1)
    args.__dict__["__class__"] = 2
    shadows = {"items": 1, "keys": 1, "__iter__": 1}
    content = _Reduced((OrderedDict, (), shadows, None, iter({"model": STUDENT, "args": args}.items())))
    assert open_model_file(saved(tmp_path, content)).recorded["args"] == {"items": 1, "__class__": 2}


def test_a_list_that_holds_itself_many_times_is_left_out(tmp_path):
    value: list = [1]
    for _ in range(4):
        value = [value] * 300  # 300 to the power of 4 in all, in some 1,200 entries of the file
    assert open_model_file(saved(tmp_path, {"model": STUDENT, "a": value, "b": 2})).recorded.get("a") is None


def test_a_view_that_would_take_all_memory(tmp_path):
    path = saved(tmp_path, {"model": {**STUDENT, "fc.weight": torch.zeros(1).expand(200_000, 200_000)}})
    assert path.stat().st_size < 10_000
    with pytest.raises(ModelError, match="would unpack to 152588 MB"):
        open_model_file(path)


def test_what_others_have_let_in_is_not_taken(tmp_path):
    path = saved(tmp_path, {"model": STUDENT, "a": pathlib.PurePosixPath("a"), "b": _Reduced((np.mean, ()))})
    with torch.serialization.safe_globals([np.mean]), pytest.raises(ModelError, match=r"object \(numpy.mean\)"):
        open_model_file(path)


def test_torch_allows_no_more_than_before(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    open_model_file(saved(tmp_path, {"model": STUDENT, "args": argparse.Namespace(a=1)}))
    assert set(torch.serialization.get_safe_globals()) == before
