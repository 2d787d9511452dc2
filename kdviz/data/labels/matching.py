"""Matching of class names that mean the same, and of a data set's classes with a model's logits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from kdviz.core.errors import ModelError
from kdviz.data.labels.imagenet import COUNT, ImageNet, imagenet, short_name, synonyms, synsets, wnid_of

_SHOWN = 3  # names in a message
_PLACEHOLDER = re.compile(r"(?:class|label)[ _-]?(\d+)", re.IGNORECASE)
_REPEATED = re.compile(r" \(\d+\)$")  # what is appended to repeated names
_PLAIN = 10  # up to as many classes, numbers have one digit and are sorted alike as texts and as numbers


def class_order(
    model_classes: Sequence[str] | int, data_classes: Sequence[str], aliases: Mapping[str, str] | None = None
) -> tuple[int, ...] | None:
    """Find the logit of a model that belongs to each class of the data.

    Names are compared by the WordNet id in them, then as they are, then without case, spaces and punctuation, then by
    their synonyms: ``tench`` is ``tench, Tinca tinca``. The data may have fewer classes than the model, in any order.
    If the names of a model's classes are not known, its logits are in ImageNet's order if there are 1,000 and the
    data's classes are ImageNet's, else in the data's order if there are as many, else by number if the data's classes
    have names such as ``class 3``.

    Args:
        model_classes: Names of the logits; or their number, if the names are not known.
        data_classes: Names of the data's classes.
        aliases: Other names of the data's classes -> their names, as in :class:`ClassNames`.

    Returns:
        The logit of each class of the data; None: logit k is class k.

    Raises:
        ModelError: A class of the data is none of the model's, or is ambiguous.
    """
    if isinstance(model_classes, int):
        return _order_without_names(model_classes, data_classes, aliases or {})
    if tuple(model_classes) == tuple(data_classes):
        return None
    order = _match_all(_with_synonyms(model_classes), data_classes, aliases or {})
    _require_all(order, data_classes, model_classes)
    return _require_distinct(order, data_classes, len(model_classes))


# matching -------------------------------------------------------------------------------------------------------------

_Names = Sequence[tuple[str, ...]]
"""All names of each logit."""


def folded(name: str) -> str:
    """Return a name without case, spaces and punctuation.

    >>> folded("Great_white shark")
    'greatwhiteshark'
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def match_names(wanted: Sequence[str], known: Sequence[str]) -> tuple[int | None, ...]:
    """The index in ``known`` of the name that means the same as each wanted one; None: none does, or several do."""
    return _match_all([(name, *_synset(name)) for name in known], wanted, {})


@lru_cache(maxsize=8)
def second_names(classes: tuple[str, ...]) -> dict[str, str]:
    """Class -> its WordNet id, or its name where it is called by the id; empty unless all are classes of ImageNet.

    Classes whose name contains the id already are left out. Nothing is known without timm.
    """
    (_, lemmas), by_word = synsets(), _wnids_by_first_word()
    wnids = [wnid_of(name) or by_word.get(name.partition(",")[0].strip(), "") for name in classes]
    if not all(wnid in lemmas for wnid in wnids):
        return {}
    others = {name: short_name(wnid) if name == wnid else wnid for name, wnid in zip(classes, wnids, strict=True)}
    return {name: other for name, other in others.items() if other not in name}


@lru_cache(maxsize=1)
def _wnids_by_first_word() -> dict[str, str]:
    """The first word of a synset of ImageNet's 1,000 -> its WordNet id; of two cranes there is neither."""
    classes: dict[str, list[str]] = {}
    for wnid in synsets()[0]:
        classes.setdefault(short_name(wnid), []).append(wnid)
    return {word: wnids[0] for word, wnids in classes.items() if len(wnids) == 1}


def _with_synonyms(model_classes: Sequence[str]) -> _Names:
    """The model's classes with their names in ImageNet: by WordNet id, or by number if they are its 1,000."""
    imagenet_classes = imagenet() if len(model_classes) == COUNT else None
    return [
        (name, *_synset(name), *(_imagenet_names(imagenet_classes, number, name) if imagenet_classes else ()))
        for number, name in enumerate(model_classes)
    ]


def _imagenet_names(imagenet_classes: ImageNet, number: int, name: str) -> tuple[str, ...]:
    """ImageNet's names of the class of this number, if ``name`` is one of them."""
    words = {folded(word) for word in synonyms(_REPEATED.sub("", name))}
    shared = words & {folded(word) for word in imagenet_classes.words(number)}
    return (*imagenet_classes.names[number], *imagenet_classes.wnids[number : number + 1]) if shared else ()


def _synset(name: str) -> tuple[str, ...]:
    """The WordNet id in a name, and the words of its synset."""
    wnid = wnid_of(name)
    return (wnid, imagenet().lemmas.get(wnid, wnid)) if wnid else ()


def _match_all(known: _Names, wanted: Sequence[str], aliases: Mapping[str, str]) -> tuple[int | None, ...]:
    """The number of the one known class that each name means, by the strictest comparison that finds any."""
    aliases_of = {}
    for alias, name in aliases.items():
        aliases_of.setdefault(name, []).append(alias)
    indices = [_index_by_key(known, keys) for keys in _LEVELS]
    return tuple(_find_number((name, *_synset(name)[1:], *aliases_of.get(name, ())), indices) for name in wanted)


def _index_by_key(known: _Names, keys: Callable[[tuple[str, ...]], set[str]]) -> dict[str, set[int]]:
    """Key -> numbers of the classes that have it."""
    numbers_of_key: dict[str, set[int]] = {}
    for number, names in enumerate(known):
        for key in keys(names):
            numbers_of_key.setdefault(key, set()).add(number)
    return numbers_of_key


def _find_number(names: tuple[str, ...], indices: Sequence[dict[str, set[int]]]) -> int | None:
    for keys, numbers_of_key in zip(_LEVELS, indices, strict=True):
        matches = {number for key in keys(names) for number in numbers_of_key.get(key, ())}
        if matches:
            return matches.pop() if len(matches) == 1 else None
    return None


_LEVELS: tuple[Callable[[tuple[str, ...]], set[str]], ...] = (
    lambda names: {wnid for name in names if (wnid := wnid_of(name))},
    lambda names: set(names),
    # First words come first: a gong's synset also contains chime; and case counts: a Cardigan is a dog, not a garment.
    lambda names: {word for name in names for word in synonyms(name)[:1]},
    lambda names: {folded(name) for name in names} - {""},
    lambda names: {folded(word) for name in names for word in synonyms(name)[:1]} - {""},
    lambda names: {folded(word) for name in names for word in synonyms(name)} - {""},
)
"""Comparison keys of a class's names, the strictest first."""


def _require_all(order: Sequence[int | None], data_classes: Sequence[str], model_classes: Sequence[str]) -> None:
    missing = [name for name, number in zip(data_classes, order, strict=True) if number is None]
    if missing:
        raise ModelError(
            "{n_missing} of the data's {n_data_classes} classes ({missing}) are none of the model's "
            "{n_model_classes} ({model_classes}), or could be several; say with classes= what the model's "
            "logits are, or with --classes what the data's folders are called.",
            n_missing=len(missing),
            n_data_classes=len(data_classes),
            missing=listed(missing),
            n_model_classes=len(model_classes),
            model_classes=listed(model_classes),
        )


def _require_distinct(order: Sequence[int | None], data_classes: Sequence[str], count: int) -> tuple[int, ...] | None:
    """The order, None if it changes nothing; refuse one in which two classes share a logit."""
    numbers = tuple(number for number in order if number is not None)
    name_of_number: dict[int, str] = {}
    for number, name in zip(numbers, data_classes, strict=True):
        if number in name_of_number:
            raise ModelError(
                "The data's classes '{name_of_number}' and '{name}' are the same class of the model; "
                "give both one name with --classes.",
                name_of_number=name_of_number[number],
                name=name,
            )
        name_of_number[number] = name
    return None if numbers == tuple(range(count)) else numbers


def _order_without_names(count: int, data_classes: Sequence[str], aliases: Mapping[str, str]) -> tuple[int, ...] | None:
    order = _imagenet_order(data_classes, aliases) if count == COUNT else ()
    if order:
        return _require_distinct(order, data_classes, COUNT)
    if count == len(data_classes):
        return None
    numbers = _order_by_number(count, data_classes)
    if numbers:
        return _require_distinct(numbers, data_classes, count)
    raise ModelError(
        "The model has {count} logits and the data {n_data_classes} classes ({data_classes}), and nothing "
        "says which logit is which class; say with classes= what the model's logits are.",
        count=count,
        n_data_classes=len(data_classes),
        data_classes=listed(data_classes),
    )


def _imagenet_order(data_classes: Sequence[str], aliases: Mapping[str, str]) -> tuple[int | None, ...]:
    """The numbers of the data's classes in ImageNet; empty if they are other classes.

    Raises:
        ModelError: They are ImageNet's in another order, and some are ambiguous.
    """
    imagenet_classes = imagenet()
    wnids = [(wnid,) for wnid in imagenet_classes.wnids] or [()] * COUNT
    known = [(*names, *wnid) for names, wnid in zip(imagenet_classes.names, wnids, strict=True)]
    order = _match_all(known, data_classes, aliases)
    matches = [(index, number) for index, number in enumerate(order) if number is not None]
    if len(matches) == len(order):
        return order
    if len(order) == COUNT and 2 * len(matches) > COUNT and any(index != number for index, number in matches):
        _require_all(order, data_classes, [names[0] for names in known])
    return ()


def _order_by_number(count: int, data_classes: Sequence[str]) -> tuple[int, ...]:
    """The numbers in the names if each is the number of a logit; empty otherwise."""
    matches = [_PLACEHOLDER.fullmatch(name) for name in data_classes]
    texts = [match[1] if match else name for match, name in zip(matches, data_classes, strict=True)]
    if not all(text.isascii() and text.isdigit() for text in texts):
        return ()
    # Most libraries sort folders as texts (1, 10, 2), so that their numbers are not those of the logits.
    is_unambiguous = count <= _PLAIN or len({len(text) for text in texts}) == 1 < len(texts[0]) or all(matches)
    numbers = tuple(int(text) for text in texts)
    return numbers if is_unambiguous and max(numbers) < count else ()


def listed(names: Sequence[str]) -> str:
    """The first few names, quoted, for a message."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return f"{shown} ..." if len(names) > _SHOWN else shown
