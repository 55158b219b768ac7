import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from headstart.statistics.metrics import PROBABILITY_FLOOR, Evaluation, PerClass, evaluate, log_loss


def one_hot(predicted: list[int], n_classes: int) -> NDArray[np.float64]:
    return np.eye(n_classes)[predicted]


def test_worked_by_hand() -> None:
    # 5 photos. a: 3 photos, 2 found; b: 2 photos, 1 found; each has one stray from the other.
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.5, 0.5]])
    got = evaluate(np.array([0, 0, 0, 1, 1], np.int32), probabilities, ("a", "b"))
    assert got.n_images == 5
    assert got.accuracy == pytest.approx(3 / 5)
    assert got.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert got.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    # ln of 0.8 × 0.6 × 0.3 × 0.9 × 0.5 = 0.0648 is -2.736450…
    assert got.log_loss == pytest.approx(2.7364500 / 5, abs=1e-6)
    assert [(one.name, one.n_images) for one in got.per_class] == [("a", 3), ("b", 2)]
    for one, share in zip(got.per_class, (2 / 3, 1 / 2), strict=True):
        assert (one.precision, one.recall, one.f1) == pytest.approx((share, share, share))
    assert got.confusion == ((2, 1), (1, 1))


def test_scikit_learns_published_report() -> None:
    # The example in scikit-learn's documentation of `classification_report`, with its printed figures.
    labels, predicted = np.array([0, 1, 2, 2, 2]), [0, 0, 2, 2, 1]
    got = evaluate(labels, one_hot(predicted, 3), ("class 0", "class 1", "class 2"))
    rows = [
        (one.name, *(round(value, 2) for value in (one.precision, one.recall, one.f1)), one.n_images)
        for one in got.per_class
    ]
    assert rows == [
        ("class 0", 0.50, 1.00, 0.67, 1),
        ("class 1", 0.00, 0.00, 0.00, 1),
        ("class 2", 1.00, 0.67, 0.80, 3),
    ]
    assert (got.accuracy, round(got.macro_f1, 2), round(got.balanced_accuracy, 2)) == (0.6, 0.49, 0.56)


def test_scikit_learns_published_confusion_matrix() -> None:
    # The example in scikit-learn's documentation of `confusion_matrix`.
    got = evaluate(np.array([2, 0, 2, 2, 0, 1]), one_hot([0, 0, 2, 2, 0, 2], 3), ("ant", "bird", "cat"))
    assert got.confusion == ((2, 0, 0), (0, 0, 1), (1, 0, 2))


def test_scikit_learns_published_log_loss() -> None:
    # The example in scikit-learn's documentation of `log_loss`: ["spam", "ham", "ham", "spam"] gives 0.21616.
    probabilities = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
    got = evaluate(np.array([1, 0, 0, 1]), probabilities, ("ham", "spam"))
    assert got.log_loss == pytest.approx(0.21616, abs=5e-6)


def test_a_class_without_photos_counts_only_when_it_is_predicted() -> None:
    labels = np.array([0, 0, 1, 1])
    absent = evaluate(labels, one_hot([0, 0, 1, 1], 3), ("a", "b", "never"))
    assert absent.per_class[2] == PerClass("never", 0.0, 0.0, 0.0, 0)
    assert (absent.accuracy, absent.balanced_accuracy, absent.macro_f1) == (1.0, 1.0, 1.0)
    predicted = evaluate(labels, one_hot([0, 0, 1, 2], 3), ("a", "b", "never"))
    assert predicted.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert predicted.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_log_loss_of_certainty() -> None:
    right = evaluate(np.array([0]), np.array([[1.0, 0.0]], np.float32), ("a", "b"))
    wrong = evaluate(np.array([1]), np.array([[1.0, 0.0]], np.float32), ("a", "b"))
    assert str(right.log_loss) == "0.0"
    assert wrong.log_loss == pytest.approx(-np.log(PROBABILITY_FLOOR)) == pytest.approx(15.9424, abs=1e-4)


def test_log_loss_is_the_mean_of_minus_ln() -> None:
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)
    assert log_loss(np.array([0, 1]), probabilities) == pytest.approx((0.693147 + 0.105361) / 2, abs=1e-6)


def test_a_tie_goes_to_the_lower_index() -> None:
    assert evaluate(np.array([1]), np.array([[0.0, 0.5, 0.5]]), ("a", "b", "c")).accuracy == 1.0


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_scikit_learns_own_averages(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, predicted = random.integers(0, 6, (2, 12))  # few enough that some class is often absent
    got = evaluate(labels, one_hot(predicted.tolist(), 6), tuple("abcdef"))
    assert got.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert got.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert got.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_survives_json() -> None:
    got = evaluate(np.array([0, 1], np.int64), np.array([[0.9, 0.1], [0.4, 0.6]], np.float32), ("a", "b"))
    assert msgspec.json.decode(msgspec.json.encode(got), type=Evaluation) == got


def test_does_not_change_its_inputs() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[1.0, 0.0], [0.5, 0.5]])
    evaluate(labels, probabilities, ("a", "b"))
    assert labels.tolist() == [0, 1]
    assert probabilities.tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1, 0], [[1, 0], [0, 1]],
         "labels are (3,) and probabilities (2, 2); expected (N,) and (N, 2) for 2 class names"),
        ([0], [[1, 0, 0]],
         "labels are (1,) and probabilities (1, 3); expected (N,) and (N, 2) for 2 class names"),
        ([[0]], [[1, 0]],
         "labels are (1, 1) and probabilities (1, 2); expected (N,) and (N, 2) for 2 class names"),
        ([], np.empty((0, 2)), "there are no photos to evaluate"),
        ([0, 2], [[1, 0], [0, 1]], "labels run from 0 to 2; expected 0 to 1"),
        ([-1], [[1, 0]], "labels run from -1 to -1; expected 0 to 1"),
        ([0], [[0.9, 0.2]], "probabilities must be 0 or more, and each row's sum 1"),
        ([0], [[1.5, -0.5]], "probabilities must be 0 or more, and each row's sum 1"),
        ([0], [[np.nan, 1]], "probabilities must be 0 or more, and each row's sum 1"),
    ],
)  # fmt: skip
def test_refuses_what_cannot_be_scored(
    labels: list[int], probabilities: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        evaluate(np.array(labels, int), np.array(probabilities, float), ("a", "b"))
    assert str(caught.value) == message
