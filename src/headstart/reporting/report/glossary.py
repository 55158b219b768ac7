"""What the page's terms mean, each in a sentence or two."""

from typing import NamedTuple


class Term(NamedTuple):
    """A term as it is written, and what it means."""

    name: str
    meaning: str


TERMS = {
    "accuracy": Term("Accuracy", "The part of the photos whose likeliest class is their label."),
    "validation": Term(
        "Validation and test",
        "Validation photos are what candidates are chosen by. Test photos were not looked at before that, so "
        "what is measured on them is not flattered by the choice.",
    ),
    "interval": Term(
        "95% interval",
        "A range made so that it holds the true figure in 95 of 100 samples of test photos. It covers the "
        "chance of which photos were taken, not that of another training.",
    ),
    "unclear": Term(
        "Not told apart",
        "Two candidates whose difference on the same test photos cannot be told from chance. That does not "
        "say that they are alike: the interval says by how much they could differ.",
    ),
    "margin": Term(
        "Margin",
        "By so much accuracy a materially cheaper candidate may be worse and still be recommended. It must "
        "be shown, with 95% confidence, on photos that were not trained on.",
    ),
    "mcnemar": Term(
        "p, corrected",
        "How likely a difference at least as large is by chance alone: an exact McNemar test on the photos "
        "that only one of the two got right, corrected by Holm for the number of comparisons.",
    ),
    "backbone": Term(
        "Backbone",
        "A network trained on ImageNet, without its last layer: it turns a photo into numbers. a+b: two of "
        "them, their numbers side by side under one new last layer.",
    ),
    "technique": Term(
        "Features, fine-tuning",
        "Features: the backbone stays as it is, and only a new last layer is fitted. Fine-tuning: the last "
        "blocks of the backbone are trained on your photos, too.",
    ),
    "probe": Term(
        "Probe",
        "The last layer that is fitted on features, by ridge regression; fine-tuning has to do better.",
    ),
    "pareto": Term(
        "Front",
        "The candidates that no other one beats in both accuracy and cost (the Pareto front). All else is "
        "dominated.",
    ),
    "f1": Term(
        "Precision, recall, F1",
        "Of the photos called by a class's name, the part that bears it is the precision; of those that bear "
        "it, the part that is found is the recall. F1 is their harmonic mean, and macro F1 the mean over the "
        "classes, each counted alike.",
    ),
    "logloss": Term(
        "Log loss",
        "The mean of −ln(probability given to the label): 0 where it is always sure and right. It punishes "
        "being sure and wrong.",
    ),
    "confusion": Term("Confusion matrix", "How many photos of each class were taken for each class."),
    "confidence": Term(
        "Confidence", "The probability that a classifier gives to the class it answers, calibrated here."
    ),
    "calibration": Term(
        "Calibration",
        "Making confidence mean what it says, by one number, the temperature, fitted on photos that the "
        "classifier was not trained on. Above 1 it lowers confidence, below 1 it raises it.",
    ),
    "ece": Term(
        "Expected calibration error",
        "The mean distance between confidence and the part that is right, over 15 bins of confidence, each "
        "weighted by its photos. With few photos it is above 0 even where confidence is right.",
    ),
    "coverage": Term(
        "Risk and coverage",
        "Coverage is the part of the photos that is answered when those below a confidence are left to a "
        "person; risk is the part of the answers that is wrong.",
    ),
    "abstain": Term(
        "To abstain", "To give no answer below a threshold of confidence, chosen before test was read."
    ),
    "sets": Term(
        "Set of classes",
        "The classes that a photo may be of, together so likely that the label is among them as often as "
        "asked for (conformal prediction). The fewer they are, the surer it is.",
    ),
    "novelty": Term(
        "None of these",
        "What is said of a picture whose features are farther from those of the training photos than nearly "
        "all photos of these classes are. A share of these is refused, too, chosen before test was read.",
    ),
    "suspect": Term(
        "Suspect label", "A label that a probe finds very unlikely, though it was not fitted on that photo."
    ),
    "leak": Term("Leak", "A photo, or a copy of it, in two parts: scores on what was trained on flatter."),
    "law": Term(
        "Fitted law",
        "Error = floor + scale × photos^−exponent, fitted to what was measured with parts of the photos.",
    ),
    "points": Term("Point", "One percentage point: from 90% to 91% is one point."),
}
"""By the name that links have."""
