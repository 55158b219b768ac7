"""What folders and split columns call the parts of a data set: training, Test Data, val_images, hold-out."""

import re
import unicodedata
from collections.abc import Iterable

PART_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "vld", "dev", "devel"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""Words that stand for a part, in any case."""

EITHER_WORDS = ("eval", "evaluate", "evaluation", "holdout", "heldout")
"""Words for photos kept back: the validation part, or the test part where another name is for validation."""

NEUTRAL_WORDS = frozenset(
    {
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic", "pics"),
        *("jpg", "jpgs", "jpeg", "jpegs", "png", "pngs", "frame", "frames", "file", "files"),
        *("data", "dataset", "datasets", "set", "sets", "subset", "split", "part", "folder", "dir"),
        *("sample", "samples", "jpegimages"),
    }
)
"""Words that say of a folder only that it holds photos."""

UNLABELLED_WORDS = frozenset(
    {"pred", "preds", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "nolabel"}
)
"""Words for photos that no one has labelled."""

_WORD = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_KNOWN = frozenset({*PART_WORDS, *EITHER_WORDS, *UNLABELLED_WORDS})


def named(names: Iterable[str]) -> dict[str, str]:
    """Return for each name "train", "validation" or "test", or "" where it stands for no part.

    A name stands for a part when, apart from case, separators and numbers, it is a word for that part
    alone or with words that only say that there are photos. A word that all the names share says nothing
    either.

    Example:
        >>> named(["Training", "dev", "Test Data"])
        {'Training': 'train', 'dev': 'validation', 'Test Data': 'test'}
        >>> named(["train2017", "valImages", "hold-out", "train_station"])
        {'train2017': 'train', 'valImages': 'validation', 'hold-out': 'test', 'train_station': ''}
        >>> named(["seg_train", "seg_test", "seg_pred"])
        {'seg_train': 'train', 'seg_test': 'test', 'seg_pred': ''}
    """
    words = _words_of(names)
    parts = {name: _part(found) for name, found in words.items()}
    for either in EITHER_WORDS:
        for name, found in words.items():
            if found == {either}:
                taken = set(parts.values())
                parts[name] = "test" if "validation" in taken and "test" not in taken else "validation"
    return parts


def unlabelled(names: Iterable[str]) -> frozenset[str]:
    """Return the names that say that their photos have no labels.

    Example:
        >>> sorted(unlabelled(["seg_train", "seg_test", "seg_pred"]))
        ['seg_pred']
    """
    return frozenset(name for name, words in _words_of(names).items() if words and words <= UNLABELLED_WORDS)


def is_neutral(name: str) -> bool:
    """Tell whether a folder's name says only that it holds photos.

    Example:
        >>> is_neutral("JPEGImages"), is_neutral("Photos 2"), is_neutral("dogs"), is_neutral("2")
        (True, True, False, False)
    """
    words = _words(name)
    return bool(words) and not words - NEUTRAL_WORDS


def _part(words: frozenset[str]) -> str:
    parts = {PART_WORDS.get(word, "") for word in words}
    return parts.pop() if len(parts) == 1 else ""


def _words_of(names: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return what the words of each name say, without those that say nothing or that all names share."""
    words = {name: _words(name) for name in names}
    shared = frozenset.intersection(*words.values()) - _KNOWN if len(words) > 1 else frozenset()
    return {name: found - shared - NEUTRAL_WORDS for name, found in words.items()}


def _words(name: str) -> frozenset[str]:
    """Return the words of a name in lower case, with those that are run together taken apart.

    Example:
        >>> sorted(_words("TrainSet-2017")), sorted(_words("trainset")), sorted(_words("hold_out"))
        (['set', 'train'], ['set', 'train'], ['holdout'])
    """
    text = unicodedata.normalize("NFKC", _HUMP.sub(" ", name)).casefold()
    text = " ".join(_WORD.findall(text)).replace("hold out", "holdout").replace("held out", "heldout")
    return frozenset(piece for word in text.split() for piece in _pieces(word))


def _pieces(word: str) -> tuple[str, ...]:
    for cut in range(3, len(word) - 1):
        first, last = word[:cut], word[cut:]
        if (first in _KNOWN and last in NEUTRAL_WORDS) or (first in NEUTRAL_WORDS and last in _KNOWN):
            return first, last
    return (word,)
