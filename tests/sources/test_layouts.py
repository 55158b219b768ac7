"""Random trees whose right reading is known, because they are built from it; and examples by name."""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import text_of, touch

from headstart.base.errors import DataError, SettingsError, TooFewClasses, UnclearLayout
from headstart.sources import listing

N_TREES = 500

CLASSES = (
    *("cat", "dog", "Horse", "zebra", "red fox", "white-tailed deer", "t-shirt", "n02085620", "0", "1", "12"),
    *("猫", "собака", "jalapeño", "test tube", "training shoes", "valid coin", "class1", "class2", "trains"),
    *(
        "Healthy",
        "scab",
        "rust",
        "prototype",
        "production",
        "bus",
        "car",
        "2019 penny",
        "setter",
        "image noise",
    ),
)
SUBFOLDERS = ("camera1", "cam-2", "2021-05-01", "roll A", "indoor", "front", "left", "x", "batch 7", "über")
WRAPPERS = ("photos", "archive", "animals", "my data", "dataset-v2", "Bilder", "PlantVillage", "raw", "data")
LEVELS = ("images", "imgs", "photos", "Pictures", "data", "IMAGES", "img", "jpg")
JUNK = (
    ".DS_Store",
    "Thumbs.db",
    "._1.jpg",
    ".hidden.jpg",
    "notes.txt",
    "labels.csv",
    "README.md",
    ".gitkeep",
)
NAMES = {
    "train": (
        "train",
        "Training",
        "TRAIN",
        "train_images",
        "training set",
        "train2017",
        "Trainset",
        "1-train",
    ),
    "validation": (
        "val",
        "valid",
        "Validation",
        "DEV",
        "eval",
        "val_images",
        "hold-out",
        "valSet",
        "2.valid",
    ),
    "test": ("test", "testing", "Test Data", "TEST", "test-images", "Testset", "testImages", "3 test"),
}
SITES = (
    "site A",
    "site B",
    "north",
    "south",
    "Amazon",
    "dslr",
    "writer1",
    "writer2",
    "2020",
    "2021",
    "a",
    "b",
)
FOLDS = ("fold{}", "fold_{}", "Fold {}", "split{}", "k{}", "part-{}", "cv{}", "batch{}", "{}", "set{}")

Meaning = tuple[str, str] | None
"""Class and part of a photo, or None where it has no class."""


@dataclass
class Tree:
    """What to make on disk, and what each file means."""

    files: dict[str, Meaning] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    def make(self, root: Path) -> None:
        for path in self.files:
            folder = os.path.dirname(os.path.join(root, path))
            os.makedirs(folder, exist_ok=True)
            (root / path).touch()
        for path in self.folders:
            os.makedirs(root / path, exist_ok=True)
        for path, target in self.links.items():
            (root / path).symlink_to(root / target, target_is_directory=True)

    def expected(self) -> dict[str, Meaning]:
        return {path: meaning for path, meaning in self.files.items() if meaning}


class Maker:
    """Makes trees of random shape, each by one of its public methods."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.tree = Tree()

    def classes(self) -> None:
        """Class folders, one of them perhaps named like a part."""
        top, names = self._top(), self._some(CLASSES, 2, 6)
        for name in names:
            self._class(top, name, "", self.random.choice(("direct", "level", "both", "deep", "unzipped")))
        if self._may(0.3):
            self._class(top, self._part_name(self.random.choice(tuple(NAMES))), "", "direct")
        if self._may(0.2):
            self.tree.folders.append(_join(top, "an empty class"))
        if self._may(0.3):
            self._photos(top, None, 1)
        self._links(top, names)

    def parts(self) -> None:
        """Parts with class folders; in some not all classes, or photos without labels."""
        top, names = self._top(), self._some(CLASSES, 2, 5)
        for part in ("train", *self._some(("validation", "test"), 1, 2)):
            folder = _join(top, self._part_name(part))
            if part == "test" and self._may(0.2):
                self._photos(self.random.choice((folder, _join(folder, "images"))), None)
                continue
            if self._may(0.2):
                self._photos(folder, None)
            if self._may(0.3):
                folder = _join(folder, self.random.choice((*LEVELS, folder.rpartition("/")[2])))
            for name in names if part == "train" else self._some(tuple(names), 1, len(names)):
                self._class(folder, name, part, self.random.choice(("direct", "level", "both", "unzipped")))
            if self._may(0.2):
                self.tree.folders.append(_join(folder, names[0]))
        if self._may(0.2):
            self.tree.files[_join(top, "annotations/train.txt")] = None
        if self._may(0.2):
            self._photos(top, None)

    def folds(self) -> None:
        """Numbered folds, or sites, with the same classes or nearly so in each, perhaps a level down."""
        top, names = self._top(), self._some(CLASSES, 2, 4)
        form, n_folds = self.random.choice(FOLDS), self.random.randint(2, 4)
        folds = [form.format(number) for number in range(n_folds)]
        shared = self.random.choice(names)
        for fold in folds if self._may(0.5) else self._some(SITES, 2, 4):
            level = _join(top, fold, *([f"in {fold}"] if self._may(0.2) else []))
            for name in {shared, *self._some(tuple(names), 2, len(names))}:
                self._class(level, name, "", self.random.choice(("direct", "level")))
            if self._may(0.2):
                self.tree.files[_join(top, fold, "grid.png")] = None

    def bare_folds(self) -> None:
        """Numbered folds without class folders."""
        top, form = self._top(), self.random.choice(("fold{}", "fold_{}", "Split {}", "cv-{}"))
        for number in range(self.random.randint(2, 4)):
            self._photos(_join(top, form.format(number)), None)

    def parts_in_classes(self) -> None:
        """Parts inside the class folders."""
        top = self._top()
        part_names = [self._part_name(part) for part in ("train", *self._some(("validation", "test"), 1, 2))]
        for name in self._some(CLASSES, 2, 4):
            for part in part_names:
                self._photos(_join(top, name, part), None)
            if self._may(0.3):
                self._photos(_join(top, name), None)

    def parts_beside_classes(self) -> None:
        """Some class folders within a part, others beside it."""
        top, names = self._top(), self._some(CLASSES, 3, 5)
        for part in self._some(tuple(NAMES), 1, 2):
            folder = _join(top, self._part_name(part))
            for name in names[:-1]:
                self._class(folder, name, "", "direct")
        for name in names[-self.random.randint(1, 2) :]:
            self._class(top, name, "", "direct")

    def an_unknown_part(self) -> None:
        """A folder of another name among the parts, with the same classes in it or without any."""
        top, names = self._top(), self._some(CLASSES, 2, 4)
        parts = self._some(tuple(NAMES), 1, 3)
        for folder in (
            *map(self._part_name, parts),
            *self._some(("extra", "Meta", "gold", "trainval"), 1, 2),
        ):
            if folder in ("extra", "Meta") and self._may(0.5):
                self._photos(_join(top, folder), None)
            else:
                for name in names:
                    self._class(_join(top, folder), name, "", "direct")

    def no_train_part(self) -> None:
        """Parts, and none to train on; or two folders for one part."""
        top, names = self._top(), self._some(CLASSES, 2, 4)
        chosen = self.random.choice(
            (("validation", "test"), ("train", "train", "test"), ("train", "test", "test"))
        )
        used: set[str] = set()
        for part in chosen:
            folder = self.random.choice([name for name in NAMES[part] if name not in used])
            used.add(folder)
            for name in names:
                self._class(_join(top, folder), name, "", "direct")

    def same_subfolders(self) -> None:
        """Class folders whose own folders have the same names, such as photos and masks."""
        top, names = self._top(), self._some(CLASSES, 2, 4)
        for name in names:
            for sub in ("masks", "images") if self._may(0.5) else ("masks", *self._some(SUBFOLDERS, 1, 2)):
                self._photos(_join(top, name, sub), None)

    def classes_in_classes(self) -> None:
        """A folder with class folders in it beside folders of the same names."""
        top, names = self._top(), self._some(CLASSES, 2, 5)
        for name in names:
            self._class(top, name, "", "direct")
            self._class(_join(top, self.random.choice(("new", "more", names[0]))), names[-1], "", "direct")

    def litter(self) -> Tree:
        """Add files that mean nothing."""
        for folder in sorted({os.path.dirname(path) for path in self.tree.files}):
            if self._may(0.2):
                self.tree.files[_join(folder, self.random.choice(JUNK))] = None
            if self._may(0.05):
                self.tree.files[_join(folder, ".cache/thumb.jpg")] = None
        return self.tree

    def _class(self, folder: str, name: str, part: str, shape: str) -> None:
        path, meaning = _join(folder, name), (name, part)
        if shape == "level":
            path = _join(path, self.random.choice(LEVELS))
        if shape == "unzipped":
            path = _join(path, name)
        if shape != "deep":
            self._photos(path, meaning, 2)
        if shape in ("deep", "both"):
            # Names of its own: only then is it plain that these are not the classes.
            for sub in self._some(SUBFOLDERS, 1, 2):
                self._photos(_join(path, f"{len(self.tree.files)} {sub}"), meaning, 1)

    def _photos(self, folder: str, meaning: Meaning, count: int = 3) -> None:
        for _ in range(count):
            number = len(self.tree.files)
            self.tree.files[_join(folder, f"{number}{self.random.choice(('.jpg', '.JPEG', '.png'))}")] = (
                meaning
            )

    def _links(self, top: str, names: list[str]) -> None:
        for name, target in (("up", top), ("over", _join(top, names[1])), ("out", "..")):
            if self._may(0.15):
                self.tree.links[_join(top, names[0], name)] = target

    def _top(self) -> str:
        """The root, or a folder below one or more that hold nothing else."""
        return _join(*self._some(WRAPPERS, 1, 3)) if self._may(0.3) else ""

    def _part_name(self, part: str) -> str:
        return self.random.choice(NAMES[part])

    def _some(self, words: tuple[str, ...], low: int, high: int) -> list[str]:
        return self.random.sample(words, self.random.randint(low, high))

    def _may(self, chance: float) -> bool:
        return self.random.random() < chance


def _join(*names: str) -> str:
    return "/".join(filter(None, names))


READ = ("classes", "parts")
ASKED = tuple(
    name for name, made in vars(Maker).items() if not name.startswith("_") and name not in (*READ, "litter")
)


def read(root: Path, layout: str = "auto") -> dict[str, Meaning]:
    listed = listing.load(root, layout=layout)
    classes = [listed.class_names[label] for label in listed.labels]
    return dict(zip(listed.paths, zip(classes, listed.given_parts, strict=True), strict=True))


@pytest.mark.parametrize("kind", READ)
def test_random_trees_are_read_as_they_were_meant(tmp_path: Path, kind: str) -> None:
    for number in range(N_TREES // 2):
        maker = Maker(f"{kind} {number}")
        getattr(maker, kind)()
        tree, root = maker.litter(), tmp_path / str(number)
        tree.make(root)
        assert read(root) == tree.expected(), number
        assert read(root, layout=kind) == tree.expected(), number


@pytest.mark.parametrize("kind", ASKED)
def test_random_trees_of_two_readings_are_asked_about(tmp_path: Path, kind: str) -> None:
    for number in range(N_TREES // len(ASKED)):
        maker = Maker(f"{kind} {number}")
        getattr(maker, kind)()
        root = tmp_path / str(number)
        maker.litter().make(root)
        with pytest.raises(UnclearLayout):
            pytest.fail(f"{number} was read as {listing.load(root).layout}: {sorted(maker.tree.files)}")


# Examples, with what is said of them

LAYOUT = (
    "Put the photos of each class into a folder named after it, such as photos/cat and photos/dog, "
    "or name a CSV or TSV file with the columns path,label."
)


def made(root: Path, *folders: str, classes: str = "cat dog") -> Path:
    """Folders with class folders of one photo each."""
    return touch(root, *(f"{folder}/{name}/1.jpg" for folder in folders for name in classes.split()))


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (
            "Training dev Testing",
            "parts train (Training), validation (dev), test (Testing), with 2 classes in each",
        ),
        ("train validation holdout", "parts train, validation, test (holdout), with 2 classes in each"),
        ("x/train x/test", "parts train, test in 'x', with 2 classes in each"),
        ("train/images val/images", "parts train, validation (val), with 2 classes in each"),
        ("train/pets test/pets", "parts train, test, with 2 classes in each"),
        ("train/pets test", "parts train, test, with 2 classes in each"),
        ("images/train images/val", "parts train, validation (val) in 'images', with 2 classes in each"),
        (
            "seg_train/seg_train seg_test/seg_test",
            "parts train (seg_train), test (seg_test), with 2 classes in each",
        ),
        ("animals", "2 class folders in 'animals'"),
        ("a/b/images", "2 class folders in 'a/b/images'"),
        ("train", "2 class folders in 'train'"),
        ("test", "2 class folders in 'test'"),
    ],
)
def test_how_folders_were_read(tmp_path: Path, folders: str, said: str) -> None:
    listed = listing.load(made(tmp_path, *folders.split()))
    assert (listed.layout, listed.class_names) == (said, ("cat", "dog"))
    assert len(listed) == 2 * len(folders.split()) and listed.ignored == ()


def test_classes_that_are_called_like_parts(tmp_path: Path) -> None:
    touch(tmp_path, "vehicles/train/1.jpg", "vehicles/bus/1.jpg", "vehicles/car/1.jpg")
    listed = listing.load(tmp_path / "vehicles")
    assert (listed.layout, listed.class_names) == (
        "3 class folders; 'train' counts as a class",
        ("bus", "car", "train"),
    )
    touch(tmp_path, "stages/test/1.jpg", "stages/prototype/1.jpg", "stages/production/images/1.jpg")
    assert listing.load(tmp_path / "stages").class_names == ("production", "prototype", "test")
    made(tmp_path / "divided", "train", "test", classes="train bus car")
    assert listing.load(tmp_path / "divided").class_names == ("bus", "car", "train")


def test_classes_with_folders_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "cat/2021/1.jpg", "dog/2022/1.jpg", "dog/2023/1.jpg", "newt/1.jpg")
    assert listing.load(tmp_path).layout == "3 class folders, each with all the folders in it"
    touch(tmp_path, "same/cat/1.jpg", "same/cat/black/1.jpg", "same/dog/1.jpg", "same/dog/black/1.jpg")
    assert listing.load(tmp_path / "same").class_names == ("cat", "dog")
    touch(tmp_path, "raw/cat/raw/1/1.jpg", "raw/dog/raw/2/1.jpg")
    assert listing.load(tmp_path / "raw").class_names == ("cat", "dog")


def test_parts_of_unequal_classes(tmp_path: Path) -> None:
    made(tmp_path, "train", classes="cat dog newt")
    made(tmp_path, "test", classes="cat newt")
    listed = listing.load(touch(tmp_path, "test/loose.jpg", "grid.png", "labels/train.txt"))
    assert listed.layout == "parts train, test, with 3 and 2 classes"
    assert [item.path for item in listed.ignored] == ["grid.png", "labels/train.txt", "test/loose.jpg"]


@pytest.mark.parametrize("folder", ["test", "test/unknown", "test/images"])
def test_a_test_part_without_class_folders(tmp_path: Path, folder: str) -> None:
    listed = listing.load(touch(made(tmp_path, "train"), f"{folder}/1.jpg", f"{folder}/2.jpg"))
    assert listed.layout == "part train, with 2 classes in it; 'test' has no class folders and so no labels"
    assert set(listed.given_parts) == {"train"}
    assert {item.reason for item in listed.ignored} == {"no label: 'test' has no class folders"}


def test_photos_that_are_to_be_predicted(tmp_path: Path) -> None:
    listed = listing.load(touch(made(tmp_path, "seg_train", "seg_test"), "seg_pred/seg_pred/1.jpg"))
    assert listed.layout == (
        "parts train (seg_train), test (seg_test), with 2 classes in each; "
        "'seg_pred' has no class folders and so no labels"
    )


def test_parts_beside_empty_folders(tmp_path: Path) -> None:
    made(tmp_path, "train")
    for name in ("test", "val"):
        (tmp_path / name / "cat").mkdir(parents=True)
    assert listing.load(tmp_path).layout == "part train, with 2 classes in it"


def test_one_name_written_in_two_ways(tmp_path: Path) -> None:
    made(tmp_path, "a/train", classes="jalape\u00f1o dog cat")
    made(tmp_path, "a/test", classes="jalapen\u0303o dog cat")
    assert listing.load(tmp_path / "a").class_names == ("cat", "dog", "jalape\u00f1o")
    assert listing.load(tmp_path / "a", exclude=["jalapen\u0303o"]).class_names == ("cat", "dog")
    made(tmp_path, "b/train", classes="Cat dog")
    made(tmp_path, "b/test")
    assert text_of(DataError, lambda: listing.load(tmp_path / "b")) == (
        f"'train/Cat' and 'test/cat' in '{tmp_path / 'b'}' differ only in how the name is written.\n"
        "Give a class the same name in each part."
    )


FOLDS_DRAWN = """\
├── fold0/  2 photos
│   ├── cat/  1 photo
│   └── dog/  1 photo
└── fold1/  2 photos
    ├── cat/  1 photo
    └── dog/  1 photo
"""


def test_numbered_folds(tmp_path: Path) -> None:
    made(tmp_path, "fold0", "fold1")
    assert text_of(UnclearLayout, lambda: listing.load(tmp_path)) == (
        f"It is not clear how '{tmp_path}' is meant: "
        "'fold0' and 'fold1' are named like pieces of a data set.\n"
        f"{tmp_path}/  4 photos\n{FOLDS_DRAWN}"
        "If 'fold0' and 'fold1' are the classes: --layout classes.\n"
        "If the classes are the folders in them: call them train, validation and test and give "
        "--layout parts, or write a table with the columns path,label,split."
    )
    assert listing.load(tmp_path, layout="classes").class_names == ("fold0", "fold1")
    assert text_of(UnclearLayout, lambda: listing.load(tmp_path, layout="parts")) == (
        f"'{tmp_path}' cannot be read as parts: 'fold0' and 'fold1' are none by name.\n"
        f"{tmp_path}/  4 photos\n{FOLDS_DRAWN}"
        "Call 'fold0' and 'fold1' train, validation or test, or leave them out (--exclude fold0,fold1); "
        "or write a table with the columns path,label,split."
    )


def test_an_unknown_name_among_parts(tmp_path: Path) -> None:
    made(tmp_path, "train", "test", "my extra")
    assert text_of(UnclearLayout, lambda: listing.load(tmp_path)) == (
        f"It is not clear how '{tmp_path}' is meant: 'test' and 'train' are named like parts of a data set, "
        f"'my extra' is not.\n{tmp_path}/  6 photos\n"
        "├── my extra/  2 photos\n│   ├── cat/  1 photo\n│   └── dog/  1 photo\n"
        "├── test/  2 photos: test part\n│   ├── cat/  1 photo\n│   └── dog/  1 photo\n"
        "└── train/  2 photos: train part\n    ├── cat/  1 photo\n    └── dog/  1 photo\n"
        "If 'my extra', 'test' and 'train' are the classes: --layout classes.\n"
        "If they are parts of one data set: call 'my extra' train, validation or test, or leave it out "
        "(--exclude 'my extra'); then --layout parts."
    )
    listed = listing.load(tmp_path, exclude=["my extra"])
    assert listed.layout == "parts train, test, with 2 classes in each" and listed.ignored == ()


def test_parts_inside_classes(tmp_path: Path) -> None:
    made(tmp_path, "cat", "dog", classes="train test")
    assert text_of(UnclearLayout, lambda: listing.load(tmp_path)) == (
        f"It is not clear how '{tmp_path}' is meant: "
        "parts of a data set stand in 'cat': 'test' and 'train'.\n"
        f"{tmp_path}/  4 photos\n"
        "├── cat/  2 photos\n│   ├── test/  1 photo\n│   └── train/  1 photo\n"
        "└── dog/  2 photos\n    ├── test/  1 photo\n    └── train/  1 photo\n"
        "If 'cat' and 'dog' are the classes: --layout classes.\n"
        "To keep the parts, make them the topmost folders, as in train/cat."
    )


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (
            "train/cat/ train/dog/ cat/ dog/",
            "'train' is named like a part of a data set, 'cat' and 'dog' are not",
        ),
        (
            "cat/black/ cat/white/ dog/black/ dog/white/",
            "the same folders 'black' and 'white' stand in 'cat' and 'dog'",
        ),
        ("a/x/ a/y/ b/x/ c/z/", "the same folder 'x' stands in 'a' and 'b'"),
        (
            "s1/1/cat/ s1/1/dog/ s2/2/cat/ s2/2/dog/",
            "the same folders 'cat' and 'dog' stand in 's1' and 's2'",
        ),
        ("cat/ dog/ new/cat/ new/dog/", "'new/dog' is named like a folder beside 'new'"),
        (
            "val/cat/ val/dog/ test/cat/",
            "'test' and 'val' are named like parts of a data set, and none is for training",
        ),
        ("train/cat/ train/dog/ train2/cat/", "'train' and 'train2' are each named like the train part"),
        (
            "train/cat/ train/dog/ test/owl/ test/fox/",
            "no folder in 'test' is named like one in the train part",
        ),
        (
            "data/cat/ data/dog/ extra/",
            "'data' is named like a folder of all photos, and stands beside others",
        ),
        ("train/ test/ bus/", "'test' and 'train' are named like parts of a data set, 'bus' is not"),
        ("test/ val/", "'test' and 'val' are named like parts of a data set, and none is for training"),
        ("Fold 1/ Fold 2/", "'Fold 1' and 'Fold 2' are named like pieces of a data set"),
        (
            "train/s/a/ train/s/b/ train/t/a/ train/t/b/ test/s/a/",
            "the same folders 'a' and 'b' stand in 's' and 't'",
        ),
        (
            "train/cat/ train/dog/ pred/cat/ pred/dog/",
            "'pred' should have no labels, and yet there are folders in it",
        ),
    ],
)
def test_why_it_is_asked(tmp_path: Path, paths: str, why: str) -> None:
    touch(tmp_path, *(f"{path}1.jpg" for path in paths.replace("Fold ", "Fold~").split()))
    for folder in tmp_path.glob("Fold~*"):
        folder.rename(tmp_path / folder.name.replace("~", " "))
    said = text_of(UnclearLayout, lambda: listing.load(tmp_path))
    assert said.startswith(f"It is not clear how '{tmp_path}' is meant: {why}.\n{tmp_path}/  ")
    assert "are the classes: --layout classes.\n" in said


def test_parts_because_the_user_says_so(tmp_path: Path) -> None:
    made(tmp_path, "train1", "train2", "val", classes="cat/black cat/white dog/black")
    listed = listing.load(tmp_path, layout="parts")
    assert listed.layout == "parts train (train1), train (train2), validation (val), with 2 classes in each"
    assert listed.class_names == ("cat", "dog") and len(listed) == 9
    made(tmp_path, "only/train")
    assert listing.load(tmp_path / "only", layout="parts").layout == "part train, with 2 classes in it"


def test_a_layout_that_there_is_not(tmp_path: Path) -> None:
    assert text_of(SettingsError, lambda: listing.load(made(tmp_path, "a"), layout="part")) == (
        "layout is 'part'.\nChoose one of auto, classes, parts."
    )


def test_one_folder_with_folders_beside_an_empty_one(tmp_path: Path) -> None:
    made(tmp_path, "dog", classes="black white")
    (tmp_path / "cat").mkdir()
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"Only one class in '{tmp_path}': 'dog'.\nDid you mean '{tmp_path / 'dog'}'? It holds 2 folders."
    )


def test_no_class_folders(tmp_path: Path) -> None:
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in '{tmp_path}'.\n{LAYOUT}"
    )
    touch(tmp_path, "1.jpg")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in '{tmp_path}', only 1 photo.\n{LAYOUT}"
    )
    touch(tmp_path, "2.jpg", "notes.txt")
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in '{tmp_path}', only 2 photos.\n{LAYOUT}"
    )


@pytest.mark.parametrize(
    ("paths", "which"),
    [
        ("train/1.jpg train/2.jpg test/3.jpg", "parts test, train"),
        ("train/1.jpg train/2.jpg train/3.jpg test/cat/1.jpg test/dog/1.jpg", "part train"),
    ],
)
def test_no_class_folders_in_the_parts(tmp_path: Path, paths: str, which: str) -> None:
    touch(tmp_path, *paths.split())
    assert text_of(TooFewClasses, lambda: listing.load(tmp_path)) == (
        f"No class folders in the {which} in '{tmp_path}', only 3 photos.\n{LAYOUT}\n"
        "If 'test' and 'train' are the classes: --layout classes."
    )
