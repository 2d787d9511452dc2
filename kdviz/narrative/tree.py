"""What a study of trees allows to say: what the teacher adds to a tree, what a path explains, and what it costs."""

from __future__ import annotations

from kdviz.core.language import N_, _, number, percent, plural
from kdviz.metrics.equivalence import BETTER, EQUIVALENT, UNDECIDED, WORSE
from kdviz.studies.comparison.judgement import margin_points, points_interval
from kdviz.studies.tree.report import MARGIN, Comparison, TreeReport

_VERDICTS = {
    BETTER: N_(
        "With the teacher the tree is more accurate than the same tree without one: {kd} against {alone} at depth "
        "{depth}, the best by validation ({points} points, 95 % interval {low} to {high}, over {seeds} and {samples})."
    ),
    WORSE: N_(
        "With the teacher the tree is less accurate than the same tree without one: {kd} against {alone} at depth "
        "{depth}, the best by validation ({points} points, 95 % interval {low} to {high}, over {seeds} and {samples})."
    ),
    EQUIVALENT: N_(
        "With the teacher the tree is as accurate as the same tree without one, within {margin} points: {kd} against "
        "{alone} at depth {depth}, the best by validation ({points} points, 90 % interval {low} to {high}, over "
        "{seeds} and {samples})."
    ),
    UNDECIDED: N_(
        "One cannot tell whether the teacher makes the tree more accurate: {kd} against {alone} without one at depth "
        "{depth}, the best by validation ({points} points, 95 % interval {low} to {high}, over {seeds} and {samples})."
    ),
}


def tree_sentences(report: TreeReport) -> list[str]:
    """What can be said of the trees, and what stays open, in reading order."""
    return [
        verdict_sentence(report),
        *cost_sentences(report),
        *path_sentences(report),
        *depth_sentences(report),
        *linear_sentences(report),
    ]


def verdict_sentence(report: TreeReport) -> str:
    """Whether the teacher makes the tree of the best depth more accurate."""
    chosen = report.chosen
    ends = chosen.accuracy.low, chosen.accuracy.high
    if chosen.outcome == EQUIVALENT:
        ends = chosen.accuracy.interval(0.9)
    return _(_VERDICTS[chosen.outcome], **_basis(chosen), **_change(chosen.accuracy.value, *ends))


def _basis(comparison: Comparison) -> dict[str, str]:
    difference = comparison.accuracy
    return {
        "kd": percent(comparison.kd.accuracy, 2),
        "alone": percent(comparison.alone.accuracy, 2),
        "depth": number(comparison.depth or 0),
        "seeds": _("one seed") if difference.seeds == 1 else plural("{count} seed", "{count} seeds", difference.seeds),
        "samples": plural("{count} sample", "{count} samples", difference.samples),
        "margin": margin_points(MARGIN),
    }


def _change(value: float, low: float, high: float) -> dict[str, str]:
    return dict(zip(("points", "low", "high"), points_interval(value, low, high), strict=True))


def cost_sentences(report: TreeReport) -> list[str]:
    """How far the tree is from its teacher, and how often it says something else."""
    chosen = report.chosen
    return [
        _(
            "Its accuracy less its teacher's ({teacher}) is {points} points (95 % interval {low} to {high}), and on "
            "{different} of the samples it says something else: there its path does not explain the teacher. Without "
            "a teacher that share is {alone}.",
            teacher=percent(report.teacher.accuracy, 2),
            different=percent(1 - chosen.kd.means["same_as_teacher"], 2),
            alone=percent(1 - chosen.alone.means["same_as_teacher"], 2),
            **_change(chosen.to_teacher.value, chosen.to_teacher.low, chosen.to_teacher.high),
        )
    ]


def path_sentences(report: TreeReport) -> list[str]:
    """How much of the answers one path explains, with the teacher and without."""
    kd, alone = report.chosen.kd.means, report.chosen.alone.means
    return [
        _(
            "A path is {depth} decisions. The leaf at the end of the most probable one says the tree's answer on "
            "{same} of the samples ({same_alone} without a teacher), has a mean path probability of {probability} "
            "({probability_alone}) and is right by itself on {accuracy} ({accuracy_alone}).",
            depth=number(report.best),
            same=percent(kd["path_is_answer"], 2),
            same_alone=percent(alone["path_is_answer"], 2),
            probability=percent(kd["path_probability"]),
            probability_alone=percent(alone["path_probability"]),
            accuracy=percent(kd["path_accuracy"], 2),
            accuracy_alone=percent(alone["path_accuracy"], 2),
        ),
        _(
            "Both trees show the same: as many decisions, each with as many weights. That a tree can be read comes "
            "from its form; what the teacher can change is how often it is right."
        ),
    ]


def depth_sentences(report: TreeReport) -> list[str]:
    """At which depths the intervals, which hold together, allow to say that the teacher helps."""
    if len(report.trees) < 2:
        return []
    groups: dict[str, list[str]] = {}
    for tree in report.trees:
        groups.setdefault(_sign(tree), []).append(number(tree.depth or 0))
    parts = {
        "higher": N_("more accurate with the teacher at depth {depths}"),
        "lower": N_("less accurate at depth {depths}"),
        "unknown": N_("no difference is shown at depth {depths}"),
    }
    said = [_(text, depths=", ".join(groups[sign])) for sign, text in parts.items() if sign in groups]
    return [
        _(
            "By depth, with intervals that hold together for all {count}: {parts}.",
            count=number(len(report.trees)),
            parts="; ".join(said),
        )
    ]


def _sign(tree: Comparison) -> str:
    if tree.accuracy.seeds < 2 or tree.low <= 0 <= tree.high:
        return "unknown"
    return "higher" if tree.low > 0 else "lower"


def linear_sentences(report: TreeReport) -> list[str]:
    """The other student that can be read: a linear classifier with an L1 penalty."""
    linear = report.linear
    if linear is None:
        return []
    return [
        _(
            "A sparse linear classifier, the other student that can be read, is right on {kd} with the teacher and on "
            "{alone} without ({points} points, 95 % interval {low} to {high}), with {weights} weights that are not 0 "
            "({weights_alone}).",
            weights=number(linear.kd.means["weights"]),
            weights_alone=number(linear.alone.means["weights"]),
            **{name: text for name, text in _basis(linear).items() if name in ("kd", "alone")},
            **_change(linear.accuracy.value, linear.accuracy.low, linear.accuracy.high),
        )
    ]
