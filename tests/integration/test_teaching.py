"""Assistants, generations and mutual learning in an experiment: who learns from whom, what is kept, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import SMALL
from interruptible import QUICK, few_digits, stages_of

from kdviz.cli import _parser, main
from kdviz.cli.common.training_options import recipe
from kdviz.core.errors import ExperimentError, SettingError
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill.experiment_trainer import LabelBudget, ModelSource
from kdviz.distill.teaching.settings import Teaching
from kdviz.experiment import load_experiment
from kdviz.studies.sweep.runner import Sweep

pytestmark = pytest.mark.slow

CONFIG = replace(QUICK, epochs=2)
FC, CNN = ModelSource("paper_fc"), ModelSource("paper_cnn")
KINDS = {
    "assistants": Teaching(assistants=(FC, FC)),
    "generations": Teaching(generations=3),
    "continued": Teaching(generations=2, generation_start="previous"),
    "mutual": Teaching(mutual=True),
}
ROLES = {
    "assistants": ["teacher", "assistant", "assistant_2", "kd_student", "student"],
    "generations": ["teacher", "generation_1", "generation_2", "kd_student", "student"],
    "continued": ["teacher", "generation_1", "kd_student", "student"],
    "mutual": ["teacher", "kd_student", "student"],
}


def make(out, teaching=None, config=CONFIG, **more):
    """The experiment, and the steps of each training."""
    steps: Counter[str] = Counter()
    for stage in stages_of(out, config, teaching=teaching, **more):
        steps[stage.name] += stage.progress is not None and not stage.progress.ends_epoch
    return load_experiment(out), steps


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    return {kind: make(tmp_path_factory.mktemp(kind) / "e", each)[0] for kind, each in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_of_a_chain_is_a_run_with_its_teacher(experiments, kind):
    runs = experiments[kind].runs
    assert list(runs) == ROLES[kind]
    taught_by = {role: run.training.get("taught_by") for role, run in runs.items()}
    if kind == "mutual":
        assert taught_by == {"teacher": ["kd_student"], "kd_student": ["teacher"], "student": None}
        assert [run.training.get("mutual") for run in runs.values()] == [True, True, None]
        assert runs["teacher"].training["temperature"] == runs["kd_student"].training["temperature"]
        return
    chain = ROLES[kind][:-1]
    assert taught_by == {"teacher": None, **{b: [a] for a, b in pairwise(chain)}, "student": None}
    assert len({runs[role].training["seed"] for role in chain[1:]}) == len(chain) - 1


@pytest.mark.parametrize("kind", ["assistants", "generations"])
def test_each_network_is_what_plain_distillation_from_the_one_before_it_gives(experiments, kind, tmp_path):
    """The last link of the chain, from the saved weights of the link before it."""
    chain, role = experiments[kind], ROLES[kind][-3]
    teacher = ModelSource(chain.runs[role].network, chain.runs[role].model.state_dict(), True)
    plain, _ = make(tmp_path / "plain", teachers=[teacher])
    same = plain.runs["kd_student"].sha256 == chain.runs["kd_student"].sha256
    assert same
    assert plain.runs["student"].sha256 == chain.runs["student"].sha256
    direct, _ = make(tmp_path / "direct")
    assert direct.runs["kd_student"].sha256 != chain.runs["kd_student"].sha256
    assert direct.runs["teacher"].sha256 == chain.runs["teacher"].sha256


def test_a_continued_generation_begins_with_its_teachers_weights(experiments, tmp_path):
    """Without an update it is its teacher: a learning rate that changes nothing in float32."""
    still, _ = make(tmp_path / "e", KINDS["continued"], replace(CONFIG, learning_rate=1e-30))
    runs = still.runs
    assert runs["teacher"].sha256 == runs["generation_1"].sha256 == runs["kd_student"].sha256
    assert runs["student"].sha256 != runs["teacher"].sha256  # else it would be the teacher, whom it is compared with
    moved = experiments["continued"].runs
    assert len({moved[role].sha256 for role in ROLES["continued"][:-1]}) == 3
    assert [moved[role].training.get("continues") for role in moved] == [None, True, True, None]


def test_that_a_teacher_says_nothing_new_to_its_own_weights_is_no_doubt(tmp_path):
    stages = list(stages_of(tmp_path / "e", replace(CONFIG, epochs=1), teaching=KINDS["continued"]))
    assert not any(stage.progress.warnings for stage in stages if stage.progress is not None)


def test_generations_with_fresh_weights_do_not(tmp_path):
    runs = make(tmp_path / "e", KINDS["generations"], replace(CONFIG, learning_rate=1e-30))[0].runs
    assert len({runs[role].sha256 for role in ROLES["generations"][1:4]}) == 3


def test_networks_that_learn_from_each_other_begin_apart(tmp_path):
    """Two equal networks in the same batches would say the same and teach nothing."""
    runs = make(tmp_path / "e", KINDS["mutual"], replace(CONFIG, learning_rate=1e-30))[0].runs
    assert runs["teacher"].network == runs["kd_student"].network
    assert runs["teacher"].sha256 != runs["kd_student"].sha256
    assert runs["teacher"].training["weights_seed"] == 1000
    assert runs["kd_student"].sha256 == runs["student"].sha256  # both begin with the same weights


def weights(experiment) -> dict[str, str]:
    return {role: run.sha256 for role, run in experiment.runs.items()}


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        ("assistants", ("assistant_2", 2, 2)),
        ("generations", ("generation_1", 2, 1)),
        ("continued", ("kd_student", 1, 3)),
        ("mutual", ("teacher and kd_student", 2, 3)),
    ],
)
def test_an_interrupted_chain_goes_on_and_ends_with_the_same_weights(experiments, tmp_path, kind, at):
    stages = stages_of(tmp_path / "e", CONFIG, teaching=KINDS[kind])
    for stage in stages:
        if stage.progress is not None and (stage.name, stage.progress.epoch, stage.progress.step) == at:
            break
    else:
        pytest.fail("it was over before")
    stages.close()
    experiment, steps = make(tmp_path / "e", KINDS[kind])
    assert weights(experiment) == weights(experiments[kind])
    assert steps["teacher" if kind != "mutual" else at[0]] == (0 if kind != "mutual" else 4)


def test_assistants_take_part_in_losses_between_layers(tmp_path):
    config = replace(CONFIG, feature_loss="hints")
    runs = make(tmp_path / "e", Teaching(assistants=(FC,)), config, teachers=[CNN])[0].runs
    assert [runs[role].training.get("feature_loss") for role in runs] == [None, "hints", "hints", None]


def test_an_assistant_learns_from_given_logits(tmp_path):
    splits = few_digits()
    logits = 5 * torch.nn.functional.one_hot(splits["train"].labels, 10).float()
    experiment, _ = make(tmp_path / "e", Teaching(assistants=(FC,)), teachers=[], teacher_logits=logits, splits=splits)
    assert list(experiment.runs) == ["assistant", "kd_student", "student"]
    assert experiment.runs["assistant"].training["taught_by"] == ["teacher"]


def test_the_weights_of_several_teachers_are_those_of_the_first_of_a_chain(tmp_path):
    config = replace(CONFIG, epochs=1, teacher_mixture=(2.0, 1.0))
    runs = make(tmp_path / "e", Teaching(assistants=(FC,)), config, teachers=[FC, FC])[0].runs
    assert runs["assistant"].training["taught_by"] == ["teacher", "teacher_2"]
    assert [list(runs[role].training["teacher_mix"]) for role in ("assistant", "kd_student")] == [[2.0, 1.0], []]


TRAINED = ModelSource("paper_fc", {}, True)


@pytest.mark.parametrize(
    ("teaching", "more", "reason"),
    [
        (Teaching(mutual=True), {"config": replace(CONFIG, feature_loss="hints")}, "leave the feature loss 'hints'"),
        (Teaching(mutual=True), {"config": replace(CONFIG, teacher_mixture=(1.0,))}, "count the same"),
        (Teaching(mutual=True), {"teachers": [TRAINED]}, "trained with the student"),
        (Teaching(mutual=True), {"label_budget": LabelBudget(100, 0.5)}, "Pseudo-labels"),
        (Teaching(mutual=True), {"shortcut": PlantedShortcut("patch", 0.5, "all", 0)}, "shortcut"),
        (KINDS["continued"], {"teachers": [CNN]}, "like the student, 'paper_fc'"),
        (KINDS["continued"], {"teachers": [FC, FC]}, "like the student"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_trained(tmp_path, teaching, more, reason):
    config = more.pop("config", CONFIG)
    with pytest.raises(SettingError, match=reason):
        next(iter(stages_of(tmp_path / "e", config, teaching=teaching, **more)))
    assert not (tmp_path / "e" / "experiment.json").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"generations": 0},
        {"generation_start": "last"},
        {"mutual": True, "generations": 2},
        {"mutual": True, "assistants": (FC,)},
        {"assistants": (TRAINED,)},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(SettingError):
        Teaching(**settings)


@pytest.mark.parametrize("kind", ["assistants", "mutual"])
def test_a_sweep_of_such_an_experiment_is_refused(experiments, kind):
    with pytest.raises(ExperimentError, match="from the trained teacher alone"):
        Sweep(experiments[kind], "temperature", few_digits(), [1.0], [0], CONFIG)


@pytest.fixture
def few(monkeypatch, small_digits):
    monkeypatch.setattr("kdviz.distill.recipes.read_splits", lambda *_, **__: few_digits())
    monkeypatch.setattr("kdviz.distill.recipes.input_for", lambda *_, **__: SMALL)
    monkeypatch.setattr("kdviz.data.registry.bundled_samples", lambda *_: None)


QUICKLY = ["--epochs", "1", "--no-pretrained", "--device", "cpu", "--data", "x"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--teacher", "self", "--assistants", "paper_fc,paper_fc"], "assistants"),
        (["--recipe", "born_again"], "generations"),
        (["--recipe", "snapshot", "--generations", "2"], "continued"),
        (["--recipe", "mutual_learning"], "mutual"),
    ],
)
def test_the_command_line_trains_them(few, tmp_path, capsys, options, kind):
    out = tmp_path / "e"
    if kind != "mutual":
        options = [*options, "--teacher-epochs", "1"]
    assert main(["train", "mnist", "--out", str(out), *QUICKLY, *options]) == 0
    assert list(load_experiment(out).runs) == ROLES[kind]
    assert "kd_student" in capsys.readouterr().out


def test_mutual_learning_has_no_epochs_of_the_teacher(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "mnist", "--out", str(tmp_path / "e"), "--mutual", "--teacher-epochs", "3", "--data", "x"])
    assert "--teacher-epochs" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_experiment_is_printed_as_the_recipe_that_trains_it(experiments, tmp_path, capsys, kind):
    experiment = experiments[kind]
    assert main(["recipe", "-e", str(experiment.folder)]) == 0
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out)
    options = _parser().parse_args(["train", "--out", "x", "--device", "cpu", "--recipe", str(file)])
    config = recipe(options, options.dataset, seed=options.seed, trainable=options.trainable, bf16="off")
    recorded = experiment.runs["kd_student"].training
    assert all(recorded[name] == value for name, value in config.to_json().items() if name != "teacher_mix")
    assert (options.dataset, options.student, options.teacher) == ("folder", "paper_fc", ["paper_fc"])
    teaching = KINDS[kind]
    asked = tuple(source.network for source in teaching.assistants), teaching.generations
    assert (tuple(options.assistants), options.generations) == asked
    assert (options.generation_start, options.mutual) == (teaching.generation_start, teaching.mutual)
    assert options.teacher_epochs == (None if kind == "mutual" else 2)


def test_the_recipe_of_a_shipped_experiment_has_its_losses(capsys):
    assert main(["recipe", "-e", "cifar10", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["augment"], values["views"], values["optimizer"]) == ("shift,flip", 6, "sgd_fast_bias")
    assert values["size"] == 32
    assert main(["recipe", "-e", "mnist"]) == 0
    assert 'augment = ""\n' in capsys.readouterr().out  # the data set's own may be another one some day
