"""The first signal is an exception, the second the end."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from headstart.base.interruption import SIGNALS, Interrupted, orderly


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_raised(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught, orderly():
        signal.raise_signal(number)
    assert caught.value.number == number
    assert {signal.getsignal(one) for one in SIGNALS} == {signal.SIG_DFL}


def test_without_one_all_is_as_before() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with orderly():
        assert [signal.getsignal(one) for one in SIGNALS] != before
    with pytest.raises(ValueError, match="told"), orderly():
        raise ValueError("told")
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with orderly():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_changes_nothing() -> None:
    seen = []

    def look() -> None:
        with orderly():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_second_one_ends_the_process() -> None:
    code = (
        "import signal\nfrom headstart.base.interruption import Interrupted, orderly\n"
        "try:\n    with orderly(): signal.raise_signal(signal.SIGTERM)\n"
        "except Interrupted: print('first', flush=True)\n"
        "signal.raise_signal(signal.SIGINT); print('not reached')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("first\n", "", -signal.SIGINT)
