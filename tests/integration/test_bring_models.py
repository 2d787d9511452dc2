"""Models and pictures that a session sends become an experiment, in a process of its own; what is refused is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from uploaded_models import CLASSES, picture, pictures, saved, state_of, timm_file, zip_of

from kdviz.app import limits
from kdviz.app.pages.bring_models.check import zipped
from kdviz.app.pages.bring_models.draft import ModelsDraft, draft_of
from kdviz.app.pages.bring_models.process import with_names_of_person
from kdviz.app.uploads import session_store, unpacking
from kdviz.cli import main
from kdviz.core.errors import ExperimentError, KdvizError, ModelError, SettingError
from kdviz.data.picture_files import read_picture_files
from kdviz.experiment import load_experiment
from kdviz.models.networks import build_network

LONGEST = 240  # seconds of an import on a busy machine


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[session_store.SessionStore]:
    monkeypatch.setattr(session_store, "GRACE", 60.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    store = session_store.SessionStore("session-bring")
    session_store._stores[store.session] = store
    yield store
    store.end()


@pytest.fixture
def draft(mine: session_store.SessionStore) -> ModelsDraft:
    return draft_of(mine)


def imported(draft: ModelsDraft) -> None:
    draft.start()
    assert draft.job is not None
    assert draft.job.wait(LONGEST)


def files_in(mine: session_store.SessionStore) -> list[Path]:
    return [path for path in mine.folder.rglob("*") if path.is_file()]


# what becomes an experiment -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_and_pictures_become_an_experiment_of_the_session(
    mine: session_store.SessionStore, draft: ModelsDraft
) -> None:
    draft.take_model("teacher", "My teacher.safetensors", timm_file())
    prefixed = {f"module.{name}": tensor for name, tensor in state_of("torchvision/shufflenet_v2_x0_5").items()}
    draft.take_model("kd_student", "kd.pth.tar", saved({"state_dict": prefixed, "epoch": 3}))
    draft.take_pictures([("Data.zip", pictures())])
    draft.slots["kd_student"].entered = {"size": "64", "resize": "72", "network": ""}
    imported(draft)
    assert draft.job is not None
    assert (draft.job.status, draft.job.error) == ("done", "")

    experiment = load_experiment(mine.experiments[draft.name].folder)
    assert experiment.classes == ("a", "b", "c")
    assert {role: run.network for role, run in experiment.runs.items()} == {
        "teacher": "timm/mobilenetv3_small_050",
        "kd_student": "torchvision/shufflenet_v2_x0_5",
    }
    spec = experiment.runs["kd_student"].spec
    assert (spec.size, spec.resize) == ((64, 64), 72)
    assert experiment.runs["teacher"].training["import"]["file"] == "My teacher.safetensors"
    assert len(experiment.table("predictions")) == 2 * 12
    assert not (mine.folder / "draft" / "work").exists()
    assert mine.size == draft.size + mine.experiments[draft.name].size

    draft.fill_in(experiment.runs)
    assert draft.slots["teacher"].detected["network"] == "timm/mobilenetv3_small_050"
    assert draft.slots["kd_student"].detected["resize"] == "72"
    assert draft.command() == (
        "kdviz import --out models/mine --teacher 'My teacher.safetensors' "
        "--kd-student kd.pth.tar,size=64,resize=72 --data DIR"
    )
    with unpacking.from_zip(zipped(experiment.folder, "mine")) as package:
        again = mine.add_experiment(package, "again.zip")
    assert load_experiment(again.folder).runs.keys() == experiment.runs.keys()

    draft.take_model("teacher", "other.pt", saved(state_of("torchvision/squeezenet1_1")))
    draft.fill_in(experiment.runs)
    assert draft.slots["teacher"].detected == {}  # it is not what the last check was about

    before = draft.name
    draft.drop_pictures()
    imported(draft)  # checked again, it replaces what was made before
    assert draft.name == before
    assert not load_experiment(mine.experiments[draft.name].folder).has_table("predictions")


def test_a_further_model_has_a_free_title(draft: ModelsDraft) -> None:
    draft.add_slot()
    draft.slots["more-1"].title = "KD, T = 16"
    draft.take_model("more-1", "x.pt", saved({"a": torch.zeros(1)}))
    assert draft.roles() == {"more-1": "KD_T_16"}
    assert draft.command() == "kdviz import --out models/mine --model 'KD, T = 16=x.pt'"
    draft.drop_slot("more-1")
    assert "more-1" not in draft.slots


def test_a_zip_of_a_folder_is_a_model(draft: ModelsDraft) -> None:
    config = json.dumps({"architecture": "mobilenetv3_small_050", "num_classes": CLASSES}).encode()
    inside = {"m/config.json": config, "m/model.safetensors": timm_file(), "m/run.py": b"x"}
    draft.take_model("teacher", "m.zip", zip_of(inside))
    path = draft.slots["teacher"].path
    assert path is not None
    assert {file.name for file in path.iterdir()} == {"config.json", "model.safetensors"}
    draft.take_model("teacher", "w.zip", zip_of({"a/b/best.pth": saved({"a": torch.zeros(1)})}))
    path = draft.slots["teacher"].path
    assert path is not None
    assert path.name == "best.pth"


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.onnx", b"\x08\x08\x12\x07pytorch", "kdviz import --out models/mine --teacher m.onnx"),
        ("m.zip", b"PK\x03\x04 no zip", "not a zip"),
        ("m.zip", zip_of({"../w.pth": b"x"}), "leads out of its folder"),
        ("m.zip", zip_of({"a.pth": b"x", "b.pth": b"x"}), "send the one that is meant"),
        ("m.zip", zip_of({"a.txt": b"x"}), "holds no weights"),
    ],
)
def test_a_file_is_refused_and_nothing_is_left(
    mine: session_store.SessionStore, draft: ModelsDraft, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(KdvizError, match=words):
        draft.take_model("teacher", name, content)
    assert files_in(mine) == []
    assert mine.size == 0


def test_onnx_files_are_taken_where_the_operator_says_so(draft: ModelsDraft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.ONNX, "1")
    draft.take_model("teacher", "m.onnx", b"\x08\x08\x12\x07pytorch")
    assert draft.sent


def test_pictures_that_unpack_to_far_more_are_refused(mine: session_store.SessionStore, draft: ModelsDraft) -> None:
    with pytest.raises(ExperimentError, match="would unpack to"):
        draft.take_pictures([("p.zip", zip_of({"a.png": bytes(80_000_000)}))])
    with pytest.raises(ExperimentError, match="no pictures"):
        draft.take_pictures([("p.txt", b"x")])
    assert files_in(mine) == []


def test_what_does_not_fit_the_session_is_refused(draft: ModelsDraft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.SESSION, "3")
    draft.take_model("teacher", "t.safetensors", timm_file())
    with pytest.raises(SettingError, match="no room"):
        draft.start()  # the experiment needs as much again
    with pytest.raises(SettingError, match="no room"):
        draft.take_model("student", "s.zip", zip_of({"w.pth": bytes(4_000_000)}))  # as it unpacks, not as it is sent
    with pytest.raises(SettingError, match="no room"):
        draft.take_pictures([("a.png", bytes(2_000_000))])


OUTSIDE = b"file,label\n../../../secret.png,a\n/etc/hostname.png,b\n"


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n")
    with pytest.raises(KdvizError, match=r"CSV|row"):
        read_picture_files(str(tmp_path / "labels.csv"), inside=True)


@pytest.mark.slow
def test_a_table_names_only_what_was_sent_and_a_refusal_is_forgotten_with_the_files_that_it_is_about(
    mine: session_store.SessionStore, draft: ModelsDraft
) -> None:
    draft.take_model("teacher", "t.safetensors", timm_file())
    draft.take_pictures([("d.zip", zip_of({"labels.csv": OUTSIDE, "x.png": picture(0)}))])
    imported(draft)
    refused = draft.job
    assert refused is not None
    assert refused.status == "failed"
    assert str(mine.folder) not in refused.error
    assert any(word in refused.error for word in ("outside", "leads", "folder")), refused.error
    assert not mine.experiments
    draft.drop_pictures()
    assert draft.job is None
    draft.job = refused
    draft.drop_model("teacher")
    assert draft.job is None


def test_names_of_classes_are_never_a_path(draft: ModelsDraft, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password\nother\n")
    draft.take_model("teacher", "t.safetensors", timm_file())
    draft.classes = draft.slots["teacher"].entered["classes"] = str(secret)
    plan = draft._plan()
    for class_file in (plan.classes, plan.models[0].classes):
        assert "password" not in Path(class_file).read_text()
        assert str(plan.work) in class_file


def test_an_import_that_is_stopped_leaves_nothing(mine: session_store.SessionStore, draft: ModelsDraft) -> None:
    draft.take_model("teacher", "t.safetensors", timm_file())
    draft.start()
    assert draft.job is not None
    draft.job.stop()
    assert draft.job.wait(LONGEST)
    assert draft.job.status == "stopped"
    assert (draft.name, mine.experiments) == ("", {})
    assert len(files_in(mine)) == 1


def test_messages_have_the_names_that_people_gave() -> None:
    message = with_names_of_person(
        "'/s/1/x.pt' and '/s/2/pictures/a.png'", [("/s/1/x.pt", "my x.pt"), ("/s/2/pictures", "p")]
    )
    assert message == "'my x.pt' and 'a.png'"


# one model's weights --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_checkpoint_of_another_library_finds_its_network(mine: session_store.SessionStore, tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(timm_file())
    assert main(["import", "--out", str(tmp_path / "mine"), "--teacher", str(tmp_path / "t.safetensors")]) == 0
    experiment = load_experiment(tmp_path / "mine")
    content = saved({"model": state_of("torchvision/shufflenet_v2_x0_5")})
    uploaded = mine.add_model(experiment, content, "", "other", "mine.pth")
    assert load_experiment(uploaded.folder).runs["other"].network == "torchvision/shufflenet_v2_x0_5"
    other = build_network("torchvision/squeezenet1_1", classes=7, channels=3, size=(64, 64)).state_dict()
    with pytest.raises(ModelError, match=r"'seven\.pth' is a 'torchvision/squeezenet1_1' with 7 outputs"):
        mine.add_model(experiment, saved(dict(other)), "", "seven", "seven.pth")
