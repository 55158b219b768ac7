"""Numbers, durations and lists as a sentence says them."""

from collections.abc import Sequence

SHOWN = 5
"""Names that a sentence holds at most."""


def first_few(words: Sequence[str], shown: int = SHOWN) -> str:
    """Name the first few of many, and how many more there are.

    Example:
        >>> first_few(["a", "b"]), first_few(list("abcdefgh")), first_few(list("abcdefgh"), 3)
        ('a, b', 'a, b, c, d, e and 3 more', 'a, b, c and 5 more')
    """
    more = f" and {len(words) - shown:,} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def in_a_list(words: Sequence[str], last: str = "and") -> str:
    """Join words as a list in a sentence.

    Example:
        >>> in_a_list(["a"]), in_a_list(["a", "b"]), in_a_list(["a", "b", "c"], "or")
        ('a', 'a and b', 'a, b or c')
    """
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def all_or_few(words: Sequence[str], shown: int, most: int, last: str = "and") -> str:
    """Name all of `most` words at most, as a list in a sentence; of more, the first `shown`.

    Example:
        >>> all_or_few(["a", "b", "c"], 2, 3), all_or_few(["a", "b", "c", "d"], 2, 3)
        ('a, b and c', 'a, b and 2 more')
    """
    return in_a_list(words, last) if len(words) <= most else first_few(words, shown)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "photo"), counted(1200, "photo"), counted(2, "family", "families")
        ('1 photo', '1,200 photos', '2 families')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def are(items: Sequence[object]) -> str:
    """Return "is" for one, else "are"."""
    return "is" if len(items) == 1 else "are"


def in_words(seconds: float) -> str:
    """Return a duration as a person says it.

    Example:
        >>> in_words(8), in_words(95), in_words(5400)
        ('8 s', '1 min 35 s', '1 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
