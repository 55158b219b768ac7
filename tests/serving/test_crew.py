"""What waits is bounded, what takes too long is told, and one bad picture among others costs only itself."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from conftest import PATIENCE_S, until
from served import Served, awkward_pictures, blotches, saved, serving

from headstart.base.arrays import Floats
from headstart.base.settings import Serving
from headstart.pictures.pixels import Pixels

PNG = awkward_pictures()["grey.png"]
JPEG = {"Content-Type": "image/jpeg"}


@contextmanager
def held_up(served: Served) -> Iterator[threading.Event]:
    """The model answers only once the event is set."""
    model, may_go = served.shelf.model(), threading.Event()
    ask = model.ask

    def ask_later(picture: Pixels) -> tuple[Floats, ...]:
        may_go.wait()
        return ask(picture)

    model.ask = ask_later  # type: ignore[method-assign]
    yield may_go
    may_go.set()


def test_beyond_the_queue_it_says_when_to_come_again(garments: Path) -> None:
    settings = Serving(max_queue=2, max_files=2, timeout=PATIENCE_S)
    with serving([garments], settings) as served, held_up(served) as may_go:
        with ThreadPoolExecutor(2) as pool:
            first = [
                pool.submit(served.client.post, "/v1/predict", content=PNG, headers=JPEG) for _ in range(2)
            ]
            until(lambda: "headstart_waiting_pictures 2.0" in served.client.get("/metrics").text)
            refused = served.client.post("/v1/predict", content=PNG, headers=JPEG)
            assert served.client.get("/readyz").status_code == 200
            may_go.set()
            assert [one.result().status_code for one in first] == [200, 200]
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["error"] == "2 pictures wait already. Send it again soon."
        assert served.client.post("/v1/predict", content=PNG, headers=JPEG).status_code == 200
        assert "headstart_waiting_pictures 0.0" in served.client.get("/metrics").text


def test_what_takes_too_long_is_told(garments: Path) -> None:
    with serving([garments], Serving(timeout=1)) as served, held_up(served):
        late = served.client.post("/v1/predict", content=PNG, headers=JPEG)
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        assert late.json()["error"] == (
            "There was no answer within 1 s. Send fewer pictures at once, or the same later."
        )
        assert "headstart_waiting_pictures 0.0" in served.client.get("/metrics").text


def test_each_picture_is_told_of_in_its_place(garments: Path, bomb_png: bytes) -> None:
    contents = (
        PNG,
        b"",
        b"no picture",
        PNG[:60],
        b"%PDF-1.7",
        bomb_png,
        saved(blotches(1010, 1000), "PNG"),
        PNG,
    )
    with serving([garments], Serving(max_megapixels=1)) as served:
        told = served.client.post("/v1/predict", files=[("file", ("a", one)) for one in contents]).json()
        first, *others, last = told["predictions"]
        assert first == last
        assert [(one["status"], one["problem"]) for one in others] == [
            (422, "The picture is empty."),
            (415, "The picture is of no kind that is read here, or damaged."),
            (422, "The picture is damaged or cut short."),
            (415, "The picture is PDF, which is not read here."),
            (413, "The picture has more than 1,000,000 pixels."),
            (413, "The picture has more than 1,000,000 pixels."),
        ]
        for content, one in zip(contents[1:-1], others, strict=True):
            alone = served.client.post("/v1/predict", files={"file": ("a", content)})
            assert (alone.status_code, alone.json()) == (
                one["status"],
                {name: one[name] for name in ("error", "problem", "fix")},
            )


def test_what_a_model_says_is_counted_by_kind(garments: Path) -> None:
    with serving([garments]) as served:
        pictures = [saved(blotches(32, 32, seed), "PNG") for seed in range(12)]
        told = served.client.post("/v1/predict", files=[("file", ("a", one)) for one in pictures]).json()
        said = [one["answer"] for one in told["predictions"]]
        kinds = {"none of these", "not sure"}
        assert kinds < set(said)
        for one in told["predictions"]:
            expected = "none of these" if one["is_novel"] else one["label"] if one["is_sure"] else "not sure"
            assert one["answer"] == expected
        counts = served.client.get("/metrics").text
        for kind in kinds:
            line = f'headstart_pictures_total{{answer="{kind}",model="garments"}} {said.count(kind):.1f}'
            assert line in counts
