import re
import time

import pytest
from conftest import PATIENCE_S

from headstart.base.progress import Console, Progress, Quiet, late_stage


def test_the_default_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.remark("Pulling 14 MB")
    with progress.stage("mobilenet_v2 features", 3) as advance:
        advance()
        advance(2)
    assert capfd.readouterr() == ("", "")


def test_remarks_go_to_stderr_for_stdout_is_for_results(capfd: pytest.CaptureFixture[str]) -> None:
    Console().remark("Pulling 14 MB")
    assert capfd.readouterr() == ("", "Pulling 14 MB\n")


def test_what_must_not_be_missed_is_said_by_each(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match=r"^The photos are gone\.$"):
        Progress().warn("The photos are gone.")
    assert capfd.readouterr() == ("", "")
    for kind in (Quiet, Console):
        kind().warn("The photos are gone.")
        assert capfd.readouterr() == ("", "The photos are gone.\n")
    Quiet().remark("Pulling 14 MB")
    assert capfd.readouterr() == ("", "")


def test_a_stage_leaves_one_whole_line_off_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Console().stage("efficientnet_lite0 fine-tuning 3/6", 2000) as advance:
        for _ in range(20):
            time.sleep(0.005)
            advance(100)
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("efficientnet_lite0 fine-tuning 3/6 ")
    assert re.search(r" 2000/2000 [\d,]+ images/s +0:0\d:\d\d in all *$", line)


def test_a_stage_names_its_unit(capfd: pytest.CaptureFixture[str]) -> None:
    with Console().stage("downloading", 14, unit="MB") as advance:
        advance(14)
    assert "MB/s" in capfd.readouterr().err


def test_a_failing_stage_lets_the_error_through(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), Console().stage("mobilenet_v2 features", 3):
        raise KeyError("x")
    assert capfd.readouterr().out == ""


def test_a_late_stage_is_told_of_when_it_takes_long(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.base.progress.LATE_S", PATIENCE_S)
    with late_stage(Console(), "Listing photos", unit="files") as advance:
        advance(3)
    assert capfd.readouterr() == ("", "")
    with late_stage(Console(), "Listing photos", unit="files") as advance:
        advance(3)
        monkeypatch.setattr("headstart.base.progress.LATE_S", 0)
        advance()
        advance(2)
    assert re.fullmatch(r"Listing photos .* 6/\? +[\d,]+ files/s.*\n", capfd.readouterr().err)
