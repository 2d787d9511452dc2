"""Names of classes that mean the same, and which logit of a model each class of the data is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from kdviz.core.errors import ModelError
from kdviz.data.labels.imagenet import COUNT, ImageNet, imagenet, synonyms, wnid_of

_SHOWN = 3  # names in a sentence
_PLACEHOLDER = re.compile(r"(?:class|label)[ _-]?(\d+)", re.IGNORECASE)
_REPEATED = re.compile(r" \(\d+\)$")  # the end of a name that was there before
_PLAIN = 10  # classes: names of one digit are in the same order as texts and as numbers


def class_order(
    model_classes: Sequence[str] | int, data_classes: Sequence[str], aliases: Mapping[str, str] | None = None
) -> tuple[int, ...] | None:
    """Which logit of a model each class of the data is.

    Names are compared by the WordNet id in them, then as they are, then without case, spaces and signs, then by their
    synonyms: ``tench`` is ``tench, Tinca tinca``. The data may have fewer classes than the model, in any order. Of a
    model whose names are not known, the logits are in ImageNet's order if there are 1,000 and the data's classes are
    ImageNet's, else in the data's if there are as many, else by number if the data's classes are ``class 3``.

    Args:
        model_classes: Names of the logits; or how many there are, where their names are not known.
        data_classes: Names.
        aliases: Other names of the data's classes -> their names, as in :class:`ClassNames`.

    Returns:
        int (classes of the data,); None: logit k is class k.

    Raises:
        ModelError: A class of the data is none of the model's, or it cannot be told which it is.
    """
    if isinstance(model_classes, int):
        return _order_of_unnamed(model_classes, data_classes, aliases or {})
    if tuple(model_classes) == tuple(data_classes):
        return None
    order = _matched(_named(model_classes), data_classes, aliases or {})
    _require_all(order, data_classes, model_classes)
    return _different(order, data_classes, len(model_classes))


# matching -------------------------------------------------------------------------------------------------------------

_Names = Sequence[tuple[str, ...]]
"""Of each logit all that it is called."""


def folded(name: str) -> str:
    """A name without case, spaces and signs.

    >>> folded("Great_white shark")
    'greatwhiteshark'
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def match_names(wanted: Sequence[str], known: Sequence[str]) -> tuple[int | None, ...]:
    """For each wanted name the number of the known one that means the same; None: none does, or several do."""
    return _matched([(name, *_synset(name)) for name in known], wanted, {})


def _named(model_classes: Sequence[str]) -> _Names:
    """The model's classes with what ImageNet knows of them: by WordNet id, or by number if they are its 1,000."""
    table = imagenet() if len(model_classes) == COUNT else None
    return [
        (name, *_synset(name), *(_also(table, number, name) if table else ()))
        for number, name in enumerate(model_classes)
    ]


def _also(table: ImageNet, number: int, name: str) -> tuple[str, ...]:
    """What ImageNet calls the class of this number, if the name is one of these."""
    mine = {folded(word) for word in synonyms(_REPEATED.sub("", name))}
    same = mine & {folded(word) for word in table.words(number)}
    return (*table.names[number], *table.wnids[number : number + 1]) if same else ()


def _synset(name: str) -> tuple[str, ...]:
    """The WordNet id in a name, and the words of its synset."""
    wnid = wnid_of(name)
    return (wnid, imagenet().lemmas.get(wnid, wnid)) if wnid else ()


def _matched(known: _Names, wanted: Sequence[str], aliases: Mapping[str, str]) -> tuple[int | None, ...]:
    """The number of the only known class that a name means, by the strictest comparison that finds any."""
    also = {}
    for alias, name in aliases.items():
        also.setdefault(name, []).append(alias)
    levels = [_numbers(known, keys) for keys in _LEVELS]
    return tuple(_number_of((name, *_synset(name)[1:], *also.get(name, ())), levels) for name in wanted)


def _numbers(known: _Names, keys: Callable[[tuple[str, ...]], set[str]]) -> dict[str, set[int]]:
    """Key -> the numbers of the classes that have it."""
    found: dict[str, set[int]] = {}
    for number, names in enumerate(known):
        for key in keys(names):
            found.setdefault(key, set()).add(number)
    return found


def _number_of(names: tuple[str, ...], levels: Sequence[dict[str, set[int]]]) -> int | None:
    for keys, numbers in zip(_LEVELS, levels, strict=True):
        hits = {number for key in keys(names) for number in numbers.get(key, ())}
        if hits:
            return hits.pop() if len(hits) == 1 else None
    return None


_LEVELS: tuple[Callable[[tuple[str, ...]], set[str]], ...] = (
    lambda names: {wnid for name in names if (wnid := wnid_of(name))},
    lambda names: set(names),
    # A gong is a chime, too, but first of all a gong; a Cardigan is a dog, and no cardigan.
    lambda names: {word for name in names for word in synonyms(name)[:1]},
    lambda names: {folded(name) for name in names} - {""},
    lambda names: {folded(word) for name in names for word in synonyms(name)[:1]} - {""},
    lambda names: {folded(word) for name in names for word in synonyms(name)} - {""},
)
"""What names have in common, the surest first."""


def _require_all(order: Sequence[int | None], data_classes: Sequence[str], model_classes: Sequence[str]) -> None:
    missing = [name for name, number in zip(data_classes, order, strict=True) if number is None]
    if missing:
        raise ModelError(
            f"{len(missing)} of the data's {len(data_classes)} classes ({listed(missing)}) are none of the model's "
            f"{len(model_classes)} ({listed(model_classes)}), or could be several; say with classes= what the model's "
            "logits are, or with --classes what the data's folders are called."
        )


def _different(order: Sequence[int | None], data_classes: Sequence[str], count: int) -> tuple[int, ...] | None:
    """The order, if no two classes share a logit; None if it changes nothing."""
    numbers = tuple(number for number in order if number is not None)
    first: dict[int, str] = {}
    for number, name in zip(numbers, data_classes, strict=True):
        if number in first:
            raise ModelError(
                f"The data's classes '{first[number]}' and '{name}' are the same class of the model; give both one "
                "name with --classes."
            )
        first[number] = name
    return None if numbers == tuple(range(count)) else numbers


def _order_of_unnamed(count: int, data_classes: Sequence[str], aliases: Mapping[str, str]) -> tuple[int, ...] | None:
    order = _order_of_imagenet(data_classes, aliases) if count == COUNT else ()
    if order:
        return _different(order, data_classes, COUNT)
    if count == len(data_classes):
        return None
    numbers = _by_number(count, data_classes)
    if numbers:
        return _different(numbers, data_classes, count)
    raise ModelError(
        f"The model has {count} logits and the data {len(data_classes)} classes ({listed(data_classes)}), and nothing "
        "says which logit is which class; say with classes= what the model's logits are."
    )


def _order_of_imagenet(data_classes: Sequence[str], aliases: Mapping[str, str]) -> tuple[int | None, ...]:
    """The numbers of ImageNet's classes; empty if the data's are others.

    Raises:
        ModelError: They are ImageNet's in another order, and some could be several.
    """
    table = imagenet()
    wnids = [(wnid,) for wnid in table.wnids] or [()] * COUNT
    known = [(*names, *wnid) for names, wnid in zip(table.names, wnids, strict=True)]
    order = _matched(known, data_classes, aliases)
    found = [(place, number) for place, number in enumerate(order) if number is not None]
    if len(found) == len(order):
        return order
    if len(order) == COUNT and 2 * len(found) > COUNT and any(place != number for place, number in found):
        _require_all(order, data_classes, [names[0] for names in known])
    return ()


def _by_number(count: int, data_classes: Sequence[str]) -> tuple[int, ...]:
    """The numbers in the names, where each is that of a logit; empty otherwise."""
    found = [_PLACEHOLDER.fullmatch(name) for name in data_classes]
    texts = [match[1] if match else name for match, name in zip(found, data_classes, strict=True)]
    if not all(text.isascii() and text.isdigit() for text in texts):
        return ()
    # Folders 1, 10, 2 are in another order as texts, which is how most libraries number them.
    plain = count <= _PLAIN or len({len(text) for text in texts}) == 1 < len(texts[0]) or all(found)
    numbers = tuple(int(text) for text in texts)
    return numbers if plain and max(numbers) < count else ()


def listed(names: Sequence[str]) -> str:
    """The first few, for a sentence."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return f"{shown} ..." if len(names) > _SHOWN else shown
