"""A plugin as pip would install it: one file for each thing that it adds."""

from __future__ import annotations

from pathlib import Path

LOSS = '''
from kdviz.distill import register_teacher_loss

@register_teacher_loss("test_gap")
def gap(student_logits, teacher_logits, *, power: float = 2.0):
    """|student - teacher|^power, mean over the batch. Lower is better; >= 0."""
    return (student_logits - teacher_logits.detach()).abs().pow(power).mean()
'''

FEATURE_LOSS = '''
from kdviz.core.errors import SettingError
from kdviz.distill import register_feature_loss

def even(power):
    if power % 2:
        raise SettingError("The power must be even.")

@register_feature_loss("test_centres", takes=("vectors",), check=even)
def centres(student_features, teacher_features, *, power: float = 2.0):
    """(mean of the student - mean of the teacher)^power, mean over the batch. Lower is better; >= 0."""
    return (student_features.mean(1) - teacher_features.detach().mean(1)).pow(power).mean()
'''

AUGMENTATION = '''
from kdviz.distill import register_augmentation

@register_augmentation("test_negative")
def negative(images):
    """Black and white exchanged in every image."""
    return 255 - images
'''

METHOD = """
from kdviz.explanation.method import Method, Setting
from kdviz.explanation.methods import register_method

def brightness(task):
    return task.inputs[0].mean(0) ** task.settings["power"]

POWER = Setting("power", 1.0, "Exponent of the brightness.", 0.1, 9, title="Exponent")
register_method(
    Method("test_brightness", "Brightness", False, (POWER,), advice="Knows no model.", compute=brightness)
)
"""

SAMPLER = """
from kdviz.rise.masks import Sampler, samplers

def coins(generator, cells, probability, length):
    return generator.random((length, cells)) < probability

samplers.add("test_coins", Sampler(lambda cells: 32, coins, one_shift=False, pairs=False))
"""

DATA = """
from kdviz.data import DataSet, Recipe, datasets

def read(data, *, size, channels, **options):
    import torch
    from kdviz.data import LabelledImages

    def split(name, count):
        labels = torch.arange(count) % 2
        images = (200 * labels)[:, None, None, None].expand(count, channels, *size).to(torch.uint8)
        return LabelledImages(images, labels, ("dark", "light"), name)

    return {"train": split("train", 16), "validation": split("validation", 6), "test": split("test", 6)}

SMALL = {"size": (6, 6), "channels": 1, "mean": (0.0,), "std": (1.0,)}
RECIPE = Recipe("paper_fc", "paper_fc", False, epochs=1, teacher_epochs=1, batch_size=4)
datasets.add("test-shades", DataSet("Shades", "Dark and light squares.", read, RECIPE, SMALL, needs_folder=False))
"""

PAGE = """
from kdviz.app.page_registry import Page, pages

def draw():
    import streamlit as st

    st.title("Shades of grey")
    st.write("Drawn by a plugin.")

pages.add("test-shades", Page("Shades", "science", draw, needs=frozenset()))
"""


def install(folder: Path) -> Path:
    """Lay the plugin out in ``folder``, which is then to be on the path; one entry point leads nowhere."""
    files = {
        "loss": LOSS,
        "feature_loss": FEATURE_LOSS,
        "augmentation": AUGMENTATION,
        "method": METHOD,
        "sampler": SAMPLER,
        "data": DATA,
        "page": PAGE,
    }
    for name, text in files.items():
        (folder / f"kdviz_test_{name}.py").write_text(text)
    about = folder / "kdviz_test_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: kdviz-test-plugin\nVersion: 1.0\n")
    lines = ["[kdviz.plugins]", *(f"test-{name} = kdviz_test_{name}" for name in files), "test-none = kdviz_absent"]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
