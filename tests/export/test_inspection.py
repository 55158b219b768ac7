"""An inspector's latencies, by a clock that goes on by one second for each picture that the file answers."""

import hashlib
import runpy
import sys
import time
from pathlib import Path

import pytest
from conftest import Finished

from headstart.base import records
from headstart.export import inspection, runtimes
from headstart.export.inspection import Job, Report
from headstart.export.runtimes import OpenedONNX, Outputs
from headstart.networks import classifier
from headstart.pictures.pixels import Pixels


@pytest.mark.parametrize(("rounds", "n_timed"), [(1, 33), (3, 35), (30, 35)])
def test_latency_is_of_one_picture_and_of_a_full_batch(
    rounds: int,
    n_timed: int,
    exported: Path,
    finished: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch is filled up from few photos; what takes longer than it is waited for is timed once."""
    pytest.importorskip("onnxruntime")
    asked: list[int] = []

    class Counted(OpenedONNX):
        def answer(self, pictures: Pixels) -> Outputs:
            asked.append(len(pictures))
            return super().answer(pictures)

    monkeypatch.setitem(runtimes.OPENED, "onnx", Counted)
    monkeypatch.setattr(time, "perf_counter", lambda: float(sum(asked)))
    monkeypatch.setattr(sys, "argv", ["inspection", str(tmp_path)])
    record = classifier.load_run(exported).record
    files = sorted((finished.photos / "red").glob("*.jpg"))[:2]
    digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    path = exported / "exports" / "onnx-f32" / "model.onnx"
    names = tuple(map(str, files))
    job = Job("onnx", str(path), names, digests, record.image_size_px, record.fit, rounds)
    records.write_json(tmp_path / inspection.JOB, job)
    runpy.run_path(inspection.__file__, run_name="__main__")
    report = records.read_json(tmp_path / inspection.REPORT, Report)
    assert (report.latency_ms, report.batch_latency_ms) == (1000, 1000 * inspection.BATCH)
    assert asked[:3] == [2, 1, 1]
    assert sum(asked[3:]) == n_timed
