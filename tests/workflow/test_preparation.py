"""What is told of the photos before anything is trained."""

from headstart.results.comparison import FindingSummary
from headstart.workflow import preparation


def test_remarks_name_three_of_a_kind_and_count_the_rest() -> None:
    findings = [FindingSummary("duplicate", f"{number}.", "Remove it.", ()) for number in range(5)]
    findings.insert(2, FindingSummary("leak", "Leak.", "Mend it.", ()))
    assert preparation.remarks(findings) == [
        "0. Remove it.",
        "1. Remove it.",
        "2. Remove it.",
        "… and 2 more of this kind (duplicate): see results.json.",
        "Leak. Mend it.",
    ]
