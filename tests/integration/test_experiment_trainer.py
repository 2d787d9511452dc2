"""The runs of an experiment: who is trained from what on what, what is recorded, and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from coloured import SMALL_RGB, changed, coloured, coloured_splits, network, same, state_of
from safetensors.torch import load as load_safetensors
from safetensors.torch import save_file
from torch import nn

import kdviz
from kdviz.core.errors import ExperimentError, ModelError, SettingError
from kdviz.data import LabelledImages
from kdviz.distill import TrainingConfig, experiment_trainer, predict_logits, train_experiment, training
from kdviz.distill.augment import Augment
from kdviz.distill.augment.views import view_of
from kdviz.distill.experiment_trainer import LabelBudget, ModelSource, labelled_part
from kdviz.distill.objectives.losses import pooled_logits
from kdviz.distill.recipes import model_source
from kdviz.distill.stages import concatenate
from kdviz.experiment import load_experiment
from kdviz.models.checkpoints import read_checkpoint
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.sweep.runner import Sweep

CONFIG = TrainingConfig(epochs=1, batch_size=8, device="cpu", bf16="off")
TEACHER, STUDENT = "torchvision/squeezenet1_1", "torchvision/shufflenet_v2_x0_5"
ROLES = ["teacher", "kd_student", "student"]


@pytest.fixture(scope="module")
def splits():
    return coloured_splits()


@pytest.fixture
def calls(monkeypatch):
    """What is trained from now on: the weights before it, and the arguments."""
    seen = []

    def fit(network, train, validation, normalise, config, soft=None, *, teachers=(), **more):
        start = state_of(network)
        asked = {"soft": soft, "teachers": teachers, "explanations": more.get("explanations")}
        seen.append({"start": start, "train": train, "config": config, **asked})
        return training.fit(network, train, validation, normalise, config, soft, teachers=teachers, **more)

    monkeypatch.setattr(experiment_trainer, "fit", fit)
    return seen


def make(splits, out, config=CONFIG, teachers=None, student=None, **more):
    """(The experiment, all stages.)"""
    who = {
        "teachers": [ModelSource(TEACHER)] if teachers is None else teachers,
        "student": student or ModelSource(STUDENT),
    }
    stages = list(train_experiment(splits, SMALL_RGB, "folder", out, config, **who, **more))
    return load_experiment(out), stages


def refused(kind, splits, out, *args, match: str, **more) -> str:
    with pytest.raises(kind, match=match) as caught:
        make(splits, out, *args, **more)
    assert "\n" not in str(caught.value)
    assert not (out / "experiment.json").exists()
    return str(caught.value)


def pretrained(name: str, path, drop=lambda name: False, seed: int = 5):
    """A file of weights that learned 7 other classes."""
    state = {key: value for key, value in network(name, seed, classes=7).state_dict().items() if not drop(key)}
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


# roles and records ----------------------------------------------------------------------------------------------------


def test_roles_stages_and_records(splits, tmp_path):
    config = replace(CONFIG, label_smoothing=0.1, temperature=3.0, seed=4)
    recipe = replace(config, epochs=2, learning_rate=5e-4)
    experiment, stages = make(splits, tmp_path / "e", config, teacher_config=recipe, title="Colours")
    assert list(experiment.runs) == ROLES
    assert (experiment.title, experiment.dataset, experiment.classes) == ("Colours", "folder", splits["train"].classes)
    assert experiment.input == SMALL_RGB
    assert list(dict.fromkeys((stage.name, stage.number, stage.count) for stage in stages)) == [
        ("teacher", 1, 3),
        ("kd_student", 2, 3),
        ("student", 3, 3),
    ]
    ends = [stage.progress.validation_accuracy for stage in stages if stage.progress.ends_epoch]
    assert len(ends) == 2 + 1 + 1
    records = {role: run.training for role, run in experiment.runs.items()}
    assert [run.network for run in experiment.runs.values()] == [TEACHER, STUDENT, STUDENT]
    assert [record["label_smoothing"] for record in records.values()] == [0.0, 0.1, 0.1]
    assert [record["epochs"] for record in records.values()] == [2, 1, 1]
    assert [record["learning_rate"] for record in records.values()] == [5e-4, 1e-3, 1e-3]
    assert [record.get("temperature") for record in records.values()] == [None, 3.0, None]
    for record in records.values():
        assert (record["seed"], record["train_samples"], record["validation_samples"]) == (4, 24, 12)
        assert record["data"] == splits["train"].fingerprint[:16]
        assert not {"weights_from", "labelled", "pseudo_labels", "start"} & set(record)


@pytest.mark.slow
def test_the_students_start_alike_and_learn_from_their_teacher_alone(splits, tmp_path, calls):
    experiment, _ = make(splits, tmp_path / "e")
    teacher, distilled, alone = calls
    assert all(torch.equal(distilled["start"][name], value) for name, value in alone["start"].items())
    assert teacher["soft"] is alone["soft"] is None
    assert all(call["train"] is splits["train"] for call in calls)
    spoken = predict_logits(experiment.runs["teacher"].model, splits["train"], SMALL_RGB.normalise, device="cpu")
    torch.testing.assert_close(distilled["soft"], spoken)
    assert not same(experiment.runs["kd_student"].model, experiment.runs["student"].model)


def test_several_teachers_have_seeds_of_their_own_and_their_mix(splits, tmp_path, calls):
    config = replace(CONFIG, seed=3, teacher_mixture=(2.0, 1.0))
    experiment, stages = make(splits, tmp_path / "e", config, [ModelSource(TEACHER), ModelSource(TEACHER)])
    assert list(experiment.runs) == ["teacher", "teacher_2", "kd_student", "student"]
    assert {(stage.number, stage.count) for stage in stages} == {(number, 4) for number in range(1, 5)}
    assert [call["config"].seed for call in calls] == [3, 4, 3, 3]
    assert calls[2]["soft"].shape == (2, 24, 3)
    assert calls[2]["config"].teacher_mixture == (2.0, 1.0)
    assert experiment.runs["kd_student"].training["teacher_mix"] == [2.0, 1.0]
    assert "teacher_mix" not in experiment.runs["teacher"].training
    assert not torch.equal(calls[2]["soft"][0], calls[2]["soft"][1])


@pytest.mark.slow
def test_a_teacher_of_the_students_network_is_another_model_than_the_student_alone(splits, tmp_path, calls):
    student = ModelSource(STUDENT)
    experiment, _ = make(splits, tmp_path / "e", teachers=[student], student=student)
    first, second, third = calls
    assert not all(torch.equal(first["start"][name], value) for name, value in second["start"].items())
    assert all(torch.equal(second["start"][name], value) for name, value in third["start"].items())
    assert {run.network for run in experiment.runs.values()} == {STUDENT}
    # Else everything that is said of the student alone beside its teacher would be said of one model.
    assert len({run.sha256 for run in experiment.runs.values()}) == 3


def test_a_trained_checkpoint_is_used_as_it_is(splits, tmp_path, calls):
    done = network(TEACHER, seed=9)
    torch.save({"state_dict": done.state_dict()}, tmp_path / "done.pt")
    teacher = model_source(TEACHER, SMALL_RGB, checkpoint=tmp_path / "done.pt")
    experiment, stages = make(splits, tmp_path / "e", teachers=[teacher])
    assert {stage.name for stage in stages} == {"kd_student", "student"}
    assert same(experiment.runs["teacher"].model, done)
    assert experiment.runs["teacher"].training == {"weights_from": "done.pt", "trained": False}
    torch.testing.assert_close(
        calls[0]["soft"], predict_logits(done, splits["train"], SMALL_RGB.normalise, device="cpu")
    )


def test_a_checkpoint_of_other_classes_is_refused_before_anything_is_trained(splits, tmp_path, calls):
    torch.save(network(TEACHER, classes=7).state_dict(), tmp_path / "seven.pt")
    teacher = model_source(TEACHER, SMALL_RGB, checkpoint=tmp_path / "seven.pt")
    refused(
        ModelError, splits, tmp_path / "e", teachers=[ModelSource(TEACHER), teacher], match="of 7 classes, and here.* 3"
    )
    other = model_source(STUDENT, SMALL_RGB, checkpoint=tmp_path / "seven.pt")
    refused(ModelError, splits, tmp_path / "e", teachers=[other], match="does not fit the network")
    assert not calls


def test_every_name_is_looked_up_before_anything_is_trained(splits, tmp_path, calls):
    wrong = ModelSource("torchvision/resnet81")
    for more in ({"student": wrong}, {"teachers": [ModelSource(TEACHER), wrong]}):
        refused(kdviz.KdvizError, splits, tmp_path / "e", match="Did you mean 'resnet18'", **more)
    assert not calls


@pytest.mark.parametrize(
    ("name", "size", "match"),
    [
        ("torchvision/squeezenet1_1", (8, 8), "does not take images of 8 x 8 pixels: Given input"),
        ("timm/vit_tiny_patch16_224", (32, 32), r"32 x 32 pixels: Input height .*[^.]\.$"),
    ],
)
def test_images_that_a_network_does_not_take(tmp_path, calls, name, size, match):
    pytest.importorskip("timm")
    spec, samples = replace(SMALL_RGB, size=size), coloured(6)
    samples = replace(samples, images=samples.images[..., : size[0], : size[1]].contiguous())
    data = {"train": samples, "validation": samples}
    for teacher, student in ((name, "paper_fc"), ("paper_fc", name)):
        stages = train_experiment(
            data, spec, "folder", tmp_path / "e", CONFIG, teachers=[ModelSource(teacher)], student=ModelSource(student)
        )
        with pytest.raises(ModelError, match=match) as caught:
            list(stages)
        assert "\n" not in str(caught.value)
    assert not calls


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"teachers": []}, "There must be a teacher"),
        ({"config": replace(CONFIG, teacher_mixture=(1.0, 2.0))}, "one value a teacher"),
        ({"config": replace(CONFIG, trainable="some")}, "trainable must be all, head or a number"),
        ({"teacher_config": replace(CONFIG, trainable="some")}, "trainable must be all, head or a number"),
        ({"config": replace(CONFIG, feature_loss="hints", student_layer="conv7")}, "Unknown layer"),
        ({"config": replace(CONFIG, feature_loss="hints", teacher_layer="conv7")}, "Unknown layer"),
        (
            {"config": replace(CONFIG, feature_loss="attention_transfer"), "student": ModelSource("paper_fc")},
            "'PaperFC' has no convolution",
        ),
        (
            {"config": replace(CONFIG, feature_loss="grad_cam"), "student": ModelSource("paper_fc")},
            "'PaperFC' has no convolution",
        ),
        (
            {"config": replace(CONFIG, feature_loss="softmax_regression", teacher_layer="features")},
            "does not make its logits from the compared layer",
        ),
        ({"label_budget": LabelBudget(2)}, "must be 3 to 24, got 2"),
        ({"label_budget": LabelBudget(25)}, "must be 3 to 24, got 25"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other(splits, tmp_path, calls, more, match):
    refused(kdviz.KdvizError, splits, tmp_path / "e", match=match, **more)
    assert not calls


@pytest.mark.parametrize("augment", ["flip", ""])
@pytest.mark.slow
def test_teachers_answer_in_every_step_where_they_have_to(splits, tmp_path, calls, augment):
    config = replace(CONFIG, augment=augment, feature_loss="" if augment else "hints")
    experiment, _ = make(splits, tmp_path / "e", config)
    assert [len(call["teachers"]) for call in calls] == [0, 1, 0]
    assert all(call["soft"] is None for call in calls)
    assert calls[0]["config"].feature_loss == ""
    assert experiment.runs["kd_student"].training["feature_loss"] == config.feature_loss
    assert [run.training["augment"] for run in experiment.runs.values()] == [augment] * 3
    assert same(calls[1]["teachers"][0].cpu(), experiment.runs["teacher"].model)


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.slow
def test_a_teacher_explains_images_that_do_not_change_once(splits, tmp_path, calls, views):
    config = replace(CONFIG, feature_loss="grad_cam", views=views, augment="flip" if views else "")
    experiment, _ = make(splits, tmp_path / "e", config)
    assert [len(call["teachers"]) for call in calls] == [0, 0, 0]
    assert [call["explanations"] is None for call in calls] == [True, False, True]
    assert calls[1]["soft"] is not None
    assert experiment.runs["kd_student"].training["feature_loss"] == "grad_cam"


@pytest.mark.slow
def test_with_views_the_teacher_answers_each_once(splits, tmp_path, calls):
    config = replace(CONFIG, augment="flip", views=3, epochs=2)  # the third is never seen
    experiment, _ = make(splits, tmp_path / "e", config)
    assert [len(call["teachers"]) for call in calls] == [0, 0, 0]
    assert [call["config"].views for call in calls] == [0, 3, 3]
    soft = calls[1]["soft"]
    teacher, spec = experiment.runs["teacher"].model, experiment.input
    for view, logits in enumerate(soft):
        copies = replace(splits["train"], images=view_of(splits["train"].images, Augment("flip", 3), view))
        torch.testing.assert_close(logits, predict_logits(teacher, copies, spec.normalise, device="cpu"))
    assert len(soft) == 2
    assert not torch.equal(*soft)
    kept = list((tmp_path / "e/runs").rglob("logits-train-*-flip-000*.npy"))
    assert len(kept) == 2


# pretrained weights, frozen backbones ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", ["head", "1", "all"])
@pytest.mark.slow
def test_students_of_pretrained_weights(splits, tmp_path, calls, trainable):
    file = pretrained(STUDENT, tmp_path / "seven.safetensors")
    config = replace(CONFIG, trainable=trainable)
    student = model_source(STUDENT, SMALL_RGB, weights=file)
    experiment, _ = make(splits, tmp_path / "e", config, student=student, teacher_config=CONFIG)
    given = read_checkpoint(file)
    starts = set()
    for role in ("kd_student", "student"):
        run = experiment.runs[role]
        own = run.model.state_dict()
        moved = {name for name, value in own.items() if name in given and not torch.equal(given[name], value)}
        parts = {"head": ("fc",), "1": ("fc", "conv5"), "all": ("",)}[trainable]
        assert all(name.startswith(parts) for name in moved)
        assert {name.partition(".")[0] for name in moved} >= {part for part in parts if part}
        assert run.training["weights_from"] == "seven.safetensors"
        assert run.training["unfreeze"] == trainable
        starts.add(run.training["start"])
    start = load_safetensors((tmp_path / "e" / "runs" / starts.pop()).read_bytes())
    assert not starts
    assert all(torch.equal(start[name], value) for name, value in given.items() if not name.startswith("fc."))
    assert start["fc.weight"].shape == (3, 1024)
    assert not same(experiment.runs["kd_student"].model, experiment.runs["student"].model)
    on_features = [call["train"].images.shape[2:] == (1, 1) for call in calls]
    assert on_features == [False, trainable == "head", trainable == "head"]


@pytest.mark.slow
def test_frozen_backbones_see_each_image_once(splits, tmp_path, monkeypatch):
    sizes = []
    forward = nn.Conv2d.forward

    def counted(self, images):
        if images.shape[1:] == (3, 32, 32):  # the first layer of either network
            sizes.append(len(images))
        return forward(self, images)

    teacher, student = (
        model_source(name, SMALL_RGB, weights=pretrained(name, tmp_path / f"{number}.pt"))
        for number, name in enumerate(("torchvision/resnet18", STUDENT))
    )
    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    config = replace(CONFIG, trainable="head", epochs=5)
    experiment, _ = make(splits, tmp_path / "e", config, [teacher], student)
    looked_at = sum(size for size in sizes if size < 12)  # twos and fours, to find the head
    assert sum(sizes) - looked_at == 2 * (24 + 12)  # each network, train and validation
    assert len(list((tmp_path / "e" / "runs" / "features").iterdir())) == 4
    assert experiment.runs["teacher"].training["unfreeze"] == "head"
    monkeypatch.undo()
    _, stages = make(splits, tmp_path / "other", config, [teacher], student)
    ends = [stage.progress for stage in stages if stage.progress.ends_epoch and stage.name == "kd_student"]
    assert ends[-1].loss < ends[0].loss


def test_a_frozen_network_whose_head_is_not_its_end_is_trained_whole(splits, tmp_path, calls):
    file = pretrained(TEACHER, tmp_path / "seven.pt")
    teacher = model_source(TEACHER, SMALL_RGB, weights=file)
    recipe = replace(CONFIG, trainable="head")
    experiment, _ = make(splits, tmp_path / "e", CONFIG, [teacher], teacher_config=recipe)
    assert calls[0]["train"].images.shape[2:] == (32, 32)
    given, own = read_checkpoint(file), experiment.runs["teacher"].model.state_dict()
    moved = {name for name, value in own.items() if not torch.equal(given[name][: len(value)], value)}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}


def test_weights_that_would_stay_random_are_refused(splits, tmp_path, calls):
    file = pretrained(STUDENT, tmp_path / "partial.pt", lambda name: name.startswith("stage4.3.branch2.0"))
    partial = model_source(STUDENT, SMALL_RGB, weights=file)
    head = replace(CONFIG, trainable="head")
    said = refused(SettingError, splits, tmp_path / "e", head, student=partial, match="stay random")
    assert said == (
        "The weights of the student lack 1 tensors (first 'stage4.3.branch2.0.weight') that would stay random, since "
        "they are frozen; unfreeze more stages, or give complete weights."
    )
    refused(
        SettingError,
        splits,
        tmp_path / "e",
        teachers=[partial],
        teacher_config=head,
        match="weights of the teacher lack",
    )
    assert not calls
    experiment, _ = make(splits, tmp_path / "e", replace(CONFIG, trainable="2"), student=partial, teacher_config=CONFIG)
    assert experiment.runs["student"].training["unfreeze"] == "2"  # conv5 and stage4.3, which are trained


def test_fresh_backbones_can_be_frozen_on_purpose(splits, tmp_path):
    make(splits, tmp_path / "e", replace(CONFIG, trainable="head"), [ModelSource(STUDENT)])


def test_weights_of_another_normalisation(splits, tmp_path):
    file = pretrained(STUDENT, tmp_path / "seven.pt")
    other = ((0.5,) * 3, (0.5,) * 3)
    student = ModelSource(STUDENT, read_checkpoint(file), normalisation=other, source="seven.pt")
    experiment, _ = make(splits, tmp_path / "e", replace(CONFIG, trainable="head"), student=student)
    run = experiment.runs["kd_student"]
    assert run.network == f"{STUDENT}@renormalised"
    given = read_checkpoint(file)
    assert all(
        torch.equal(run.model.state_dict()[f"network.{name}"], value)
        for name, value in given.items()
        if not name.startswith("fc.")
    )
    torch.testing.assert_close(run.model.scale.flatten(), torch.tensor(SMALL_RGB.std) / 0.5)


# a teacher of which only logits are known -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(splits, tmp_path_factory):
    """The folder of an experiment of two students of somebody's logits."""
    out = tmp_path_factory.mktemp("logits") / "e"
    logits = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    stages = train_experiment(
        splits, SMALL_RGB, "folder", out, CONFIG, teachers=[], student=ModelSource(STUDENT), teacher_logits=logits
    )
    assert {(stage.name, stage.number, stage.count) for stage in stages} == {("kd_student", 1, 2), ("student", 2, 2)}
    return out


def test_students_of_logits_alone(splits, tmp_path, calls):
    logits = 9.0 * torch.eye(3)[(splits["train"].labels + 1) % 3]
    experiment, _ = make(splits, tmp_path / "e", teachers=[], teacher_logits=logits)
    assert list(experiment.runs) == ["kd_student", "student"]
    assert calls[0]["soft"] is logits
    assert calls[1]["soft"] is None
    assert experiment.runs["kd_student"].training["temperature"] == 4.0


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"teachers": [ModelSource(TEACHER)]}, "not both"),
        ({"config": replace(CONFIG, augment="flip")}, "cannot see changed images"),
        ({"config": replace(CONFIG, feature_loss="hints")}, "show its features"),
        ({"config": replace(CONFIG, teacher_mixture=(1.0, 2.0))}, "one value a teacher"),
        ({"label_budget": LabelBudget(12)}, "cannot label further images"),
        ({"label_budget": LabelBudget(0, 0.5, coloured(6))}, "cannot label further images"),
        ({"teacher_logits": torch.zeros(24, 4)}, "24 training samples of 3 classes"),
        ({"teacher_logits": torch.zeros(23, 3)}, "24 training samples of 3 classes"),
    ],
    ids=str,
)
def test_what_logits_alone_cannot_do(splits, tmp_path, more, match):
    refused(
        SettingError,
        splits,
        tmp_path / "e",
        **({"teachers": [], "teacher_logits": torch.zeros(24, 3)} | more),
        match=match,
    )


@pytest.mark.slow
def test_downstream_without_a_teacher(taught, splits, tmp_path):
    experiment = load_experiment(taught)
    maps = kdviz.explain(experiment, splits["test"].picture(0), n_masks=60, grid=4, seed=0)
    assert list(maps) == ["kd_student", "student"]
    report = kdviz.agreement(maps)
    assert len(report.to_json()["pairs"]) == 1
    assert list(evaluate(experiment, splits["test"], "cpu")) == ["kd_student", "student"]
    assert "same_as_teacher" not in experiment.runs["kd_student"].metrics["test"]
    for name in ("temperature", "teacher-epochs"):
        with pytest.raises(ExperimentError, match="has no teacher, which a study needs") as caught:
            Sweep(experiment, name, splits, [1], [0], CONFIG, results=tmp_path)
        assert "\n" not in str(caught.value)


# few labels -----------------------------------------------------------------------------------------------------------


def labelled(counts: tuple[int, ...]) -> LabelledImages:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    classes = tuple("abcdefgh"[: len(counts)])
    return LabelledImages(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, classes, "train")


@pytest.mark.parametrize(
    ("counts", "count", "expected"),
    [
        ((60, 30, 10), 10, [6, 3, 1]),
        ((60, 30, 10), 50, [30, 15, 5]),
        ((60, 30, 10), 3, [1, 1, 1]),
        ((97, 2, 1), 3, [1, 1, 1]),
        ((97, 2, 1), 50, [48, 1, 1]),
        ((60, 30, 10), 100, [60, 30, 10]),
    ],
)
def test_the_labelled_part_has_the_classes_in_their_proportions(counts, count, expected):
    samples = labelled(counts)
    for seed in range(3):
        part, others = labelled_part(samples, count, seed)
        assert samples.labels[part].bincount(minlength=3).tolist() == expected
        assert sorted([*part.tolist(), *others.tolist()]) == list(range(len(samples)))
        assert part.tolist() == sorted(part.tolist())


def test_the_labelled_part_is_drawn_by_its_seed_and_grows():
    samples = labelled((40, 40))
    parts = {
        (count, seed): set(labelled_part(samples, count, seed)[0].tolist()) for count in (10, 20) for seed in (0, 1)
    }
    assert parts[10, 0] == set(labelled_part(samples, 10, 0)[0].tolist())
    assert parts[10, 0] != parts[10, 1]
    assert parts[10, 0] < parts[20, 0]


@pytest.mark.parametrize("count", [-1, 0, 1, 81])
def test_as_many_labels_as_there_are(count):
    with pytest.raises(SettingError, match=f"must be 2 to 80, got {count}"):
        labelled_part(labelled((40, 40)), count, 0)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"samples": -1}, "at least 1"),
        ({"samples": 3, "pseudo_labels": 1.0}, "below 1, got 1"),
        ({"samples": 3, "pseudo_labels": -0.1}, "at least 0"),
        ({"samples": 3, "pseudo_labels": float("nan")}, "below 1, got nan"),
        ({"unlabelled": coloured(3)}, "used with pseudo_labels"),
        ({"pseudo_labels": 0.9}, "need images without labels"),
    ],
    ids=str,
)
def test_few_out_of_range(given, match):
    with pytest.raises(SettingError, match=match):
        LabelBudget(**given)


def test_few_labels_are_all_that_is_used(splits, tmp_path, calls):
    experiment, _ = make(splits, tmp_path / "e", replace(CONFIG, seed=2), label_budget=LabelBudget(9))
    part, _ = labelled_part(splits["train"], 9, 2)
    for call in calls:
        assert call["train"].names == tuple(splits["train"].names[number] for number in part)
    assert calls[1]["soft"].shape == (9, 3)
    for run in experiment.runs.values():
        assert (run.training["labelled"], run.training["train_samples"]) == (9, 9)
        assert "pseudo_labels" not in run.training


@pytest.fixture
def sure(splits, tmp_path):
    """A trained teacher that is not equally sure of everything."""
    own = network("torchvision/resnet18", seed=3)
    with torch.no_grad():
        own.fc.weight *= 4
    torch.save(own.state_dict(), tmp_path / "sure.pt")
    return own, model_source("torchvision/resnet18", SMALL_RGB, checkpoint=tmp_path / "sure.pt")


@pytest.mark.parametrize("where", ["others", "unlabelled", "both"])
@pytest.mark.slow
def test_pseudo_labels_are_the_teachers_sure_answers_for_the_kd_student(splits, tmp_path, calls, sure, where):
    model, teacher = sure
    extra = coloured(14, 77, "extra")
    extra = replace(extra, labels=torch.zeros_like(extra.labels))
    part, others = labelled_part(splits["train"], 9, 0)
    pool = {"others": [splits["train"].take(others)], "unlabelled": [extra]}
    pool["both"] = pool["others"] + pool["unlabelled"]
    answers = [predict_logits(model, images, SMALL_RGB.normalise, device="cpu") for images in pool[where]]
    confidence = torch.cat(answers).softmax(1).max(1).values
    level = round(float(confidence.median()), 4)
    few = LabelBudget(9 if where != "unlabelled" else 0, level, extra if where != "others" else None)
    experiment, _ = make(splits, tmp_path / "e", teachers=[teacher], label_budget=few)

    distilled, alone = calls
    known = splits["train"].take(part) if few.samples else splits["train"]
    assert alone["train"].names == known.names
    chosen = confidence >= level
    assert 0 < int(chosen.sum()) < len(chosen)
    names = [name for images in pool[where] for name in images.names]
    expected = [name for name, taken in zip(names, chosen.tolist(), strict=True) if taken]
    count = len(known)
    assert distilled["train"].names == (*known.names, *expected)
    assert torch.equal(distilled["train"].labels[:count], known.labels)
    assert torch.equal(distilled["train"].labels[count:], torch.cat(answers).argmax(1)[chosen])
    assert torch.equal(distilled["train"].images[count:], torch.cat([images.images for images in pool[where]])[chosen])
    torch.testing.assert_close(distilled["soft"][count:], torch.cat(answers)[chosen], rtol=1e-4, atol=1e-4)
    assert experiment.runs["kd_student"].training["train_samples"] == count + len(expected)
    assert experiment.runs["student"].training["train_samples"] == count
    assert experiment.runs["kd_student"].training["pseudo_labels"] == level


@pytest.mark.slow
def test_pseudo_labels_of_several_teachers_are_their_weighted_means(splits, tmp_path, calls, sure):
    model, teacher = sure
    second = network("torchvision/resnet18", seed=8)
    torch.save(second.state_dict(), tmp_path / "second.pt")
    other = model_source("torchvision/resnet18", SMALL_RGB, checkpoint=tmp_path / "second.pt")
    mix = (1.0, 50.0)
    config = replace(CONFIG, teacher_mixture=mix)
    make(splits, tmp_path / "e", config, [teacher, other], label_budget=LabelBudget(9, 0.0))
    _, others = labelled_part(splits["train"], 9, 0)
    rest = splits["train"].take(others)
    said = torch.stack(
        [predict_logits(teacher, rest, SMALL_RGB.normalise, device="cpu") for teacher in (model, second)]
    )
    assert torch.equal(calls[0]["train"].labels[9:], pooled_logits(said, 1.0, mix).argmax(1))
    assert not torch.equal(calls[0]["train"].labels[9:], pooled_logits(said, 1.0).argmax(1))  # equal weights
    assert calls[0]["soft"].shape == (2, 24, 3)


@pytest.mark.slow
def test_pseudo_labels_with_a_teacher_that_answers_in_every_step(splits, tmp_path, calls, sure):
    make(splits, tmp_path / "e", replace(CONFIG, augment="flip"), [sure[1]], label_budget=LabelBudget(9, 0.0))
    assert [len(call["train"]) for call in calls] == [24, 9]
    assert (calls[0]["soft"], len(calls[0]["teachers"])) == (None, 1)


def test_joined_samples_keep_their_names_if_both_have_some():
    first, second = coloured(4), coloured(3, 1, "more")
    both = concatenate(first, second)
    assert (len(both), both.split, both.names) == (7, "train", (*first.names, *second.names))
    assert torch.equal(both.images, torch.cat([first.images, second.images]))
    assert concatenate(first, replace(second, names=None)).names is None


# what goes wrong on the way -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_error_in_the_middle_leaves_the_older_experiment_whole(splits, tmp_path, monkeypatch):
    out = tmp_path / "e"
    older, _ = make(splits, out)
    older.write_table("temperature", older_table())
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    states = {role: state_of(run.model) for role, run in older.runs.items()}
    started = []

    def fit(*args, **more):
        started.append(1)
        if len(started) == 3:
            raise ModelError("Stopped.")
        return training.fit(*args, **more)

    monkeypatch.setattr(experiment_trainer, "fit", fit)
    with pytest.raises(ModelError, match="Stopped"):
        make(splits, out, replace(CONFIG, seed=1))
    assert {name: (out / name).read_bytes() for name in before} == before
    again = load_experiment(out)
    assert all(not changed(states[role], run.model) for role, run in again.runs.items())
    monkeypatch.undo()
    newer, _ = make(splits, out, replace(CONFIG, seed=1))
    kept = {run.weights for run in newer.runs.values()}
    assert {path.name for path in out.glob("*.safetensors")} == kept  # nothing is left behind
    assert not newer.has_table("temperature")  # of another teacher


def older_table():
    import pyarrow as pa

    return pa.table({"temperature": [1.0]})


def test_weights_that_are_no_numbers_end_in_one_sentence(splits, tmp_path):
    state = network(STUDENT, classes=7).state_dict()
    state["conv1.0.weight"][0] = float("nan")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (tmp_path / "nan.pt").write_bytes(buffer.getvalue())
    student = model_source(STUDENT, SMALL_RGB, weights=tmp_path / "nan.pt")
    refused(
        ModelError,
        splits,
        tmp_path / "e",
        student=student,
        match=r"^The loss became nan in epoch 1; try a lower learning rate\.$",
    )
