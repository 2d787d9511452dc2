"""The engine of the attention study: maps of many models for many images, rows, stores, engines."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from attention_studies import SETTINGS, a_study, same, table_of
from safetensors.torch import load as load_safetensors
from sweeps import CONFIG, small_splits

from kdviz.cli import main
from kdviz.core.errors import DatasetError, ExperimentError, KdvizError, SettingError
from kdviz.experiment import load_experiment
from kdviz.metrics import agreement
from kdviz.models.networks import build_network
from kdviz.rise import streaming
from kdviz.saliency import explain
from kdviz.studies.attention import (
    AttentionStudy,
    budget,
    maps,
    own_models,
    read_attention,
    seeds_of_teacher,
    shuffles,
    study,
    sweep_for,
    sweep_of_teacher,
    swept_models,
    teacher_runs,
    train_teachers,
    worker,
)
from kdviz.studies.attention.maps import GroupMaps, read_maps
from kdviz.studies.attention.models import StudyModel, shuffled
from kdviz.studies.attention.sampling import stratified_sample
from kdviz.studies.attention.statistics.pairs import SCHEMA, all_pairs, partners
from kdviz.studies.attention.statistics.table import about_studies
from kdviz.studies.attention.unfinished_scores import scores_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(study, "GROUP", 8)


@pytest.fixture(scope="module")
def few(small_digits):
    return small_digits.take(torch.arange(0, 1500, 10), "test")


@pytest.fixture(scope="module")
def _finished(_untrained, few, tmp_path_factory) -> Path:
    """The folder of an experiment whose study has come to its end."""
    folder = Path(shutil.copytree(_untrained, tmp_path_factory.mktemp("finished") / "tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "GROUP", 8)
        list(a_study(load_experiment(folder), few).run())
    return folder


@pytest.fixture
def finished(_finished, few, tmp_path) -> AttentionStudy:
    """A copy of that study, for a test to do with as it likes."""
    return a_study(load_experiment(shutil.copytree(_finished, tmp_path / "finished")), few)


# images ---------------------------------------------------------------------------------------------------------------


def test_images_are_stratified_and_their_weights_undo_it():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 1000)
    right = {"teacher": generator.random(1000) < 0.95, "student": generator.random(1000) < 0.9}
    chosen = stratified_sample(labels, right, 400, seed=3)
    assert len(set(chosen.samples.tolist())) == len(chosen.samples) == 400
    assert chosen.weights.sum() == pytest.approx(1000)
    for role, truth in right.items():  # weighted, the split's accuracy comes out exactly
        assert np.average(truth[chosen.samples], weights=chosen.weights) == pytest.approx(truth.mean())
        assert [role in roles for roles in chosen.who] == truth[chosen.samples].tolist()
    wrong = ~(right["teacher"] & right["student"])
    assert wrong[chosen.samples].sum() == wrong.sum()  # all of them, since they fit
    counts = np.bincount(labels[chosen.samples][~wrong[chosen.samples]])
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(stratified_sample(labels, right, 400, seed=3).samples, chosen.samples)
    assert not np.array_equal(stratified_sample(labels, right, 400, seed=4).samples, chosen.samples)


def test_a_thousand_classes_are_all_represented():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 50)
    right = {role: generator.random(50_000) < share for role, share in (("teacher", 0.8), ("student", 0.6))}
    chosen = stratified_sample(labels, right, 2000, seed=1)
    assert len(set(chosen.samples.tolist())) == 2000
    assert chosen.weights.sum() == pytest.approx(50_000)
    wrong = ~(right["teacher"] & right["student"])[chosen.samples]
    assert wrong.sum() == 1000
    for part in (wrong, ~wrong):  # each tenth of the classes has its share, though there are more strata than images
        tenths = np.bincount(labels[chosen.samples[part]] // 100, minlength=10)
        assert tenths.min() > 70
    for truth in right.values():
        assert np.average(truth[chosen.samples], weights=chosen.weights) == pytest.approx(truth.mean(), abs=0.03)


def test_images_of_a_small_split():
    everything = stratified_sample(np.array([0, 1, 0, 1]), {"teacher": np.array([True, True, True, False])}, 9)
    assert sorted(everything.samples) == [0, 1, 2, 3]
    np.testing.assert_allclose(everything.weights, 1)
    assert stratified_sample(np.zeros(6, int), {}, 3).weights.tolist() == [2, 2, 2]
    with pytest.raises(SettingError, match="two images"):
        stratified_sample(np.array([0, 1]), {}, 1)


def test_every_image_gets_another_one_of_another_class():
    targets = np.array([3, 1, 1, 0, 3, 2, 1, 0])
    partner_of = partners(targets)
    assert sorted(partner_of) == list(range(8))
    assert (targets[partner_of] != targets).all()
    crowded = partners(np.array([1, 1, 1, 0]))  # no class but one for most of them
    assert sorted(crowded) == [0, 1, 2, 3]
    assert (crowded != np.arange(4)).all()


# models ---------------------------------------------------------------------------------------------------------------


def test_shuffled_weights_are_the_same_numbers_elsewhere():
    network = build_network("paper_cnn", classes=10, channels=1, size=(14, 14))
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    for name, after in shuffled(network, 1).named_parameters():
        torch.testing.assert_close(after.flatten().sort().values, before[name].flatten().sort().values)
        assert not torch.equal(after, before[name])


def test_pairs_of_a_sweep(tiny, small_digits):
    sweep = sweep_for(tiny, "temperature", small_splits(small_digits), [1, 4], [0, 1], CONFIG)
    list(sweep.make_weights([2, 3], threads=1))
    assert list(sweep.make_weights([2, 3], threads=1)) == []  # nothing is left
    models = swept_models(sweep, [2, 3])
    models += shuffles(models[0], [0, 1])
    assert [model.role for model in models].count("second") == 2
    pairs = [(pair.kind, pair.first.key, pair.second.key) for pair in all_pairs(models)]
    assert len(pairs) == len(set(pairs)) == 3 * (4 + 2) + 2 + 2  # claim, other, shuffled; second; own shuffle
    assert ("shuffled", "teacher shuffled, seed 1", "T = 4, seed 1") in pairs
    assert ("second", "teacher", "alone, seed 3") in pairs
    weights = load_safetensors(next(model.content for model in models if model.key == "alone, seed 3"))
    stored = load_safetensors(sweep.store.read(f"{sweep.plan.student(3).identity}/weights.safetensors"))
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in weights)


@pytest.mark.slow
def test_further_teachers_have_students_of_their_own(tiny, small_digits):
    own = sweep_for(tiny, "temperature", small_splits(small_digits), [4], [0, 1], CONFIG)
    (run,) = teacher_runs(own, 1)
    assert [stage.name for stage in train_teachers(own, [run], threads=1)][-1] == "teacher, seed 1"
    assert list(train_teachers(own, [run], threads=1)) == []  # nothing is left
    other = sweep_of_teacher(own, run, seeds_of_teacher([0, 1], 1))
    for sweep in (own, other):
        list(sweep.make_weights(threads=1))
    first, second = (swept_models(sweep) for sweep in (own, other))
    assert [model.key for model in second] == [
        "teacher, seed 1",
        *("alone, seed 2", "alone, seed 3", "T = 4, seed 2", "T = 4, seed 3"),
    ]
    assert first[0].content != second[0].content
    claims = {(pair.first.key, pair.second.key) for pair in all_pairs([*first, *second]) if pair.kind == "claim"}
    assert claims == {
        *(("teacher", f"{student}, seed {seed}") for student in ("alone", "T = 4") for seed in (0, 1)),
        *(("teacher, seed 1", f"{student}, seed {seed}") for student in ("alone", "T = 4") for seed in (2, 3)),
    }


def test_a_study_of_teachers_epochs_has_its_teachers(tiny, small_digits):
    sweep = sweep_for(tiny, "teacher-epochs", small_splits(small_digits), [1], [0], CONFIG)
    with pytest.raises(SettingError, match="leave --teachers away"):
        teacher_runs(sweep, 1)


def test_pairs_of_stopped_teachers_are_with_the_own_teacher(tiny, small_digits):
    sweep = sweep_for(tiny, "teacher-epochs", small_splits(small_digits), [1, 2], [0], CONFIG)
    list(sweep.make_weights([5], threads=1))
    pairs = [(pair.kind, pair.first.key, pair.second.key) for pair in all_pairs(swept_models(sweep, [5]))]
    own = "teacher of 2 epochs, seed 0"
    assert ("claim", own, "epochs = 2, seed 0") in pairs
    assert ("claim", own, "alone, seed 0") in pairs
    assert ("second", own, "alone, seed 5") in pairs
    assert ("claim", own, "epochs = 1, seed 0") not in pairs


def test_a_study_needs_the_three_roles(tiny):
    del tiny.runs["student"]
    with pytest.raises(ExperimentError, match="no student"):
        own_models(tiny)


# maps and rows --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_are_those_of_explain(tiny, few, monkeypatch):
    """Another way to the same numbers: kdviz.explain, one image at a time, and kdviz.agreement."""
    monkeypatch.setattr(maps, "group_seed", lambda seed, group: 100 + group)  # small, as explain() takes it
    attention_study = a_study(tiny, few)
    list(attention_study.run())
    rows = {(row["sample"], row["pair"], row["second"]): row for row in table_of(attention_study).to_pylist()}
    for position in (0, 9, 19):
        sample = int(attention_study.chosen.samples[position])
        group = int(np.searchsorted(attention_study.bounds, position, side="right")) - 1
        row = rows[sample, "claim", "kd_student"]
        expected_maps = explain(tiny, few.picture(sample), target=row["target"], **{**SETTINGS, "seed": 100 + group})
        for measure in ("spearman", "pearson", "ssim", "iou"):
            pair = agreement(expected_maps, measure).between("teacher", "kd_student")
            assert row[measure] == pytest.approx(pair.agreement, abs=5e-3)
            assert row[f"ceiling_first_{measure}"] == pytest.approx(pair.ceiling_first, abs=5e-3)
            assert row[f"ceiling_second_{measure}"] == pytest.approx(pair.ceiling_second, abs=5e-3)
        stored = attention_study.maps.halves(sample)
        expected = expected_maps["kd_student"].halves
        np.testing.assert_allclose(stored["kd_student"], expected, atol=2e-3 * np.abs(expected).max())
    with pytest.raises(KdvizError, match="not in this study"):
        attention_study.maps.halves(max(set(range(150)) - set(attention_study.chosen.samples.tolist())))


@pytest.mark.slow
def test_other_images_are_compared_with_the_partner(finished):
    rows = [row for row in table_of(finished).to_pylist() if row["pair"] == "other" and row["second"] == "student"]
    assert all(row["first_sample"] != row["sample"] for row in rows)
    claims = {row["sample"]: row for row in table_of(finished).to_pylist() if row["pair"] == "claim"}
    for row in rows[:5]:
        first = finished.maps.halves(row["first_sample"])["teacher"]
        second = finished.maps.halves(row["sample"])["student"]
        expected = np.mean([np.corrcoef(first[i].ravel(), second[1 - i].ravel())[0, 1] for i in (0, 1)])
        assert row["pearson"] == pytest.approx(expected, abs=1e-3)
        assert row["ceiling_first_pearson"] == claims[row["first_sample"]]["ceiling_first_pearson"]


@pytest.mark.slow
def test_the_table_is_tidy(finished):
    table = table_of(finished)
    assert table.schema.remove_metadata() == SCHEMA
    assert table.num_rows == 20 * len(all_pairs(finished.models)) == 20 * 7
    about = about_studies(finished.experiment)["models"]
    assert about["images"] == 20
    assert about["of"] == 150
    assert about["seconds"] > 0
    assert table["weight"].to_numpy()[:20].sum() <= 150
    assert np.isfinite(table["spearman"].to_numpy()).all()
    assert finished.identity == about["identity"]


@pytest.mark.slow
def test_other_studies_stay_in_the_table(tiny, few):
    first = a_study(tiny, few)
    list(first.run())
    before = table_of(first)
    second = a_study(tiny, few, 12, study="alpha")
    list(second.run())
    after = table_of(second)
    assert after.num_rows == 32 * 7
    same(before, after.slice(0, before.num_rows))
    assert set(about_studies(tiny)) == {"models", "alpha"}
    list(replace(second, images=9).run())  # its own rows are replaced
    assert table_of(second).num_rows == 29 * 7


@pytest.mark.slow
def test_figures_are_the_same_for_any_chunk_size(tiny, few, monkeypatch):
    tables = []
    for batch in (None, 5, 64):
        attention_study = a_study(tiny, few, 10, batch=batch, results=tiny.folder / f"study{batch}")
        list(attention_study.run())
        tables.append(table_of(attention_study))
    same(tables[0], tables[1])
    same(tables[0], tables[2])
    monkeypatch.setattr("kdviz.studies.attention.statistics.pairs._ELEMENTS", 14 * 14 * 10)  # image by image
    list(a_study(tiny, few, 10, results=tiny.folder / "again").run())
    same(tables[0], tiny.table("agreement"))


def test_captum_methods_have_studies_too(tiny, few):
    attention_study = AttentionStudy(tiny, few, own_models(tiny), 6, method="saliency", device="cpu")
    list(attention_study.run())
    rows = table_of(attention_study).to_pylist()
    assert {row["n_masks"] for row in rows} == {0}
    assert all(row["ceiling_first_spearman"] == pytest.approx(1) for row in rows)  # nothing is random in them


def test_data_of_other_classes_are_refused(tiny, few):
    with pytest.raises(DatasetError, match="classes"):
        a_study(tiny, replace(few, classes=("a", "b")))


# restarting -----------------------------------------------------------------------------------------------------------


class _Counted:
    """Counts which groups are made."""

    def __init__(self, monkeypatch):
        self.groups = []
        true = worker.make_maps

        def make(task, group):
            self.groups.append(group)
            yield from true(task, group)

        monkeypatch.setattr(worker, "make_maps", make)


@pytest.mark.slow
def test_killed_and_restarted_nothing_is_done_twice(tiny, few, finished, monkeypatch):
    expected = table_of(finished)
    counted = _Counted(monkeypatch)
    for _ in range(6):  # killed in the middle of a group, again and again
        states = a_study(tiny, few).run()
        before = len(counted.groups)
        for _state in states:
            if len(counted.groups) > before + 1:
                break
        states.close()
        if before == len(counted.groups):
            break
    last = a_study(tiny, few)
    list(last.run())
    assert last.left() == []
    finished = [group for group in range(3) if counted.groups.count(group) > 1]
    assert all(counted.groups.count(group) <= 2 for group in finished)  # only the one that was interrupted
    same(expected, table_of(last))
    count = len(counted.groups)
    list(a_study(tiny, few).run())
    assert len(counted.groups) == count


@pytest.mark.slow
def test_rows_that_are_lost_come_from_the_maps(finished, few, monkeypatch):
    expected = table_of(finished)
    counted = _Counted(monkeypatch)
    finished.store.remove(worker.rows_name(1))
    finished.store.write(worker.rows_name(2), b"damaged")
    list(a_study(finished.experiment, few).run())
    assert counted.groups == []
    same(expected, table_of(finished))
    finished.store.write(maps.maps_name(0), b"damaged")
    finished.store.remove(worker.rows_name(0))
    assert read_maps(finished.store, 0) is None
    list(a_study(finished.experiment, few).run())
    assert counted.groups == [0]
    same(expected, table_of(finished))


def test_identity_is_what_decides_the_maps(tiny, few):
    attention_study = a_study(tiny, few)
    assert a_study(tiny, few, batch=3, threads=1).identity == attention_study.identity
    assert a_study(tiny, few, settings={"precision": "auto"}).identity == attention_study.identity
    assert a_study(tiny, few, settings={"n_masks": 129}).identity != attention_study.identity
    assert a_study(tiny, few, settings={"seed": 1}).identity != attention_study.identity
    assert a_study(tiny, few, 19).identity != attention_study.identity
    assert a_study(tiny, few, models=own_models(tiny)).identity != attention_study.identity


def test_an_estimate_takes_some_masks_and_makes_nothing(tiny, few, monkeypatch):
    counted = _Counted(monkeypatch)
    passes: list[int] = []
    true = streaming.run_chunk

    def run_chunk(runners, batches, start, stop):
        passes.append((stop - start) * len(batches.inputs))
        return true(runners, batches, start, stop)

    monkeypatch.setattr(streaming, "run_chunk", run_chunk)
    monkeypatch.setattr(budget, "_PROBE_SECONDS", 0.0)
    many = {"n_masks": 100_000}
    estimated = a_study(tiny, few, settings=many).estimate()
    assert (estimated.done, estimated.images) == (0, 20)
    assert estimated.seconds > 0
    assert sum(passes) < 20_000  # of 20 images times 100,000 masks
    assert counted.groups == []
    assert not (tiny.folder / "study").exists()
    assert a_study(tiny, few, 2, settings=many).estimate().seconds < estimated.seconds


@pytest.mark.slow
def test_progress_and_what_is_left_to_estimate(tiny, few):
    attention_study = a_study(tiny, few)
    states = attention_study.run()
    first = next(states)
    assert (first.done, first.seconds) == (0, None)
    next(state for state in states if state.done > attention_study.bounds[1])
    states.close()
    estimated = a_study(tiny, few).estimate()
    assert (estimated.done, estimated.images) == (attention_study.bounds[1], 20)
    assert estimated.seconds > 0
    done = [state.done for state in attention_study.run()]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (attention_study.bounds[1], 20)
    assert a_study(tiny, few).estimate().seconds == 0


def test_captums_methods_are_estimated_by_one_image(tiny, few):
    attention_study = AttentionStudy(tiny, few, own_models(tiny), 20, method="saliency", device="cpu")
    assert attention_study.estimate().seconds > 0
    assert not (tiny.folder / "study").exists()


@pytest.mark.slow
def test_a_group_goes_on_within(tiny, few, monkeypatch):
    whole = a_study(tiny, few, 8, results=tiny.folder / "whole", batch=16)
    list(whole.run())
    expected = table_of(whole)
    states = a_study(tiny, few, 8, batch=16).run()
    for state in states:
        if state.done >= 4:
            break
    states.close()
    attention_study = a_study(tiny, few, 8, batch=16)
    assert attention_study.store.has(scores_name(0))
    starts: list[int] = []
    true = streaming.run_chunk

    def run_chunk(runners, batches, start, stop):
        starts.append(start)
        return true(runners, batches, start, stop)

    monkeypatch.setattr(streaming, "run_chunk", run_chunk)
    list(attention_study.run())
    assert min(starts) >= 64  # of 128 masks
    assert not attention_study.store.has(scores_name(0))
    same(expected, table_of(attention_study))


def test_damaged_scores_of_a_group_are_made_again(tiny, few):
    attention_study = a_study(tiny, few, 8)
    attention_study.store.write(scores_name(0), b"damaged")
    list(attention_study.run())
    assert attention_study.left() == []


def test_the_answers_that_choose_the_images_are_kept(tiny, few, monkeypatch):
    first = a_study(tiny, few).identity
    monkeypatch.setattr(study, "predict_logits", None)
    assert a_study(tiny, few).identity == first
    (file,) = (tiny.folder / "study" / "answers").iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(TypeError):
        a_study(tiny, few).left()


def test_stored_maps_have_half_precision_of_their_own_scale():
    generator = np.random.default_rng(0)
    halves = generator.normal(size=(2, 3, 2, 5, 4)) * 10.0 ** generator.integers(-9, 4, (2, 3, 1, 1, 1))
    halves[0, 0] = 0
    stored = GroupMaps(halves.astype(np.float32).transpose(0, 1, 2, 4, 3), np.arange(6).reshape(2, 3), 1.5, 20.0)
    back = GroupMaps.from_bytes(stored.to_bytes())
    scale = np.abs(halves).max((2, 3, 4), keepdims=True)
    assert (np.abs(back.halves.transpose(0, 1, 2, 4, 3) - halves) <= 1e-3 * scale).all()
    np.testing.assert_array_equal(back.predicted, stored.predicted)
    assert (back.seconds, back.memory) == (1.5, 20.0)


# a planted effect, through the whole engine ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixed(StudyModel):
    """A student whose probabilities are mixed with the teacher's: by a linear estimator its maps are mixed, too."""

    other: bytes = field(default=b"", repr=False)
    share: float = 0.0

    def build(self, spec, classes):
        own = super().build(spec, classes)
        teacher = replace(self, network="paper_cnn", content=self.other, share=0.0)
        network = StudyModel.build(teacher, spec, classes)
        return _Mixture(own, network, self.share).eval()


class _Mixture(torch.nn.Module):
    def __init__(self, own, teacher, share):
        super().__init__()
        self.own, self.teacher, self.share = own, teacher, share

    def forward(self, images):
        mixed = (1 - self.share) * self.own(images).softmax(1) + self.share * self.teacher(images).softmax(1)
        return mixed.clamp_min(1e-30).log()


def planted(experiment, share):
    teacher, _, alone = own_models(experiment)
    values = {name: getattr(alone, name) for name in ("network", "content", "teacher", "study")}
    mixed = Mixed("planted", "kd_student", **values, value=4.0, seed=0, other=teacher.content, share=share)
    return [teacher, mixed, alone]


def test_maps_of_a_planted_student_are_mixed_with_the_teachers(tiny, few):
    settings = {"estimator": "centred"}
    attention_study = a_study(tiny, few, 8, models=planted(tiny, 0.25), settings=settings)
    list(attention_study.run())
    for sample in attention_study.chosen.samples[:4]:
        halves = attention_study.maps.halves(int(sample))
        expected = 0.75 * halves["student"] + 0.25 * halves["teacher"]
        np.testing.assert_allclose(halves["planted"], expected, atol=4e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_a_planted_effect_comes_out_of_the_whole_engine(tiny, few):
    """Planted in the models and recovered from few masks; what is true, from many other masks."""
    reports, part = {}, few.take(torch.arange(40))
    for name, n_masks, seed in (("study", 192, 0), ("truth", 1024, 9)):
        settings = {"estimator": "ridge", "n_masks": n_masks, "seed": seed}
        # All images, whatever the seed.
        attention_study = a_study(tiny, part, 40, models=planted(tiny, 0.5), settings=settings)
        list(attention_study.run())
        reports[name] = read_attention(tiny, "models", "pearson").chosen
    true = reports["truth"].difference.value
    interval = reports["study"].difference.interval
    assert true > 0.05
    assert interval.low < true < interval.high
    assert reports["study"].difference.value == pytest.approx(true, abs=0.03)
    assert reports["study"].ceiling_kd < reports["truth"].ceiling_kd  # there was noise to take out


# the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_data(small_digits, monkeypatch):
    monkeypatch.setattr("kdviz.distill.recipes.read_splits", lambda *_args, **_more: small_splits(small_digits))


@pytest.mark.slow
def test_the_command_trains_studies_and_answers(tiny, small_data, capsys):
    command = ["study", "-e", str(tiny.folder), "--data", "x", "--images", "40", "--masks", "64", "--values", "1,4"]
    command += ["--seeds", "0,1", "--epochs", "1", "--device", "cpu", "--threads", "1", "--faithfulness", "2"]
    assert main([*command, "--estimate"]) == 0
    assert "8 runs" in capsys.readouterr().err
    assert not tiny.has_table("agreement")
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["outcome"] in ("closer", "further", "cannot be told")
    assert [value["value"] for value in document["values"]] == [1, 4]
    assert {control["control"] for control in document["controls"]} == {
        "second student alone",
        "shuffled teacher",
        "maps of other images",
    }
    assert {row["method"] for row in document["faithfulness"]} >= {"rise", "blurred picture", "occlusion"}
    for name in ("agreement", "attention", "faithfulness"):
        assert pq.read_table(tiny.folder / f"{name}.parquet").num_rows
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "A teacher with shuffled weights" in told
    assert main([*command, "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"images": 40, "done": 40, "seconds": 0.0}


def test_the_command_refuses_a_wrong_split(tiny, small_data, capsys):
    with pytest.raises(SystemExit):
        main(["study", "-e", str(tiny.folder), "--data", "x", "--split", "tset"])
    assert "validation" in capsys.readouterr().err
