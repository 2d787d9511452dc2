"""Topics about maps.

The formulae are those of saliency/masks.py and estimators.py, metrics/agreement.py and faithfulness.py.
"""

from __future__ import annotations

import json

import streamlit as st

from kdviz.app.pages.methods.sections.parts import formula, heading, say
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.files import ASSETS
from kdviz.core.language import _, number, percent


def reading() -> None:
    say(
        _(
            "A saliency map answers one question about one picture, one model and one class: **which parts of this "
            "picture does this model's answer depend on?** It says nothing about whether the answer is right."
        ),
        _(
            "- :orange[**Orange**]: keeping this place raises the model's probability of the class.\n"
            "- :blue[**Blue**]: keeping it lowers the probability.\n"
            "- **Pale**: the place makes no difference, or less than the noise of the method."
        ),
        _(
            "Three questions to ask of every map, in this order. **Is it settled?** The reliability should be above "
            ".95, and what you look at should be larger than two standard errors. **Which class?** Maps of two models "
            "can be compared only if they explain the same class. **What replaced the removed pixels?** Black, grey "
            "and blur are three different questions."
        ),
        _(
            "A map that looks right is no proof that the model is. A map that looks wrong is a reason to look at more "
            "pictures: one picture is a case, not a rule."
        ),
    )


def rise() -> None:
    say(
        _(
            "RISE (Petsiuk et al., 2018) treats the model as a black box. It covers parts of the picture at random, "
            "thousands of times, and notes the model's probability of the class each time. Places that were visible "
            "whenever the probability was high get a high value. So the same code explains a convolutional network, a "
            "fully connected one and a file for an edge device."
        )
    )
    _show_steps()
    heading(_("Masks"))
    say(
        _(
            "A mask begins as a coarse grid, 7 × 7 unless you change it. Each cell is kept with probability $p$, .5 "
            "unless you change it. The grid is enlarged smoothly and shifted at random by less than a cell. Where the "
            "mask is 1 the pixel stays, where it is 0 the baseline takes its place:"
        )
    )
    formula(
        r"x_i = x \odot M_i + b \odot (1 - M_i), \qquad f_i = f(x_i)",
        _("x: the picture, b: the baseline, Mᵢ: mask number i, fᵢ: the probability of the class under it."),
    )
    say(
        _(
            "All models of a comparison see **the same masks**, so that a difference between two maps comes from the "
            "models. One pass gives the maps of every class. The masks are not drawn independently but in balanced "
            "sets (rows of a Hadamard matrix and their complements, or Sobol' points), which need far fewer of them."
        )
    )
    heading(_("The published estimator"))
    formula(
        r"S_{\text{RISE}}(\lambda) = \frac{1}{n\,p} \sum_{i=1}^{n} f_i \, M_i(\lambda)",
        _("λ: a pixel, n: the number of masks."),
    )
    say(
        _(
            "It is right on average, but noisy: a pixel's value also depends on how often chance kept it, multiplied "
            "by the common level of all scores. The next topic shows how kdviz takes that out."
        )
    )


def _show_steps() -> None:
    """Show a real example, made by assets/app/build_rise.py: a digit, four masks, the teacher's answers, the map."""
    example = json.loads((ASSETS / "app" / "rise.json").read_text(encoding="utf-8"))
    digit, alt = example["digit"], _("A digit as it is")
    parts = [_figure_html(example["picture"], alt, _("a {digit}", digit=digit))]
    for step in example["masked"]:
        share = percent(step["probability"], 1)
        about = _("covered at random, the teacher says {digit} with {share}", digit=digit, share=share)
        parts.append(_figure_html(step["image"], about, share))
    about = _("The map of 4,000 masks: orange where keeping raises the probability")
    parts.append(_figure_html(example["map"], about, _("map of {count} masks", count=number(4000))))
    html.show("".join(parts), "ab-steps")
    st.caption(
        _("A digit, four of the masks with the teacher's probability that it is a {digit}, and the map.", digit=digit)
    )


def _figure_html(data: str, alt: str, about: str) -> str:
    image = f'<img src="data:image/png;base64,{data}" alt="{text(alt)}" width="112" height="112">'
    return f"<figure>{image}<figcaption>{text(about)}</figcaption></figure>"


def estimators() -> None:
    say(
        _(
            "Every estimator sees the same scores; they differ in their noise. **centred**, **ridge** and **logistic** "
            "estimate the same thing: how much the probability changes when a pixel is kept. Zero means no influence."
        )
    )
    heading(_("centred"))
    formula(
        r"S(\lambda) = \frac{1}{(n-1)\,p} \sum_{i=1}^{n} \left(f_i - \bar f\right)\left(M_i(\lambda) - p\right)"
        r"\;\longrightarrow\; \frac{\operatorname{Cov}(f, M(\lambda))}{p}",
        _("f̄: the mean score. With masks in complementary pairs, n takes the place of n − 1."),
    )
    say(
        _(
            "For a mask of zeros and ones this is $E[f \\mid \\text{kept}] - E[f]$: the probability when the pixel is "
            "visible, less the average. It is the published map less a constant, with about a fifth of the masks for "
            "the same precision."
        )
    )
    heading(_("ridge"))
    say(
        _(
            "A straight line, score against mask, explains much of the scores. The covariance of that line with the "
            "masks is known exactly, because kdviz drew the masks; only the rest has to be estimated from the sample:"
        )
    )
    formula(
        r"\operatorname{Cov}(f, Z) = \operatorname{Var}(Z)\,\beta \;+\; "
        r"\frac{1}{n}\sum_{i} \left(f_i - \bar f - \beta \cdot Z_i\right) Z_i",
        _("Z: the mask in its principal components, β: fitted by ridge regression, its penalty by cross-validation."),
    )
    heading(_("logistic, the default"))
    say(
        _(
            "A probability is bent near 0 and 1, its log odds hardly are. So the log odds are fitted by a line, "
            "which gives a cheap model of the model, and that is corrected by what it gets wrong:"
        )
    )
    formula(
        r"h = \sigma(a + \beta \cdot Z), \qquad "
        r"\operatorname{Cov}(f, Z) = \operatorname{Cov}(h, Z) + \operatorname{Cov}(f - h, Z)",
        _("The first part is computed exactly: it needs no mask."),
    )
    say(
        _(
            "Like that, a bad fit costs precision and never truth. **normalised** divides by each pixel's own "
            "coverage, as other programs do; its maps and those of **rise** sit on the mean probability, not on zero."
        )
    )


def uncertainty() -> None:
    heading(_("Standard error"))
    say(
        _(
            "Other masks would have given a slightly different map. How different is estimated by leaving out one "
            "part of the masks after the other (the jackknife), to first order and from masks that the fit has not "
            "seen:"
        )
    )
    formula(
        r"\operatorname{SE}(\lambda) = \sqrt{\frac{U-1}{U} \sum_{u=1}^{U} \left(S_{(u)}(\lambda) - "
        r"\bar S_{(\cdot)}(\lambda)\right)^2} \;\cdot\; \frac{t_{.975,\,U-1}}{z_{.975}}",
        _("S₍ᵤ₎: the map without part u, U: the number of independent parts; the last factor is for small U."),
    )
    say(
        _(
            "The map ± 1.96 standard errors holds the map of infinitely many masks at 95 % of the pixels. It is about "
            "the masks alone: not about other pictures, nor about a model trained with another seed. The same holds "
            "for a difference of two maps, whose error is smaller than you may expect, since both saw the same masks."
        )
    )
    heading(_("Reliability"))
    say(_("One number for a whole map: its expected correlation with the map of infinitely many masks."))
    formula(
        r"\rho = \sqrt{\frac{2h}{1+h}}",
        _("h: the correlation of the maps from two independent halves of the masks (Spearman, 1910; Brown, 1910)."),
    )
    say(
        _(
            "Above .99 more masks change nothing that you can see; below .9 details are noise. A computation can stop "
            "by itself when all maps and their differences have reached what you ask for."
        )
    )


def agreement() -> None:
    say(
        _(
            "**Do two models look at the same places?** The agreement of two maps is a number up to 1: the correlation "
            "of the pixels' ranks (Spearman) unless you choose another measure."
        )
    )
    heading(_("Why halves"))
    say(
        _(
            "Maps made with the same masks share the masks' noise and look alike for that reason alone: two unrelated "
            "models reach .86 to .90 with the published estimator. So each model is compared across *independent* "
            "halves of the masks, A's first half with B's second and the other way round:"
        )
    )
    formula(
        r"a = \tfrac{1}{2}\left[\, r(A_1, B_2) + r(A_2, B_1) \,\right]",
        _("A₁, A₂: the maps of model A from the two halves; r: the measure."),
    )
    heading(_("Noise ceiling"))
    say(
        _(
            "Even a model compared with itself does not reach 1 like that, because half of the masks give a noisy map. "
            "What two models with the same true map would reach is the ceiling:"
        )
    )
    formula(r"c = \sqrt{r(A_1, A_2) \; r(B_1, B_2)}")
    heading(_("Corrected agreement"))
    formula(
        r"a_{\text{corrected}} = \frac{a}{c}",
        _(
            "For Pearson's correlation, and only where c is at least .4: below that it would be mostly noise, and "
            "ranks cannot be corrected like this (Spearman, 1904)."
        ),
    )
    say(
        _(
            "It can be a little above 1 by chance. **Read an agreement beside its ceiling**: .6 under a ceiling of .62 "
            "means that the maps are the same as far as anyone can tell; .6 under .95 means that they differ."
        ),
        _(
            "The interval shows how far the agreement might move with other masks. Measures: *Spearman* and *Pearson* "
            "compare all pixels, *SSIM* neighbourhoods, *top-20 % IoU* only the strongest places; that of unrelated "
            "maps is about .11 there, and about 0 for correlations."
        ),
    )


def faithfulness() -> None:
    say(
        _(
            "**Does the map tell the truth about its model?** Take away the pixels that the map calls important, the "
            "most important first, and watch the probability (*deletion*). Or begin with the baseline and put them "
            "back (*insertion*)."
        )
    )
    formula(
        r"\operatorname{AUC} = \int_0^1 f\big(x^{(q)}\big)\, dq",
        _("q: the share of pixels changed so far; by trapezoids over up to 224 steps, equal pixels in random order."),
    )
    say(
        _(
            "Deletion: **lower is better**, the probability falls early. Insertion: **higher is better**. Both depend "
            "on the baseline, so compare only values with the same one."
        ),
        _(
            "Always look at the value of the *blurred picture* too, a map that knows no model. On digits with a black "
            "baseline it does nearly as well as RISE (insertion .949 against .962): erasing the ink erases the digit, "
            "whatever the model thinks. On grey the difference is clear."
        ),
    )
