"""Labels that look like no classes: several joined into one, numbers on a scale, two spellings of one."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headstart.base.words import first_few

SEPARATORS = ("|", ";", ",", "+", "&", "/", " ")
"""What may stand between labels that are joined into one."""

MANY_NUMBERS = 20
"""So many different numbers may be marks or stages; more are a measurement, unless they count classes."""

MANY_DECIMALS = 10
"""The same where some are not whole."""

FEW = 5
"""So many labels may have a photo each in a small trial."""

PHOTOS_TO_A_NAME = 1.5
"""Photos to a label below which labels are names."""

PHOTOS_TO_A_CLASS = 10
"""Photos that each number must have for 0, 1, 2 ... to be told as numbers of classes, however many."""

SHOWN = 3
"""Labels that a sentence names at most."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)")
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_A_WORD = re.compile(r"[^\W\d_]{2}")
_PADDED = re.compile(r"0\d+")


@dataclass(frozen=True)
class Doubt:
    """Why labels may be no classes, and what to do about it, in whole sentences."""

    detail: str
    advice: str


def doubts(names: Sequence[str], counts: Sequence[int]) -> Iterator[Doubt]:
    """Yield what is doubtful of labels.

    Args:
        names: C different labels.
        counts: How many photos bear each of them.

    Example:
        >>> [doubt.detail for doubt in doubts(["scab", "rust", "scab|rust"], [9, 9, 2])]
        ["1 of the 3 labels looks like several at once: 'scab|rust'."]
    """
    kind = _names(names, counts) or _scale(names, counts) or _several(names)
    yield from filter(None, (kind, _spellings(names)))


def _names(names: Sequence[str], counts: Sequence[int]) -> Doubt | None:
    if len(names) <= FEW or sum(counts) >= PHOTOS_TO_A_NAME * len(names) or _are_numbers(names):
        return None
    return Doubt(
        f"The {sum(counts):,} photos have {len(names):,} different labels, hardly any of them twice: these "
        "look like names or descriptions, not like classes.",
        "Headstart gives one class to a photo and learns it from several: take a label that photos share. "
        "Of a table, --label-column says where.",
    )


def _scale(names: Sequence[str], counts: Sequence[int]) -> Doubt | None:
    if not _is_scale(names, counts):
        return None
    values = sorted(names, key=_value)
    return Doubt(
        f"The labels are {len(names):,} different numbers from {values[0]} to {values[-1]}, which looks "
        "like a measurement, not like classes.",
        "Headstart gives one class to a photo and estimates no numbers: write ranges as labels, such as "
        "low, middle and high.",
    )


def _several(names: Sequence[str]) -> Doubt | None:
    joined = several(names)
    if not joined:
        return None
    verb = "looks" if len(joined) == 1 else "look"
    return Doubt(
        f"{len(joined):,} of the {len(names):,} labels {verb} like several at once: {_some(joined)}.",
        "Headstart gives one class to a photo and takes each combination for a class of its own: "
        "leave those photos out, or give each the one label that matters.",
    )


def _spellings(names: Sequence[str]) -> Doubt | None:
    alike = _alike(names)
    if not alike:
        return None
    return Doubt(
        f"Labels that differ in capitals, blanks or dashes alone are different classes: {_some(alike)}.",
        "Write them alike if they mean the same.",
    )


def several(names: Sequence[str]) -> list[str]:
    """Return labels that look like several, joined by one of `SEPARATORS`.

    They do where each of their pieces is a label too; and where most labels have pieces, of which some stand
    now here, now there: in `apple, scab` and `pear, scab` each has its place, in `a|b` and `b|c` none has.
    """
    pieces_of = {name: {mark: _pieces(name, mark) for mark in SEPARATORS if mark in name} for name in names}
    known = {name.casefold() for name in names}
    for mark in SEPARATORS:
        parted = {name: found[mark] for name, found in pieces_of.items() if len(found.get(mark, ())) > 1}
        joined = [name for name, pieces in parted.items() if known.issuperset(pieces)]
        if joined:
            return joined
        if mark in "|;, " and len(parted) > len(names) / 2 and _wander(names, parted, all_but=mark == " "):
            return list(parted)
    return []


def _pieces(name: str, mark: str) -> list[str]:
    pieces = (piece.strip(" []()'\"").casefold() for piece in name.split(mark))
    return [piece for piece in pieces if piece]


def _wander(names: Sequence[str], parted: dict[str, list[str]], *, all_but: bool) -> bool:
    """Tell whether some pieces, or at least half of them, stand at different places in different labels."""
    if _are_numbers(names):
        return False
    places: defaultdict[str, set[int]] = defaultdict(set)
    for name in names:
        for place, piece in enumerate(parted.get(name, ())):
            places[piece].add(place)
        if name not in parted:
            places[name.casefold()].add(-1)
    pieces = {piece for found in parted.values() for piece in found}
    n_wandering = sum(len(places[piece]) > 1 for piece in pieces)
    return n_wandering >= (len(pieces) / 2 if all_but else 1)


def _is_scale(names: Sequence[str], counts: Sequence[int]) -> bool:
    if not _are_numbers(names) or any(map(_PADDED.fullmatch, names)):
        return False
    values = sorted(map(_value, names))
    if len(values) > FEW and sum(counts) < 3 * len(values):
        return True
    if not all(value.is_integer() for value in values):
        return len(values) > MANY_DECIMALS
    counts_classes = values in (list(range(len(values))), list(range(1, len(values) + 1)))
    return len(values) > MANY_NUMBERS and not (counts_classes and min(counts) >= PHOTOS_TO_A_CLASS)


def _are_numbers(names: Sequence[str]) -> bool:
    return all(map(_NUMBER.fullmatch, names))


def _value(name: str) -> float:
    return float(name.replace(",", "."))


def _alike(names: Sequence[str]) -> list[str]:
    """Return words that are spelled in several ways; single letters and numbers mean what they are."""
    spelled: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        spelled[_BETWEEN_WORDS.sub("", name.casefold())].append(name)
    return [name for word, same in spelled.items() for name in same if len(same) > 1 and _A_WORD.search(word)]


def _some(names: Sequence[str]) -> str:
    return first_few([f"'{name}'" for name in names], SHOWN)
