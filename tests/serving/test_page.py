"""The page in a browser: photos by every way in, answers, order, CSV, and nothing from elsewhere."""

import csv
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import PATIENCE_S
from served import Served, blotches, heic_picture, saved, serving, write_run
from test_report_page import CONTRASTS, keep

from headstart import load
from headstart.base.settings import Serving
from headstart.reporting import lines

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = '<img src=x onerror=alert(1)>, "a".png'

DROP = """([name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    const paste = { clipboardData: transfer, bubbles: true };
    const drop = { dataTransfer: transfer, bubbles: true, cancelable: true };
    const isPaste = name === "pasted.png";
    document.body.dispatchEvent(isPaste ? new ClipboardEvent("paste", paste) : new DragEvent("drop", drop));
}"""

WORDS = ".sub, .quiet, .button, .said, .how, .ranks span, .file, .why, .tools label, .tools p, select, a"


@dataclass
class Shown:
    """The page in a browser, what it asked for, and what it complained about."""

    page: "Page"
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def answered(self, count: int) -> None:
        """Wait until all photos are answered and shown, or said to have no preview."""
        from playwright.sync_api import expect

        shown = self.page.locator(".view img:not([hidden]), .no-picture:not(:empty)")
        expect(shown).to_have_count(count, timeout=1000 * PATIENCE_S)
        self.page.get_by_text(re.compile(f"^{count} photos? answered")).wait_for()


@pytest.fixture(scope="module")
def served(garments: Path) -> Iterator[Served]:
    with serving([garments]) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A Chromium with a camera that films a test card."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium to look at the page with (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    words = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=words)
        yield started
        started.close()


def show(browser: "Browser", host: str, **options: Any) -> Shown:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    shown = Shown(context.new_page())
    shown.page.set_default_timeout(1000 * PATIENCE_S)
    shown.page.on("request", lambda request: shown.asked.append(request.url))
    shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
    shown.page.on("console", lambda message: shown.complaints.append(message.text))
    shown.page.on("dialog", lambda dialog: shown.complaints.append(f"a dialog: {dialog.message}"))
    shown.page.goto(f"http://{host}/")
    return shown


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Photos that the model knows, is not sure of, or does not know, a hostile name, and a broken photo."""
    contents = {f"blotches_{seed:02}.png": saved(blotches(32, 32, seed), "PNG") for seed in range(10)}
    contents |= {
        "phone.heic": heic_picture(),
        HOSTILE: saved(blotches(seed=77), "PNG"),
        "broken.jpg": b"\xff\xd8\xff",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def test_one_photo_is_answered_and_explained(
    browser: "Browser", served: Served, garments: Path, files: list[Path]
) -> None:
    shown = show(browser, served.host)
    page = shown.page
    page.get_by_text("garments tells 3 classes apart: cat, dog, fox.").wait_for()
    page.set_input_files("#files", files[0])
    shown.answered(1)
    [expected] = load(garments).predict(files[0])
    said = (
        "None of these" if expected.is_novel else "Not sure" if expected.is_sure is False else expected.label
    )
    assert page.inner_text(".said") == said
    before = page.get_attribute(".view img", "src")
    page.get_by_role("button", name="Why?").click()
    page.locator(".why[aria-pressed=true]").wait_for()
    image = page.locator(".view img")
    assert image.get_attribute("src") != before
    assert image.get_attribute("alt") == f"blotches_00.png, brighter where more speaks for {expected.label}"
    page.get_by_role("button", name="Show the photo").click()
    assert image.get_attribute("src") == before
    assert shown.complaints == []
    assert {url.split("/")[2] for url in shown.asked if not url.startswith(("blob:", "data:"))} == {
        served.host
    }


HELD_BACK = """() => {
    const now = window.createImageBitmap;
    const isTime = new Promise((go) => { window.go = go; });
    window.createImageBitmap = async (...given) => { await isTime; return now(...given); };
}"""


def test_a_preview_that_is_late_does_not_take_the_place_of_an_explanation(
    browser: "Browser", served: Served, files: list[Path]
) -> None:
    page = show(browser, served.host).page
    page.evaluate(HELD_BACK)
    page.set_input_files("#files", files[0])
    with page.expect_response(lambda response: "heat_map=true" in response.url):
        page.get_by_role("button", name="Why?").click()
    assert page.inner_text(".why") == "Looking …"
    assert page.get_attribute(".view img", "src") is None
    page.evaluate("() => window.go()")
    page.locator(".why[aria-pressed=true]").wait_for()
    assert "brighter where more speaks for" in (page.get_attribute(".view img", "alt") or "")
    page.context.close()


def test_photos_come_by_drop_paste_and_camera(browser: "Browser", served: Served) -> None:
    shown = show(browser, served.host, permissions=["camera"])
    content = list(saved(blotches(), "PNG"))
    shown.page.evaluate(DROP, ["dropped.png", content])
    shown.answered(1)
    shown.page.evaluate(DROP, ["pasted.png", content])
    shown.answered(2)
    shown.page.get_by_role("button", name="Take a photo").click()
    shown.page.get_by_role("button", name="Take it").click()
    shown.answered(3)
    names = shown.page.locator(".file").all_inner_texts()
    assert names[:2] == ["dropped.png", "pasted.png"]
    assert names[2].startswith("camera-20")
    shown.page.get_by_role("button", name="Clear").click()
    assert shown.page.locator(".answer").count() == 0
    assert shown.complaints == []


def test_many_are_put_in_order_and_saved_as_the_command_line_does(
    browser: "Browser", served: Served, garments: Path, files: list[Path], tmp_path: Path
) -> None:
    shown = show(browser, served.host)
    page = shown.page
    page.set_input_files("#files", files)
    shown.answered(len(files))
    expected = load(garments).predict(files)
    kinds = [one.is_novel or one.error is not None for one in expected]
    assert True in kinds and False in kinds
    assert "1 not read" in page.inner_text("#status")

    page.select_option("#order", "name")
    assert page.locator(".file").all_inner_texts() == sorted((one.name for one in files), key=str.casefold)
    page.select_option("#order", "most")
    ranked = [one for one in expected if not one.is_novel and one.error is None]
    first = max(ranked, key=lambda one: one.confidence or 0)
    assert page.locator(".file").first.inner_text() == Path(first.path).name

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "saved.csv")
    told = list(csv.reader((tmp_path / "saved.csv").open(newline="")))
    table: list[str] = []
    writer = lines.Table(table.append)
    for one in expected:
        writer.add(one)
    wanted = list(csv.reader(io.StringIO("\n".join(table))))
    assert [row[:1] + row[1:6] for row in told] == [[Path(row[0]).name, *row[1:6]] for row in wanted]
    assert [bool(row[6]) for row in told[1:]] == [bool(row[6]) for row in wanted[1:]]
    broken = "Failed to load resource: the server responded with a status of 415 (Unsupported Media Type)"
    assert shown.complaints == [broken]
    keep(page, "served-many.png")


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark"), (320, "dark")])
def test_it_fits_and_can_be_read(
    browser: "Browser", served: Served, files: list[Path], width: int, scheme: str
) -> None:
    shown = show(browser, served.host, viewport={"width": width, "height": 800}, color_scheme=scheme)
    shown.page.set_input_files("#files", files)
    shown.answered(len(files))
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") <= width
    contrasts = shown.page.evaluate(CONTRASTS, WORDS)
    assert [(name, contrast) for name, contrast in contrasts if contrast < 4.5] == []
    assert len(contrasts) > 40
    keep(shown.page, f"served-{width}-{scheme}.png")


def test_a_keyboard_reaches_all_and_names_are_told(
    browser: "Browser", served: Served, files: list[Path]
) -> None:
    shown = show(browser, served.host)
    page = shown.page
    page.set_input_files("#files", files[:2])
    shown.answered(2)
    page.locator("body").focus()
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
    assert reached == ["skip", "files", "camera", "order", "save", "clear", "why", "why", ""]
    tree = page.locator("body").aria_snapshot()
    for told in (
        'heading "What is on your photos?" [level=1]',
        'button "Choose photos"',
        'button "Take a photo"',
        "status:",
        'combobox "Order"',
        'region "Answers"',
        'img "blotches_00.png"',
    ):
        assert told in tree


def test_another_model_is_asked_about_the_same_photos(
    browser: "Browser", garments: Path, files: list[Path], tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", seed=1)
    with serving([garments, other]) as served:
        shown = show(browser, served.host)
        page = shown.page
        page.set_input_files("#files", files[0])
        shown.answered(1)
        page.get_by_label("Model").select_option("other")
        page.get_by_text("other tells 3 classes apart").wait_for()
        shown.answered(1)
        [expected] = load(other).predict(files[0])
        share = max((expected.probabilities or {}).values())
        assert f"{100 * share:.1f}%" in page.inner_text(".answer")
        assert shown.complaints == []
        page.context.close()


def test_a_token_is_asked_for_once(browser: "Browser", garments: Path, files: list[Path]) -> None:
    with serving([garments], Serving(token="open sesame")) as served:
        shown = show(browser, served.host)
        page = shown.page
        for word in ("wrong", "open sesame"):
            page.get_by_role("textbox", name="Token").fill(word)
            page.get_by_role("button", name="Go on").click()
        page.get_by_text("garments tells 3 classes apart").wait_for()
        page.set_input_files("#files", files[0])
        shown.answered(1)
        page.context.close()
