"""Rebuild the index of networks for the installed versions of torchvision and timm.

``python -m kdviz.models.identify.build`` takes a few minutes of CPU time; ``--check`` then measures how many networks
are identified.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdviz.models.identify.index import FILE, Index, sketch, text_of, write_index
from kdviz.models.identify.outlines import Outline, all_outlines
from kdviz.models.networks import import_timm

_TEXT = 2**20  # characters of names and shapes compressed together: more compress better but are slower to read


def build_index(outlines: Iterable[Outline], path: Path = FILE) -> None:
    """Write the index of these networks.

    Args:
        outlines: See :func:`kdviz.models.identify.outlines.all_outlines`. Similar ones should be adjacent, for
            compression.
        path: Path of the index file.
    """
    entries: list[dict[str, Any]] = []
    sketches: list[list[int]] = []
    texts: list[list[str]] = [[]]
    location_of_text: dict[str, tuple[int, int]] = {}
    for outline in outlines:
        text = text_of(outline.tensors)
        if text not in location_of_text:
            if sum(map(len, texts[-1])) > _TEXT:
                texts.append([])
            location_of_text[text] = (len(texts) - 1, len(texts[-1]))
            texts[-1].append(text)
        entries.append(_entry(outline, location_of_text[text]))
        sketches.append(sketch(outline.tensors))
    write_index(path, entries, np.array(sketches, np.uint32), ["\n\n".join(text) for text in texts], _aliases())


def _aliases() -> dict[str, str]:
    """Earlier names of timm's networks, as in old checkpoints -> the present names."""
    deprecated = import_timm("timm").models.get_deprecated_models()
    present = {name: current.partition(".")[0] for name, current in deprecated.items() if current}
    return {f"timm/{name}": f"timm/{current}" for name, current in sorted(present.items())}


def _entry(outline: Outline, text: tuple[int, int]) -> dict[str, Any]:
    values = {
        "network": outline.network,
        "settings": dict(outline.settings),
        "size": outline.size,
        "size_setting": outline.size_setting,
        "channels": outline.channels,
        "published": outline.published,
        "text": text,
    }
    return {name: value for name, value in values.items() if value or name == "text"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m kdviz.models.identify.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE, help="the file; default the one in the package")
    parser.add_argument("--check", action="store_true", help="measure the file that is there instead of making it")
    parser.add_argument("--networks", nargs="*", default=[], help="only these, such as timm/resnet50; default all")
    options = parser.parse_args(arguments)
    if options.check:
        from kdviz.models.identify.check import report

        print(report(Index(options.out), options.networks))
        return 0
    build_index(_with_progress(all_outlines(options.networks)), options.out)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.2f} MB")
    return 0


def _with_progress(outlines: Iterable[Outline]) -> Iterable[Outline]:
    for count, outline in enumerate(outlines, 1):
        print(f"\r{count} {outline.network:<60}", end="", file=sys.stderr, flush=True)
        yield outline
    print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
