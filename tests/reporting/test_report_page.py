"""The report as a browser shows it: drawn, usable by mouse and keyboard, on a phone and in the dark."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import PATIENCE_S, Finished, until
from test_report import CLASSES, HOSTILE, HOSTILE_PATH, made_gallery, made_run

from headstart.base import records
from headstart.reporting import report
from headstart.reporting.report.photos import CELL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PHONE_PX = 375

DRAWN = """() => [...document.querySelectorAll("[data-chart]")].filter((one) => one.getClientRects().length)
    .map((one) => {
        const name = one.dataset.chart, canvas = one.querySelector("canvas");
        if (!canvas) return [name, one.querySelectorAll(".mark-symbol path, .mark-rule line").length];
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
        return [name, pixels.filter((value, index) => index % 4 === 3 && value > 0).length];
    })"""
"""By chart that can be seen, how many marks it has, or pixels."""

CONTRASTS = """(selector) => [...document.querySelectorAll(selector)].map((one) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const luminance = (colour, under) => {
        for (const each of [under, colour]) { canvas.fillStyle = each; canvas.fillRect(0, 0, 1, 1); }
        const parts = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => linear(part / 255));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    let behind = one;
    while (/, 0\\)$|\\/ 0\\)$/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const under = getComputedStyle(behind).backgroundColor;
    const both = [luminance(getComputedStyle(one).color, under), luminance(under, under)];
    return [`${one.tagName}.${one.className}`, (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
})"""
"""By element, the contrast of its colour to the nearest background: https://www.w3.org/TR/WCAG22/#contrast-ratio."""

WORDS = (
    ".look, .quiet, .note, .badge, .decision, .card-text .is, .folder, .term, summary, .empty, caption, "
    ".remark, .matrix button, .rank, thead th, .sub, .advice, nav a, .tabs button, .technique, .key .nowrap"
)


@dataclass
class Shown:
    """A page in a browser, what it asked for, and what it complained about."""

    page: "Page"
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """One Chromium for all tests."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium to look at the report with (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def keep(page: "Page", name: str) -> None:
    """Keep what a page looks like, for people to look at, where they have said so."""
    if folder := os.environ.get("HEADSTART_SCREENSHOTS"):
        file = Path(folder) / name
        page.pdf(path=file, format="A4") if file.suffix == ".pdf" else page.screenshot(
            path=file, full_page=True
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with hostile names and a gallery."""
    folder = tmp_path_factory.mktemp("made")
    results = made_run(folder)
    paths = [HOSTILE_PATH, *(f"test/{number:03}.jpg" for number in range(1, 90))]
    records.write_json(folder / "gallery.json", made_gallery(results, paths))
    return report.draw(folder)


def show(context: "BrowserContext", file: Path) -> Shown:
    """Open a page from disk and wait until its charts are drawn."""
    shown = Shown(context.new_page())
    shown.page.set_default_timeout(1000 * PATIENCE_S)
    shown.page.on("request", lambda request: shown.asked.append(request.url))
    shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
    shown.page.on("console", lambda message: shown.complaints.append(message.text))
    shown.page.on("dialog", lambda dialog: shown.complaints.append(f"a dialog: {dialog.message}"))
    shown.page.goto(file.as_uri())
    shown.page.wait_for_selector("html[data-ready]")
    return shown


@pytest.fixture(scope="module")
def desk(browser: "Browser", made: Path) -> Iterator[Shown]:
    """The made report on a wide screen; tests leave it as it was."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield show(context, made)
    context.close()


@pytest.fixture(scope="module")
def night(browser: "Browser", made: Path) -> Iterator[Shown]:
    """The same on a system with dark colours."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    yield show(context, made)
    context.close()


def told(shown: Shown, name: str) -> Any:
    """What the page tells its script."""
    return json.loads(shown.page.evaluate("(name) => document.getElementById(name).textContent", name))


def test_a_real_run_is_drawn_without_a_complaint_or_a_request(
    browser: "Browser", finished: Finished, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report.render(finished.folder), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    shown = show(context, file)
    drawn = dict(shown.page.evaluate(DRAWN))
    assert {"latency", "size", "differences", "learning", "recalls-0", "reliability-0", "risk-0"} <= set(
        drawn
    )
    assert all(drawn.values()), drawn
    keep(shown.page, "real.png")
    keep(shown.page, "real.pdf")
    context.close()
    assert shown.complaints == []
    assert [one for one in shown.asked if not one.startswith("data:")] == [file.as_uri()]


def test_every_chart_of_every_candidate_is_drawn(desk: Shown) -> None:
    from playwright.sync_api import expect

    drawn = dict(desk.page.evaluate(DRAWN))
    for number, tab in enumerate(desk.page.get_by_role("tab").all()):
        tab.click()
        not_drawn = desk.page.locator(".panel:visible [data-chart]:not([data-drawn])")
        expect(not_drawn).to_have_count(0, timeout=1000 * PATIENCE_S)
        drawn |= dict(desk.page.evaluate(DRAWN))
        assert desk.page.locator(".panel:visible").count() == 1
        assert desk.page.locator(f"[data-matrix='{number}'] td").count() == len(CLASSES) ** 2
    desk.page.get_by_role("tab").first.click()
    assert set(drawn) == set(told(desk, "charts"))
    assert all(drawn.values()), drawn
    keep(desk.page, "light.png")
    assert desk.complaints == []
    assert not [one for one in desk.asked if not one.startswith(("data:", "file:"))]


def test_the_matrix_shown_is_that_of_results_json(desk: Shown, made: Path) -> None:
    written = json.loads((made.parent / "results.json").read_text())["candidates"][0]["test"]["confusion"]
    rows = desk.page.locator("[data-matrix='0'] tbody tr").all()
    texts = [[cell.text_content() or "0" for cell in row.locator("td").all()] for row in rows]
    assert [[int(text) for text in row] for row in texts] == written


def test_a_cell_opens_its_photos_by_mouse_and_by_keyboard(desk: Shown) -> None:
    page, dialog = desk.page, desk.page.locator("dialog")
    found, mistaken = told(desk, "facts")["cells"][0][:2]
    assert (found["i"], found["j"], mistaken["i"]) == (0, 0, 0)
    title = f"{found['n']} photos of {HOSTILE} found"
    button = page.locator("[data-matrix='0']").get_by_role("button", name=title, exact=True)
    button.click()
    assert dialog.get_by_role("heading").text_content() == title
    assert dialog.locator("li").count() == dialog.locator("li img").count() == min(found["n"], CELL) > 10
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("(one) => one === document.activeElement")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert f"of {HOSTILE} taken for {CLASSES[mistaken['j']]}" in (
        dialog.get_by_role("heading").text_content() or ""
    )
    assert dialog.locator("li").count() == mistaken["n"]
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_tabs_follow_the_arrow_keys(desk: Shown) -> None:
    tabs = desk.page.get_by_role("tab")
    tabs.first.focus()
    desk.page.keyboard.press("ArrowLeft")
    assert tabs.last.get_attribute("aria-selected") == "true"
    assert tabs.last.evaluate("(one) => one === document.activeElement")
    assert [one.get_attribute("tabindex") for one in tabs.all()] == ["-1", "-1", "0"]
    desk.page.keyboard.press("Home")
    assert tabs.first.get_attribute("aria-selected") == "true"


def test_the_leaderboard_sorts_by_a_column_and_says_so(desk: Shown, made: Path) -> None:
    written = json.loads((made.parent / "results.json").read_text())["candidates"]
    head = desk.page.locator(".leaderboard th", has_text="ms a photo")
    latencies = desk.page.locator(".leaderboard tbody tr td:nth-child(7) data")

    def shown() -> list[float]:
        return [float(one.get_attribute("value") or "") for one in latencies.all()]

    assert shown() == [one["latency_ms"] for one in written]
    head.get_by_role("button").click()
    assert (shown(), head.get_attribute("aria-sort")) == (sorted(shown()), "ascending")
    head.get_by_role("button").press("Enter")
    assert (shown(), head.get_attribute("aria-sort")) == (sorted(shown(), reverse=True), "descending")
    first = desk.page.locator(".leaderboard th", has_text="#")
    first.get_by_role("button").click()
    assert (first.get_attribute("aria-sort"), head.get_attribute("aria-sort")) == ("ascending", "none")
    assert shown() == [one["latency_ms"] for one in written]


def test_the_map_shows_the_photo_of_a_spot(desk: Shown) -> None:
    page, beside = desk.page, desk.page.locator("#map-photo")
    page.locator("[data-chart=map]").focus()
    seen = set()
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
        seen.add(beside.locator(".path").text_content())
    assert len(seen) == 3
    assert beside.locator("img").count() == 1
    canvas = page.locator("[data-chart=map] canvas")
    width = canvas.evaluate("(one) => one.getBoundingClientRect().width")
    for step in range(1, 20):
        canvas.hover(position={"x": width * step / 20, "y": 120})
        seen.add(beside.locator(".path").text_content())
    assert len(seen) > 5
    before = canvas.screenshot()
    page.keyboard.press("+")
    until(lambda: canvas.screenshot() != before)
    page.keyboard.press("0")
    page.locator("#map-class").select_option(label="ü")
    page.locator("#map-class").select_option(label="all")
    assert desk.complaints == []


def test_a_mark_says_what_it_is_when_pointed_at(desk: Shown, made: Path) -> None:
    latency = json.loads((made.parent / "results.json").read_text())["candidates"][1]["latency_ms"]
    desk.page.locator("[data-chart=latency] text[font-weight='650']", has_text="2").hover()
    tip = desk.page.locator("#tip")
    assert "candidate backbone_0 · features" in (tip.text_content() or "")
    assert f"milliseconds a photo {latency:.1f}" in (tip.text_content() or "")
    desk.page.mouse.move(0, 0)
    assert not tip.is_visible()


def test_hostile_names_stay_words(desk: Shown) -> None:
    assert desk.page.locator("[data-matrix='0'] tbody th").first.text_content() == HOSTILE
    assert (
        desk.page.locator(f"#photos .path[title={json.dumps(HOSTILE_PATH, ensure_ascii=False)}]").count() >= 1
    )
    assert desk.page.locator("script").count() == 5
    assert desk.page.locator("img[src=x]").count() == 0


def brightness(page: "Page") -> list[int]:
    """Of the page, and of the words of a chart, 0 to 255."""
    found: list[int] = page.evaluate(
        """() => [
            getComputedStyle(document.body).backgroundColor,
            getComputedStyle(document.querySelector("[data-chart=latency] text")).fill,
        ].map((colour) => Number(colour.match(/\\d+/)[0]))"""
    )
    return found


def test_dark_follows_the_system_and_the_button(night: Shown) -> None:
    page = night.page
    keep(page, "dark.png")
    paper, ink = brightness(page)
    assert paper < 60 < 130 < ink
    page.get_by_role("button", name="Change to light colours").click()
    paper, ink = brightness(page)
    assert ink < 130 < 200 < paper
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert brightness(page) == [paper, ink]
    page.get_by_role("button", name="Change to dark colours").click()
    assert brightness(page)[0] < 60
    assert night.complaints == []


@pytest.mark.parametrize("scheme", ["desk", "night"])
def test_words_stand_out_from_what_is_behind_them(scheme: str, request: pytest.FixtureRequest) -> None:
    """At least 4.5 to 1: level AA of https://www.w3.org/TR/WCAG22/#contrast-minimum."""
    shown = request.getfixturevalue(scheme)
    ratios = shown.page.evaluate(CONTRASTS, WORDS)
    assert len(ratios) > 100
    assert [one for one in ratios if one[1] < 4.5] == []


def test_on_a_phone_nothing_scrolls_sideways(browser: "Browser", made: Path) -> None:
    context = browser.new_context(
        viewport={"width": PHONE_PX, "height": 800}, has_touch=True, is_mobile=True, color_scheme="light"
    )
    shown = show(context, made)
    keep(shown.page, "phone.png")
    assert shown.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE_PX
    shown.page.locator("[data-matrix='0'] button").first.tap()
    assert shown.page.locator("dialog li").count() > 0
    assert shown.page.evaluate("document.querySelector('dialog').getBoundingClientRect().right") <= PHONE_PX
    assert shown.complaints == []
    context.close()


def test_it_can_be_printed(browser: "Browser", made: Path) -> None:
    context = browser.new_context(viewport={"width": 700, "height": 1000}, color_scheme="dark")
    page = show(context, made).page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".top").is_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 700
    keep(page, "print.png")
    context.close()
