"""Topics about training and predictions.

The formulae are those of distill/losses.py, metrics/predictions.py and uncertainty.py.
"""

from __future__ import annotations

from kdviz.app.pages.methods.sections.parts import formula, heading, say
from kdviz.core.language import _


def distillation() -> None:
    say(
        _(
            "A small **student** learns not only from the labels but from the probabilities of a large **teacher**: "
            "that this 3 looks a little like an 8 is knowledge that no label holds. It minimises"
        )
    )
    formula(
        r"\mathcal{L} = (1-\alpha)\, \mathrm{CE}\big(y,\, \sigma(z_s)\big) + \alpha \, T^2 \,"
        r"\mathrm{KL}\Big(\sigma\big(\tfrac{z_t}{T}\big) \,\Big\|\, \sigma\big(\tfrac{z_s}{T}\big)\Big)",
        _("z: logits of student and teacher, y: the label, σ: softmax; means over a batch (Hinton et al., 2015)."),
    )
    heading(_("Temperature T"))
    say(
        _(
            "T divides the logits, which softens the probabilities. At T = 1 the teacher says 99.9 % for one class and "
            "the rest is lost; at T = 4 the likenesses between the classes become visible; at a very high T the "
            "student is asked for the teacher's logits themselves. Without the factor T² the teacher's part would fade "
            "as T grows."
        )
    )
    heading(_("Alpha"))
    say(
        _(
            "α is the teacher's share: 0 is training alone, 1 is without labels. Other losses against the teacher take "
            "the place of the second term and are mixed in the same way."
        )
    )
    heading(_("What to expect"))
    say(
        _(
            "Gains are small and differ between seeds: look at the interval over several of them. A student also "
            "copies its teacher's mistakes, the more the higher T is, and a teacher that is worse than its student "
            "drags it down."
        )
    )


def errors() -> None:
    heading(_("Calibration: ECE"))
    say(_("When a model says 80 %, is it right in 80 % of the cases? The expected calibration error is"))
    formula(
        r"\mathrm{ECE} = \sum_{b=1}^{15} \frac{|B_b|}{N} \,\big|\, \mathrm{acc}(B_b) - \mathrm{conf}(B_b) \,\big|",
        _("B: the images whose confidence is in a bin, 15 of equal width (Guo et al., 2017). 0 is best."),
    )
    heading(_("Inherited errors"))
    formula(
        r"I = \frac{\#\{\, \hat y_s = \hat y_t \ne y \,\}}{\#\{\, \hat y_t \ne y \,\}}",
        _("The share of the teacher's errors that the student repeats with the same wrong class."),
    )
    say(
        _(
            "Some pictures are hard for everybody, so a student that never saw the teacher repeats some, too. What "
            "distillation hands on is the difference between the KD student and the student alone."
        )
    )
    heading(_("Fixed, broken, and McNemar's test"))
    say(
        _(
            "*Fixed*: the student alone is wrong and the KD student right. *Broken*: the other way round. Pictures on "
            "which both are right or both wrong say nothing about which is better. If both were equally good, each of "
            "the others would be fixed or broken like the toss of a coin:"
        )
    )
    formula(
        r"p = \Pr\Big(\text{as uneven as fixed : broken} \;\Big|\; \mathrm{Binomial}\big(\text{fixed} + \text{broken},"
        r"\, \tfrac{1}{2}\big)\Big)",
        _("Two-sided and exact. p < .05: chance alone would rarely give this."),
    )
    say(_("It is about one training run of each; another seed may fix and break other pictures."))
    heading(_("Intervals over seeds and images"))
    formula(
        r"\operatorname{Var}(\bar d) \approx \frac{\operatorname{Var}_s(\bar d_{s\cdot})}{S} + "
        r"\frac{\operatorname{Var}_n(\bar d_{\cdot n})}{N}",
        _("d: KD student less student alone, for seed s of S and image n of N; both are drawn by chance (Owen, 2007)."),
    )
    say(_("An interval that holds zero means: cannot be told apart. It does not mean: equal."))
