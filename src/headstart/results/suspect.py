"""A label that looks wrong, as results tell it, and how many right ones would look so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Suspect:
    """A photo whose label looks wrong.

    Attributes:
        path: As it was given.
        label: The class name it bears.
        suggested: The likeliest class.
        p_label: Probability of the label, by a head that was not fitted on the photo or a copy of it.
        p_suggested: The same of the suggested class, the larger of the two.
    """

    path: str
    label: str
    suggested: str
    p_label: float
    p_suggested: float

    def row(self) -> tuple[str, ...]:
        """Return its line of suspects.csv, under `filenames.SUSPECTS_COLUMNS`."""
        return (self.path, self.label, self.suggested, f"{self.p_label:.4f}", f"{self.p_suggested:.4f}")


@dataclass(frozen=True)
class Expectation:
    """How many labels would look wrong of as many photos whose labels are all right.

    Attributes:
        by: Whose answers were asked.
        n_images: M, the labels asked about.
        accuracy: Part of right labels that its likeliest class would be, from 0 to 1.
        n_expected: How many of M right labels would look wrong, on average.
        n_most: The most that chance, and a model that misjudges itself, make of that. More are a sign of
            wrong labels.
    """

    by: str
    n_images: int
    accuracy: float
    n_expected: float
    n_most: int
