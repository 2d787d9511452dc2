"""Pictures that are not passed on with an experiment: recorded, fetched, recognised, or refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import named_datasets as named
import numpy as np
import pytest
import torch
import without_pictures as apart

from kdviz.app.uploads import table_check
from kdviz.cli import main
from kdviz.core.errors import DatasetError, ExperimentError
from kdviz.data import torchvision_set
from kdviz.data.fingerprints import TOLERANCE, fingerprints_of, match_pictures
from kdviz.data.photographs import PHOTOGRAPHS, photographs, photographs_of
from kdviz.data.readers.torchvision_sets import download_site, torchvision_split
from kdviz.experiment import Experiment, load_experiment
from kdviz.experiment.fetching import as_jpeg, fetch_pictures, fetched
from kdviz.studies.attention.pictures import write_pictures
from kdviz.studies.predictions.showcase import make, read_showcase
from kdviz.studies.shortcuts.table import Condition
from kdviz.studies.shortcuts.views import SCHEMA as SHOWN
from kdviz.studies.shortcuts.views import ShownPictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JPEG copies in class folders."""
    return apart.copies(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return apart.make_experiment(tmp_path_factory.mktemp("made") / "cifar", data).folder


@pytest.fixture
def experiment(_made: Path, tmp_path: Path) -> Experiment:
    return load_experiment(shutil.copytree(_made, tmp_path / "cifar"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Downloads fail, and nothing is in the user's cache."""

    def fail(*_args: object, **_more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def kept_images(experiment: Experiment) -> np.ndarray:
    stored = experiment.samples("test")
    assert stored.numbers.tolist() == list(range(len(stored)))
    return stored.images(range(len(stored))).numpy()


# recognising ----------------------------------------------------------------------------------------------------------


def as_tensor(pictures: list) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures]))


def test_copies_are_recognised_in_another_order_and_others_are_not() -> None:
    made = apart.pictures(60)
    labels = torch.arange(60) % 3
    known = fingerprints_of(as_tensor([as_jpeg(picture, 75) for picture in made]), labels)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    match = match_pictures(known, fingerprints_of(as_tensor(made)[order], labels[order]))
    assert order[torch.from_numpy(match.numbers)].tolist() == list(range(60))
    assert not match.exact.any()
    others = match_pictures(known, fingerprints_of(as_tensor(apart.pictures(60, 9)), labels))
    assert others.count < 6


def test_equal_pictures_each_get_one_and_pixels_decide() -> None:
    made = [apart.pictures(1)[0]] * 2
    images = as_tensor(made)
    images[1, 0, 0, 0] ^= 1  # one bit of one pixel
    labels = torch.zeros(2, dtype=torch.int64)
    match = match_pictures(fingerprints_of(images, labels), fingerprints_of(images.flip(0), labels))
    assert match.numbers.tolist() == [1, 0]
    assert match.exact.all()


def test_a_picture_of_another_class_is_never_taken() -> None:
    images = as_tensor(apart.pictures(2))
    known = fingerprints_of(images, torch.tensor([0, 1]))
    match = match_pictures(known, fingerprints_of(images, torch.tensor([0, 2])))
    assert match.numbers.tolist() == [0, -1]


def test_the_hash_is_the_same_everywhere() -> None:
    """Fingerprints that are stored must not change with a version of numpy or torch."""
    content = np.frombuffer(hashlib.shake_256(b"a picture").digest(3 * 32 * 32), np.uint8).reshape(1, 3, 32, 32)
    picture = torch.from_numpy(content.copy())
    assert TOLERANCE < 32
    assert fingerprints_of(picture, torch.zeros(1)).hashes.tobytes().hex() == "d5493f7eebdaede37b15a9cfc8a6a2e9"


# fetching -------------------------------------------------------------------------------------------------------------


def test_from_a_folder_of_class_folders(experiment: Experiment, data: Path) -> None:
    assert fetched(experiment) is None
    pictures = fetch_pictures(experiment, data)
    assert (pictures.kept, pictures.exact, pictures.samples) == (20, 20, 20)
    assert np.array_equal(kept_images(experiment), apart.test_samples(data).images.numpy())
    assert experiment.samples("test").names[0] == "test/airplane/0000.jpg"
    assert fetched(experiment) is not None
    (experiment.folder / "samples.parquet").unlink()
    assert fetch_pictures(experiment, data / "test").exact == 20  # the class folders alone


def test_from_the_library_in_its_own_order_copied_as_the_models_saw_them(
    experiment: Experiment, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named.cifar10(tmp_path / "home" / ".cache" / "kdviz", monkeypatch, test=apart.originals(), classes=apart.CLASSES)
    pictures = fetch_pictures(experiment)
    assert (pictures.kept, pictures.exact) == (20, 20)
    assert np.array_equal(kept_images(experiment), apart.test_samples(data).images.numpy())
    assert experiment.samples("test").labels.tolist() == apart.test_samples(data).labels.tolist()


def test_originals_are_recognised_beside_copies(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((experiment.folder / "experiment.json").read_text())
    del document["picture_source"]["jpeg_quality"]
    (experiment.folder / "experiment.json").write_text(json.dumps(document))
    named.cifar10(tmp_path / "library", monkeypatch, test=apart.originals(), classes=apart.CLASSES)
    pictures = fetch_pictures(load_experiment(experiment.folder), tmp_path / "library")
    assert (pictures.kept, pictures.exact) == (20, 0)


def test_other_pictures_are_refused_and_nothing_changes(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"other pictures than those of 'cifar': \d+ of its 20 test samples"
    ) as caught:
        fetch_pictures(experiment, apart.copies(tmp_path / "others", seed=7))
    assert str(caught.value).endswith(".")
    assert not (experiment.folder / "samples.parquet").exists()


def test_a_missing_picture_is_not_enough(experiment: Experiment, tmp_path: Path) -> None:
    data = apart.copies(tmp_path / "some")
    (data / "test" / "ship" / "0001.jpg").unlink()
    with pytest.raises(DatasetError, match="19 of its 20"):
        fetch_pictures(experiment, data)


def test_a_half_downloaded_set_and_no_network_is_one_sentence(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "library"
    named.cifar10(root, monkeypatch, test=apart.originals(), classes=apart.CLASSES)
    batch = root / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:1000])
    (root / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    with pytest.raises(DatasetError) as caught:
        fetch_pictures(experiment, root)
    text = str(caught.value)
    assert "no network" in text
    assert "\n" not in text
    assert not (experiment.folder / "samples.parquet").exists()
    with pytest.raises(DatasetError, match="There is no folder"):
        fetch_pictures(experiment, tmp_path / "nowhere")


def test_the_table_passes_the_check_of_uploads(experiment: Experiment) -> None:
    assert table_check._problem(str(experiment.folder / "fingerprints.parquet")) == ""


def test_an_experiment_without_a_source_and_a_damaged_table(experiment: Experiment, data: Path) -> None:
    with pytest.raises(ExperimentError, match="does not say where its pictures come from"):
        fetch_pictures(load_experiment("mnist"))
    (experiment.folder / "fingerprints.parquet").write_bytes(b"damaged")
    with pytest.raises(ExperimentError, match="damaged"):
        fetch_pictures(experiment, data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("picture_source", []),
        ("picture_source", {"dataset": ""}),
        ("picture_source", {"dataset": "a", "megabytes": "many"}),
        ("picture_source", {"dataset": "a", "jpeg_quality": 101}),
        ("picture_source", {"dataset": "a", "split": 3}),
        ("opening_pictures", "cat"),
    ],
)
def test_a_record_that_is_not_valid_is_refused_by_its_field(experiment: Experiment, field: str, value: object) -> None:
    document = json.loads((experiment.folder / "experiment.json").read_text())
    (experiment.folder / "experiment.json").write_text(json.dumps(document | {field: value}))
    with pytest.raises(ExperimentError, match=f"field '{field}"):
        load_experiment(experiment.folder)


def test_the_record_stays_when_the_experiment_is_saved(experiment: Experiment) -> None:
    assert experiment.picture_source == apart.SOURCE
    assert experiment.opening_pictures == ("cat", "deer", "truck")
    experiment.save()
    assert load_experiment(experiment.folder).picture_source == apart.SOURCE
    assert write_pictures(experiment, None) == 0  # type: ignore[arg-type]  # nothing is looked at
    ShownPictures(Condition("patch", "all"), SHOWN.empty_table()).write(experiment)
    assert not experiment.has_table("shortcut_samples")


# the command ----------------------------------------------------------------------------------------------------------


def test_the_command_gets_them_once(experiment: Experiment, data: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(experiment.folder)
    assert main(["get", folder, "--data", str(data)]) == 0
    assert "20 of 20 test pictures" in capsys.readouterr().out
    assert main(["get", folder]) == 0  # without a network
    assert "already" in capsys.readouterr().out
    assert main(["get", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 20
    assert main(["evaluate", "-e", folder, "--device", "cpu"]) == 0  # what was fetched is also measured on


def test_a_command_that_needs_them_says_how_to_get_them(experiment: Experiment, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "-e", str(experiment.folder)]) == 1
    assert f"get them with: kdviz get {experiment.folder}" in capsys.readouterr().err


def test_the_command_says_what_is_wrong_in_one_line(experiment: Experiment, capsys: pytest.CaptureFixture) -> None:
    assert main(["get", str(experiment.folder)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("kdviz: torchvision's CIFAR10 is missing")
    assert main(["get", "mnist"]) == 1


def test_the_command_records_an_experiment(experiment: Experiment, data: Path, capsys: pytest.CaptureFixture) -> None:
    folder = experiment.folder
    document = json.loads((folder / "experiment.json").read_text())
    del document["picture_source"], document["opening_pictures"]
    (folder / "experiment.json").write_text(json.dumps(document))
    stored = (folder / "fingerprints.parquet").read_bytes()
    (folder / "fingerprints.parquet").unlink()
    command = ["get", str(folder), "--record", "torchvision/CIFAR10"]
    assert main(command) == 1
    assert "--record needs --data" in capsys.readouterr().err
    assert main([*command, "--data", str(data), "--megabytes", "170", "--jpeg-quality", "75"]) == 0
    recorded = load_experiment(folder)
    assert recorded.picture_source is not None
    assert recorded.picture_source.site == download_site("CIFAR10")
    assert (recorded.picture_source.megabytes, recorded.picture_source.jpeg_quality) == (170, 75)
    assert (folder / "fingerprints.parquet").read_bytes() == stored
    assert len(recorded.samples("test")) == 20


def test_pictures_of_other_predictions_are_not_recorded(
    experiment: Experiment, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = shutil.copytree(data, tmp_path / "other")
    shutil.copy(other / "test" / "cat" / "0001.jpg", other / "test" / "cat" / "0002.jpg")
    command = ["get", str(experiment.folder), "--record", "torchvision/CIFAR10", "--data", str(other)]
    assert main(command) == 1
    assert "predictions are of other pictures" in capsys.readouterr().err


# one split of a library -----------------------------------------------------------------------------------------------


def test_one_split_is_read_as_with_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named.cifar10(tmp_path, monkeypatch)
    alone = torchvision_split("CIFAR10", "test", tmp_path, (32, 32))
    together = torchvision_set("CIFAR10", tmp_path, (32, 32))["test"]
    assert (alone.fingerprint, alone.names, alone.split) == (together.fingerprint, together.names, "test")
    with pytest.raises(DatasetError, match="no official split 'validation'"):
        torchvision_split("CIFAR10", "validation", tmp_path, (32, 32))


# photographs ----------------------------------------------------------------------------------------------------------


def test_photographs_have_a_note_of_origin_and_are_small() -> None:
    note = (PHOTOGRAPHS / "README.md").read_text()
    assert len(photographs()) >= 3
    for name, photograph in photographs().items():
        assert f"`{name}.png`" in note
        assert photograph.author in note
        assert photograph.licence in note
        assert photograph.shows in apart.CLASSES
        assert max(photograph.picture().size) <= 128
    assert sum(file.stat().st_size for file in PHOTOGRAPHS.iterdir() if file.is_file()) < 400_000
    assert [photograph.name for photograph in photographs_of(("truck", "none", "cat"), ("cat", "dog"))] == ["cat"]


def test_the_maps_that_are_kept_are_of_photographs(experiment: Experiment) -> None:
    *_stories, table = make(experiment, device="cpu", masks=64)
    experiment.write_table("showcase", table)
    samples = read_showcase(load_experiment(experiment.folder))
    assert [apart.CLASSES[sample.label] for sample in samples] == ["cat", "deer", "truck"]
    for sample in samples:
        photograph = photographs()[apart.CLASSES[sample.label]]
        assert np.array_equal(np.asarray(sample.picture), np.asarray(experiment.prepare(photograph.picture())))
        assert list(sample.examples) == ["teacher", "kd_student", "student"]
        teacher = sample.examples["teacher"]
        assert teacher.target == teacher.predicted
