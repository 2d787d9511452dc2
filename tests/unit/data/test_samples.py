"""An experiment's own pictures: stored without loss, read lazily, refused when damaged."""

from __future__ import annotations

import io
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from kdviz.core.errors import ExperimentError, SettingError, UnknownNameError
from kdviz.data import LabelledImages
from kdviz.data.store import StoredSamples
from kdviz.experiment import Experiment, InputSpec

CLASSES = ("ant", "bee", "cat")


def split_of(name, count, channels, seed, names=True):
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.integers(0, 256, (count, channels, 7, 9), dtype=np.uint8))
    labels = torch.from_numpy(random.integers(0, 3, count))
    texts = tuple(f"{name}/é {number}.jpg" for number in range(count)) if names else None
    return LabelledImages(images, labels, CLASSES, name, texts)


def experiment_of(folder, channels=3) -> Experiment:
    spec = InputSpec((7, 9), channels, (0.5,) * channels, (0.5,) * channels)
    return Experiment(folder / "mine", "folder", CLASSES, spec, {})


@pytest.fixture
def stored(tmp_path):
    """An experiment with two stored splits, and these."""
    experiment = experiment_of(tmp_path)
    splits = [split_of("validation", 5, 3, 1), split_of("test", 40, 3, 2)]
    experiment.write_samples(splits)
    return experiment, splits


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("group_bytes", [1, 500, 2**21])
def test_what_is_stored_comes_back(tmp_path, monkeypatch, channels, group_bytes):
    monkeypatch.setattr("kdviz.data.store._GROUP_BYTES", group_bytes)
    experiment = experiment_of(tmp_path, channels)
    splits = [split_of("validation", 5, channels, 1), split_of("test", 40, channels, 2, names=False)]
    experiment.write_samples(splits)
    for samples in splits:
        read = experiment.samples(samples.split)
        assert (len(read), read.classes, read.split) == (len(samples), CLASSES, samples.split)
        assert torch.equal(read.labels, samples.labels)
        assert read.labels.dtype == torch.int64
        assert read.numbers.tolist() == list(range(len(samples)))
        assert read.names == (samples.names or tuple(f"test/{number}" for number in range(40)))
        assert torch.equal(read.images(torch.arange(len(samples))), samples.images)
        for number in (0, len(samples) - 1, 2):
            picture = read.picture(number)
            assert picture.mode == samples.picture(number).mode
            assert np.array_equal(np.asarray(picture), np.asarray(samples.picture(number)))
            assert torch.equal(experiment.preprocess(picture)[0], experiment.input.normalise(samples.images)[number])


@pytest.mark.parametrize(
    "index", [[7, 3, 3, 39], torch.tensor([39, 0]), torch.tensor([-1]), [], torch.arange(40) % 3 == 0]
)
def test_any_index(stored, monkeypatch, index):
    experiment, (_, samples) = stored
    expected = samples.images[torch.as_tensor(index, dtype=None if len(index) else torch.int64)]
    assert torch.equal(experiment.samples("test").images(index), expected)


def test_the_table_is_tidy_and_its_groups_are_small(tmp_path):
    images = torch.zeros(50, 3, 224, 224, dtype=torch.uint8)
    samples = LabelledImages(images, torch.arange(50) % 2, ("a", "b"), "test")
    spec = InputSpec((224, 224), 3, (0.5,) * 3, (0.5,) * 3)
    experiment = Experiment(tmp_path, "folder", ("a", "b"), spec, {})
    experiment.write_samples([samples])
    table = experiment.table("samples")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("split", "string"),
        ("sample", "int32"),
        ("name", "string"),
        ("label", "int16"),
        ("image", "binary"),
    ]
    metadata = pq.ParquetFile(tmp_path / "samples.parquet").metadata
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert rows == [13, 13, 13, 11]
    assert Image.open(io.BytesIO(table["image"][0].as_py())).format == "PNG"


def test_of_many_samples_some_are_stored_with_their_numbers(tmp_path):
    experiment = experiment_of(tmp_path)
    samples = split_of("test", 60, 3, 5)
    experiment.write_samples([samples, split_of("validation", 4, 3, 6)], limit=10)
    read = experiment.samples("test")
    assert (len(read), len(experiment.samples("validation"))) == (10, 4)
    assert read.numbers.tolist() == sorted(set(read.numbers.tolist()))
    assert read.numbers.tolist() != list(range(10))  # a random choice: folders are sorted by class
    assert torch.equal(read.images(range(10)), samples.images[read.numbers])
    assert torch.equal(read.labels, samples.labels[read.numbers])
    assert read.names == tuple(samples.names[number] for number in read.numbers)
    before = (experiment.folder / "samples.parquet").read_bytes()
    experiment.write_samples([samples, split_of("validation", 4, 3, 6)], limit=10)
    assert (experiment.folder / "samples.parquet").read_bytes() == before


def test_only_the_row_group_of_a_picture_is_read(stored, monkeypatch):
    monkeypatch.setattr("kdviz.data.store._GROUP_BYTES", 7 * 9 * 3 * 4)
    experiment, splits = stored
    experiment.write_samples(splits)
    read, groups = experiment.samples("test"), []
    column = StoredSamples._column
    monkeypatch.setattr(StoredSamples, "_column", lambda self, group: groups.append(group) or column(self, group))
    assert len(experiment.samples("test")) == 40
    assert groups == []
    read.picture(5)
    assert groups == [3]  # 5 of validation are in groups 0 and 1
    read.images([9, 4, 8, 5])
    assert groups == [3, 3, 4]


def test_many_threads_may_ask(stored):
    experiment, (_, samples) = stored
    read, wrong = experiment.samples("test"), []

    def ask(start):
        for number in (step % 40 for step in range(start, start + 200)):
            if np.asarray(read.picture(number)).tobytes() != np.asarray(samples.picture(number)).tobytes():
                wrong.append(number)  # noqa: PERF401

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_reader_keeps_the_table_that_it_opened(stored):
    experiment, (_, samples) = stored
    read = experiment.samples("test")
    experiment.write_samples([split_of("test", 40, 3, 77)])
    assert torch.equal(read.images(range(40)), samples.images)


def test_a_name_that_is_no_text(tmp_path):
    experiment = experiment_of(tmp_path)
    samples = split_of("test", 2, 3, 0).take(torch.arange(1))
    experiment.write_samples([LabelledImages(samples.images, samples.labels, CLASSES, "test", ("a\udc80.png",))])
    assert experiment.samples("test").names == ("a?.png",)


def test_a_full_disk_leaves_the_old_table(stored, monkeypatch):
    experiment, splits = stored
    before = (experiment.folder / "samples.parquet").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="Cannot write"):
        experiment.write_samples(splits[:1])
    assert [path.name for path in experiment.folder.iterdir()] == ["samples.parquet"]
    assert (experiment.folder / "samples.parquet").read_bytes() == before


def every_image(experiment, split):
    read = experiment.samples(split)
    return read.images(range(len(read)))


def refused(experiment, error=ExperimentError, split="test"):
    with pytest.raises(error) as caught:
        every_image(experiment, split)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_what_does_not_belong_to_the_experiment_is_not_stored(tmp_path):
    experiment = experiment_of(tmp_path)
    good = split_of("test", 2, 3, 0)
    other_classes = LabelledImages(good.images, good.labels, ("a", "b", "c"), "test")
    for splits, reason in (
        ([other_classes], "cannot be stored"),
        ([split_of("test", 2, 1, 0)], "cannot be stored"),
        ([good, good], "once"),
        ([], "got none"),
    ):
        with pytest.raises(SettingError, match=reason):
            experiment.write_samples(splits)
    with pytest.raises(SettingError, match="At least one"):
        experiment.write_samples([good], limit=0)
    assert not experiment.has_table("samples")


def test_no_table_and_no_such_split(stored):
    experiment, _ = stored
    assert "Did you mean 'test'" in refused(experiment, UnknownNameError, "tst")
    (experiment.folder / "samples.parquet").unlink()
    assert "has no samples.parquet" in refused(experiment)


@pytest.mark.parametrize("damage", ["empty", "text", "cut off", "cut short"])
def test_a_damaged_file(stored, damage):
    experiment, _ = stored
    path = experiment.folder / "samples.parquet"
    data = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"PAR1 no table PAR1", "cut off": data[:-9], "cut short": data[:50]}[damage]
    )
    assert "is damaged" in refused(experiment)


def test_every_flipped_byte_of_a_picture_is_noticed(stored):
    experiment, _ = stored
    path = experiment.folder / "samples.parquet"
    data = bytearray(path.read_bytes())
    start = data.index(b"\x89PNG")
    for offset in range(start, start + 600, 37):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :])
        assert "is damaged" in refused(experiment, split="validation")


def rewritten(experiment, **columns):
    """The table with other columns."""
    table = experiment.table("samples")
    for name, values in columns.items():
        column = table.schema.get_field_index(name)
        kind = table.schema.field(name).type
        table = table.set_column(column, name, pa.array(values(table[name].to_pylist()), kind))
    experiment.write_table("samples", table)


def png(mode="RGB", size=(9, 7)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "columns",
    [
        {"label": lambda labels: [3] * len(labels)},
        {"label": lambda labels: [-2] * len(labels)},
        {"label": lambda labels: [None] * len(labels)},
        {"name": lambda names: [None] * len(names)},
        {"image": lambda images: [None] * len(images)},
        {"image": lambda images: [b""] * len(images)},
        {"image": lambda images: [b"no picture"] * len(images)},
        {"image": lambda images: [image[:-40] for image in images]},
        {"image": lambda images: [png(size=(7, 9))] * len(images)},
        {"image": lambda images: [png("L")] * len(images)},
    ],
    ids=range(10),
)
def test_contents_that_do_not_fit(stored, columns):
    experiment, _ = stored
    rewritten(experiment, **columns)
    assert "is damaged" in refused(experiment)


@pytest.mark.parametrize("change", ["column", "type", "rows"])
def test_another_table_of_that_name(stored, change):
    experiment, _ = stored
    table = experiment.table("samples")
    if change == "column":
        table = table.drop_columns(["name"])
    elif change == "type":
        table = table.set_column(3, "label", table["label"].cast(pa.int64()))
    else:
        table = table.slice(0, 0)
    experiment.write_table("samples", table)
    assert "is damaged" in refused(experiment)
