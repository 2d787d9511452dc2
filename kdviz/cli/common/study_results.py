"""What an attention study prints when it ends."""

from __future__ import annotations

import json
from typing import Any

from kdviz.core.texts.counted import counted, duration


def print_report(experiment: Any, study: str, as_json: bool) -> None:
    from kdviz.narrative.attention.document import as_json as document
    from kdviz.narrative.attention.likeness import likeness_sentences
    from kdviz.narrative.attention.narrative import narrate
    from kdviz.studies.attention import read_attention
    from kdviz.studies.attention.faithfulness import faithfulness_summary
    from kdviz.studies.attention.statistics.agreements import value_text
    from kdviz.studies.attention.statistics.likeness import read_likeness

    alike = read_likeness(experiment) if study == "models" else None
    if alike is not None:
        document = {"experiment": str(experiment.folder), **alike.to_json()}
        print(json.dumps(document) if as_json else "\n".join(likeness_sentences(alike)))
        return
    report = read_attention(experiment, study)
    faithfulness = faithfulness_summary(experiment)
    if as_json:
        print(json.dumps({"experiment": str(experiment.folder), **document(report), "faithfulness": faithfulness}))
        return
    names = [value_text(value_effect.value) for value_effect in report.values]
    width = max(8, *map(len, names))
    titles = f"{'KD':>7} {'alone':>7} {'ceilings':>13} {'difference':>11} {'95 % interval':>18} {'d_z':>6}"
    print(f"{'value':>{width}} {titles}")
    for name, effect in zip(names, report.values, strict=True):
        print(f"{name:>{width}} {_figures(effect)}")
    _print_faithfulness(faithfulness)
    print("\n".join(narrate(report).everything))


def _figures(effect: Any) -> str:
    interval, d_z = effect.difference.interval, effect.size.d_z
    return (
        f"{effect.kd.value:>7.3f} {effect.alone.value:>7.3f} {effect.ceiling_kd:>6.3f} {effect.ceiling_alone:>6.3f} "
        f"{effect.difference.value:>+11.3f} {interval.low:>+8.3f} to {interval.high:>+6.3f} {d_z:>6.2f}"
    )


def _print_faithfulness(rows: list[dict[str, Any]]) -> None:
    """Each method of each model beside the blurred picture; the intervals are wide where images are few."""
    from kdviz.narrative.attention.phrases import gain_over_blurred_picture as gain
    from kdviz.studies.attention.faithfulness import TRIVIAL

    if not rows:
        return
    images = counted(max(row["images"] for row in rows), "image")
    print(f"Better than a blurred picture by, with 95 % intervals over {images}:")
    print(f"{'role':12} {'method':22} {'deletion':>26} {'insertion':>26}")
    for row in rows:
        if row["method"] != TRIVIAL:
            print(f"{row['role']:12} {row['method']:22} {gain(row, 'deletion'):>26} {gain(row, 'insertion'):>26}")


def print_estimate(state: Any, as_json: bool) -> None:
    seconds = state.seconds or 0.0
    if as_json:
        print(json.dumps({"images": state.images, "done": state.done, "seconds": round(seconds, 1)}))
        return
    left = state.images - state.done
    verb = "is" if round(left) == 1 else "are"
    print(f"{left:,.0f} of {counted(state.images, 'image')} {verb} left: about {duration(seconds)} on this machine")
