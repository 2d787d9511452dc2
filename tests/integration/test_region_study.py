"""The study of regions, from the command to the table."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import kdviz
from kdviz.cli import main
from kdviz.experiment import load_experiment
from kdviz.importing import first_maps
from kdviz.metrics.localisation import energy_inside
from kdviz.studies.regions import read_region

COMMAND = ["--study", "regions", "--device", "cpu", "--threads", "1", "--masks", "64"]


@pytest.fixture
def stored(tiny, small_digits):
    """A small experiment that keeps pictures, whose regions are the digits themselves."""
    samples = small_digits.take(torch.arange(0, 1000, 50), "test")
    samples = samples.__class__(samples.images, samples.labels, samples.classes, "test", tuple(map(str, range(20))))
    tiny.write_samples([samples], 12)
    folder = tiny.folder.parent / "masks"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(samples.images[number, 0].numpy() > 127).save(folder / f"{number}.png")
    return tiny.folder, folder


def study(folder, regions, *options):
    return main(["study", "-e", str(folder), "--regions", str(regions), *COMMAND, *options])


def test_the_study_of_stored_pictures(stored, capsys):
    folder, masks = stored
    assert study(folder, masks, "--method", "rise", "--method", "saliency", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sentences"][-1].startswith("Intervals are over pictures")
    assert document["pictures"] == 12
    assert document["unknown"] == 8
    assert {row["method"] for row in document["roles"]} == {"rise", "saliency"}
    experiment = load_experiment(folder)
    table = experiment.table("regions").to_pylist()
    assert len(table) == 12 * 3 * 2
    samples = experiment.samples("test")
    for row in table:
        kept = read_region(experiment, "test", row["sample"])
        assert kept is not None
        assert kept.source == f"{row['sample']}.png"
        if row["method"] == "saliency":
            picture = samples.picture(samples.numbers.tolist().index(row["sample"]))
            maps = kdviz.explain(experiment, picture, row["target"], "saliency", roles=[row["role"]], device="cpu")
            saliency = maps[row["role"]]
            region = np.asarray(picture) > 127
            assert row["energy"] == pytest.approx(energy_inside(saliency.values, region), abs=2e-3)  # kept as float16
            assert row["area"] == pytest.approx(region.mean())
            np.testing.assert_array_equal(kept.shares, region)
            assert row["predicted"] == saliency.predicted
            assert row["right"] == (saliency.predicted == row["label"])


def test_maps_that_are_there_are_not_made_again(stored, capsys, monkeypatch):
    folder, masks = stored
    assert study(folder, masks) == 0
    before = (folder / "regions.parquet").read_bytes()
    monkeypatch.setattr("kdviz.studies.attention.worker.make_maps", None)
    assert study(folder, masks) == 0
    assert (folder / "regions.parquet").read_bytes() == before
    assert "KD student less" in capsys.readouterr().out


def test_pictures_in_files_with_masks_beside_them(tree_of_lesions, imported_lesions, capsys):
    assert study(imported_lesions, tree_of_lesions, "--data", str(tree_of_lesions), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["of"], document["missing"], document["pictures"]) == (6, 1, 5)
    shares = [row["area"] for row in document["roles"] if row["subset"] == "all"]
    assert shares == pytest.approx([0.25] * 3)


@pytest.fixture
def tree_of_lesions(tmp_path):
    """Six pictures of 40 x 28 in two classes; five have a mask beside them, a quarter of what the models see."""
    generator = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "lesions" / ("good", "bad")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (28, 40), np.uint8)).save(folder / f"{number}.png")
        mask = np.zeros((28, 40), bool)
        mask[:14, :20] = True
        if number:
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
    return tmp_path / "lesions"


@pytest.fixture
def imported_lesions(tiny, tree_of_lesions):
    """The small experiment as if its models had been trained elsewhere, with two classes."""
    from conftest import NETWORKS, SMALL

    from kdviz.distill.storage.run_files import new_network
    from kdviz.experiment import Experiment

    made = Experiment(tiny.folder.parent / "imported", "imported", ("bad", "good"), SMALL, {})
    for seed, (role, name) in enumerate(NETWORKS.items()):
        made.add_run(role, name, new_network(name, SMALL, 2, seed).eval(), {}, {})
    made.save()
    return made.folder


@pytest.mark.slow
def test_an_import_goes_on_with_the_study(imported_lesions, tree_of_lesions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules[first_maps.__module__], "_MOST", 64)  # masks of the examples
    spec = "network={},size=14,resize=14,channels=1,mean=.5,std=.5"
    files = {path.name.rpartition("-")[0]: path for path in imported_lesions.glob("*.safetensors")}
    command = ["import", "--out", str(tmp_path / "made"), "--data", str(tree_of_lesions), "--device", "cpu"]
    command += ["--teacher", f"{files['teacher']},{spec.format('paper_cnn')}"]
    command += ["--kd-student", f"{files['kd_student']},{spec.format('paper_fc')}", "--threads", "1"]
    masks = tmp_path / "regions.csv"
    masks.write_text("picture,x,y,width,height\n1.png,0,0,20,14\n2.png,0,0,20,14\n3.png,9,9,9,9\n", encoding="utf-8")
    assert main([*command, "--regions", str(masks)]) == 0
    assert "the KD student looks" in capsys.readouterr().out.replace("The", "the")
    assert len(load_experiment(tmp_path / "made").table("regions")) == 3 * 2
    with pytest.raises(SystemExit):
        main(["import", "--out", str(tmp_path / "other"), "--teacher", str(files["teacher"]), "--regions", str(masks)])


@pytest.mark.parametrize("options", [["--study", "regions"], ["--study", "models", "--regions", "x"]])
def test_regions_and_their_study_belong_together(tiny_folder, options, capsys):
    with pytest.raises(SystemExit) as end:
        main(["study", "-e", str(tiny_folder), *options])
    assert end.value.code == 2
    assert "--study regions and --regions" in capsys.readouterr().err


def test_an_estimate_is_refused_rather_than_ignored(stored, capsys):
    with pytest.raises(SystemExit) as end:
        study(*stored, "--estimate")
    assert end.value.code == 2
    assert "--estimate: not with --study regions" in capsys.readouterr().err
    assert not (stored[0] / "regions.parquet").exists()


def test_errors_are_one_line(stored, tmp_path, capsys):
    folder, masks = stored
    for number in range(20):
        Image.new("1", (9, 9), 1).save(masks / f"{number}.png")
    assert study(folder, masks) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "is for a picture of 9 x 9 pixels, and the picture has 14 x 14" in error
    assert study(folder, masks, "--method", "rise", "--baseline", "pink") == 1
    assert study(folder, tmp_path / "nowhere") == 1
    assert "There is no file or folder" in capsys.readouterr().err
