"""Topics that are lists: which method, limits, glossary, papers."""

from __future__ import annotations

from collections.abc import Sequence

from kdviz.app.pages.methods.sections.parts import say
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.language import N_, _
from kdviz.saliency import methods


def choosing() -> None:
    say(
        _(
            "To compare a convolutional teacher with a fully connected student, or with an int8 file, use a method "
            "that needs nothing but the scores. Where a method does not fit a model, *Compare* says so."
        )
    )
    rows = [
        [
            f"{text(_(method.title))}<br><code>{text(name)}</code>",
            text(_("probability") if method.explains == "probability" else _("logit")),
            text(_("yes") if method.signed else _("no")),
            text(_(method.needs)),
            text(_(method.advice) if method.advice else ""),
        ]
        for name, method in ((name, methods[name]) for name in methods)
    ]
    columns = [_("Method"), _("Explains the"), _("Sign"), _("The model needs"), _("When, and its limits")]
    kinds = {1: "left", 2: "left", 3: "wrap", 4: "wrap"}
    html.show(html.table(_("Saliency methods"), columns, rows, kinds=kinds))
    say(
        _(
            "Values of different methods are in different units: compare where their maps are strong, not how strong. "
            "RISE, GradientSHAP and KernelSHAP are random and come with a standard error; the others have none, which "
            "does not mean that they are exact."
        )
    )


_LIMITS: Sequence[tuple[str, str]] = (
    (
        N_("It depends on what replaces the pixels"),
        N_(
            "Black, grey, blur and noise ask different questions. A removed pixel that still looks natural to the "
            "model is not really removed, and one that looks odd has an influence of its own. Try two baselines; trust "
            "what both show."
        ),
    ),
    (
        N_("On digits, black redraws the digit"),
        N_(
            "The background of MNIST is black already, so removing background changes nothing: the map can only be "
            "about the ink and is blind to evidence of absence, such as the gap that makes a 4 no 9. Grey sees it."
        ),
    ),
    (
        N_("One picture is a case, not a rule"),
        N_("For a statement about a model use many pictures, several seeds and an interval: the page of the study."),
    ),
    (
        N_("Maps of one comparison share their masks"),
        N_(
            "Two maps may have the same speckles. That is noise in common and no agreement; the agreement that is "
            "shown is free of it, your eye is not."
        ),
    ),
    (
        N_("Influence on the model, not a cause in the world"),
        N_(
            "A bright region says that the model uses it. It may be a stain, a pen mark or the scanner's edge that "
            "happens to go with the class. Only other data can tell."
        ),
    ),
    (
        N_("It is blurred by its grid"),
        N_(
            "With 7 × 7 cells nothing smaller than about a seventh of the picture can be told apart: single nuclei in "
            "a tile cannot. A finer grid shows more and needs many more masks."
        ),
    ),
    (
        N_("It explains the class you chose"),
        N_(
            "By default that is the teacher's answer, for every model. Where a student answers otherwise, its map says "
            "why it gives that class some probability, and not why it gave its own answer."
        ),
    ),
    (
        N_("A sure model has flat maps"),
        N_(
            "When the probability stays at 100 % whatever is removed, there is no change to explain, and what is left "
            "is noise. Look at the scale of the colours and at the standard error."
        ),
    ),
    (
        N_("The same map does not mean the same reason"),
        N_("Two models may look at the same place and see different things in it. Agreement is about where, not what."),
    ),
    (
        N_("No diagnosis"),
        N_("Neither a map nor an accuracy here is validated for patients. Use them to find questions, not answers."),
    ),
)


def limits() -> None:
    for title, about in _LIMITS:
        say(f"**{_(title)}.** {_(about)}")


_TERMS: Sequence[tuple[str, str]] = (
    (N_("Agreement"), N_("How alike two models' maps of one picture are, without the masks' common noise.")),
    (N_("Alpha"), N_("The teacher's share of what a student minimises.")),
    (N_("Baseline"), N_("What a removed pixel becomes: black, white, mean, grey, blur or noise.")),
    (N_("Confidence"), N_("The probability that a model gives to its own answer.")),
    (N_("Faithfulness"), N_("Whether a map tells the truth about its model: deletion and insertion.")),
    (N_("KD student"), N_("The small network that was trained with the teacher's help; KD: knowledge distillation.")),
    (N_("Logits"), N_("A model's scores before they become probabilities.")),
    (N_("Mask"), N_("A random cover: 1 keeps a pixel, 0 replaces it by the baseline.")),
    (N_("Noise ceiling"), N_("The agreement that two models with the same true map would reach.")),
    (N_("Reliability"), N_("The expected correlation of a map with that of infinitely many masks.")),
    (N_("Role"), N_("What a model is in an experiment: teacher, KD student, student alone, or a further one.")),
    (N_("Standard error"), N_("How much a value would typically move with other masks.")),
    (N_("Student alone"), N_("The same small network, trained on the labels only.")),
    (N_("Target"), N_("The class that a map explains.")),
    (N_("Teacher"), N_("The large network whose answers the student learns from.")),
    (N_("Temperature"), N_("What the logits are divided by: higher, softer probabilities.")),
)


def glossary() -> None:
    rows = [[text(_(term)), text(_(about))] for term, about in _TERMS]
    html.show(html.table(_("Glossary"), [_("Term"), _("Meaning")], rows, kinds={1: "wrap"}))


_PAPERS = (
    ("Adebayo et al. (2018). Sanity checks for saliency maps. NeurIPS.", "https://arxiv.org/abs/1810.03292"),
    ("Cho & Hariharan (2019). On the efficacy of knowledge distillation. ICCV.", "https://arxiv.org/abs/1910.01348"),
    (
        "Dietterich (1998). Approximate statistical tests for comparing supervised classification learning algorithms. "
        "Neural Computation 10.",
        "https://doi.org/10.1162/089976698300017197",
    ),
    (
        "Efron & Stein (1981). The jackknife estimate of variance. Annals of Statistics 9.",
        "https://doi.org/10.1214/aos/1176345462",
    ),
    ("Guo et al. (2017). On calibration of modern neural networks. ICML.", "https://arxiv.org/abs/1706.04599"),
    (
        "Hinton, Vinyals & Dean (2015). Distilling the knowledge in a neural network.",
        "https://arxiv.org/abs/1503.02531",
    ),
    (
        "Lundberg & Lee (2017). A unified approach to interpreting model predictions. NeurIPS.",
        "https://arxiv.org/abs/1705.07874",
    ),
    (
        "McNemar (1947). Note on the sampling error of the difference between correlated proportions or percentages. "
        "Psychometrika 12.",
        "https://doi.org/10.1007/BF02295996",
    ),
    ("Owen (2007). The pigeonhole bootstrap. Annals of Applied Statistics 1.", "https://doi.org/10.1214/07-AOAS122"),
    (
        "Petsiuk, Das & Saenko (2018). RISE: randomized input sampling for explanation of black-box models. BMVC.",
        "https://arxiv.org/abs/1806.07421",
    ),
    ("Selvaraju et al. (2017). Grad-CAM. ICCV.", "https://arxiv.org/abs/1610.02391"),
    (
        "Shrikumar, Greenside & Kundaje (2017). Learning important features through propagating activation "
        "differences. ICML.",
        "https://arxiv.org/abs/1704.02685",
    ),
    (
        "Spearman (1904). The proof and measurement of association between two things. American Journal of Psychology "
        "15.",
        "https://doi.org/10.2307/1412159",
    ),
    (
        "Sundararajan, Taly & Yan (2017). Axiomatic attribution for deep networks. ICML.",
        "https://arxiv.org/abs/1703.01365",
    ),
    (
        "Wang et al. (2004). Image quality assessment: from error visibility to structural similarity. IEEE TIP 13.",
        "https://doi.org/10.1109/TIP.2003.819861",
    ),
    (
        "Zeiler & Fergus (2014). Visualizing and understanding convolutional networks. ECCV.",
        "https://arxiv.org/abs/1311.2901",
    ),
)


def references() -> None:
    items = "".join(
        f'<li><a href="{text(url)}" target="_blank" rel="noopener">{text(title)}</a></li>' for title, url in _PAPERS
    )
    html.show(f"<ul>{items}</ul>", "ab-papers")
