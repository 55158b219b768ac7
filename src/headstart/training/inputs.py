"""What the tail is fed: the trunk's activations of photos, or their pixels, in batches of random order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.base.arrays import Floats, Rows
from headstart.base.progress import Progress
from headstart.networks.engine import Engine
from headstart.photos.splits import Lesson, Part
from headstart.pictures.pixels import batches
from headstart.storage.checkpoint import Checkpoints
from headstart.training import activations
from headstart.training.activations import Activations
from headstart.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the tail is fed for some of the photos: those of `rows`, ascending."""

    rows: Rows
    activations: Activations

    def of(self, chosen: Rows, epoch: int) -> Iterator[Floats]:
        """Yield the input for each of these rows, in the view of a pass."""
        return self.activations.rows(np.searchsorted(self.rows, chosen).tolist(), epoch)


@dataclass(frozen=True, eq=False)
class Feeder:
    """Makes the tail's inputs of photos.

    Attributes:
        trunk: Maps pixels to activations; None where the tail starts from the pixels.
        name: The name of the backbone, for progress.
        recipe: How many views there are of a photo, by which operations and which seed.
        checkpoints: Where activations are kept, if there is room, and what they are made from.
        progress: Told of each photo.
    """

    trunk: Engine | None
    name: str
    recipe: Recipe
    checkpoints: Checkpoints
    progress: Progress

    def inputs(self, lesson: Lesson) -> tuple[Inputs, Inputs]:
        """Return what is trained on, in views, and what is judged by, as it is."""
        train, validation = lesson.train, np.unique(lesson.validation)
        if self.recipe.operations:
            views = self._inputs(lesson.photos, train, self.recipe.operations, "train")
            return views, self._inputs(lesson.photos, validation, (), "validation")
        both = self._inputs(lesson.photos, np.union1d(train, validation), (), "photos")
        return both, both

    def _inputs(self, photos: Part, rows: Rows, operations: Sequence[str], what: str) -> Inputs:
        recipe = self.recipe
        files, digests = [photos.files[row] for row in rows], [photos.digests[row] for row in rows]
        view = activations.random_view(
            files, digests, recipe.image_size_px, recipe.fit, operations, recipe.seed
        )
        if not recipe.views:
            return Inputs(rows, activations.Live(self.trunk, view))
        n_views = min(recipe.views, recipe.epochs) if operations else 1
        made_from = self.checkpoints.made_from(rows.tolist(), operations)
        kept = activations.prepare(
            self.trunk,
            view,
            len(files),
            n_views,
            what,
            made_from,
            f"{self.name} trunk, {what}",
            self.progress,
        )
        return Inputs(rows, kept)


def training_batches(
    views: Inputs, train: Rows, recipe: Recipe, *, epoch: int
) -> Iterator[tuple[Floats, Rows]]:
    """Yield one pass over some photos in random order: the tail's inputs, float32 (B, ...), and rows (B,)."""
    order = train[np.random.default_rng((recipe.seed, epoch)).permutation(len(train))]
    for number, batch in enumerate(batches(views.of(order, epoch), recipe.batch_size)):
        yield np.stack(batch), order[number * recipe.batch_size :][: len(batch)]
