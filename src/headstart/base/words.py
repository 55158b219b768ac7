"""Numbers, durations and lists as a sentence says them."""

from collections.abc import Sequence

SHOWN = 5
"""Names that a sentence holds at most."""


def first_few(words: Sequence[str]) -> str:
    """Name the first few of many.

    Example:
        >>> first_few(["a", "b"]), first_few(list("abcdefgh"))
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    more = f" and {len(words) - SHOWN:,} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def in_a_list(words: Sequence[str]) -> str:
    """Join words as a list in a sentence.

    Example:
        >>> in_a_list(["a"]), in_a_list(["a", "b"]), in_a_list(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


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
