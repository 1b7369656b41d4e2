"""What does a real browser make of the report? Chromium, without a display.

With ``CERTLOAD_SCREENSHOTS`` set to a folder, what it looked like is kept there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_certload.report.html import write_report
from tests.html.browser import Browser, chromium
from tests.html.samples import a_run, hostile, missed, never_began, without_samples

PROGRAM = chromium()
needs_chromium = pytest.mark.skipif(
    PROGRAM is None, reason="needs Chromium: apt-get install -y chromium"
)
pytestmark = needs_chromium

PAGES = {
    "session": [a_run("calm"), missed("storm", steps=3), without_samples()],
    "many-runs": [a_run(f"run-{number}", seconds=30, steps=0) for number in range(12)],
    "many-steps": [a_run(steps=300, seconds=60)],
    "short": [a_run(seconds=1), never_began()],
    "empty": [],
}

# Of every plot: how many lines can be seen, and whether they keep inside of its box.
PLOTS = """
[...document.querySelectorAll('.plot')].map(plot => {
  const box = plot.querySelector('svg').getBoundingClientRect();
  const paths = [...plot.querySelectorAll('path.line, path.band, path.bars')];
  return {
    title: plot.closest('figure').querySelector('.plot-title').textContent,
    box: [box.width, box.height],
    drawn: paths.filter(path => path.getTotalLength() > 5).length,
    outside: paths.filter(path => {
      const own = path.getBBox();
      return own.x < -0.1 || own.y < -0.1 || own.x + own.width > 1000.1 || own.y + own.height > 100.1;
    }).length,
    invisible: paths.filter(path => {
      const style = getComputedStyle(path);
      return style.stroke === 'none' && style.fill === 'none';
    }).length,
    labels: plot.querySelectorAll('.labels .y').length,
  };
})
"""

# The contrast of each piece of text with what lies behind it, by the formula of WCAG 2.
CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const channels = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = channels(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Map();
  for (const element of document.body.querySelectorAll('*')) {
    if (element.closest('svg, script, .unseen, .skip') || !element.getClientRects().length) continue;
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(channels(style.color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (contrast < (large ? 3 : 4.5)) found.set(`${element.tagName}.${element.className}`, contrast);
  }
  return [...found];
})()
"""

# What sticks out to the side, though the page as a whole may hide it; what scrolls by itself may.
TOO_WIDE = """
[...document.body.querySelectorAll('*')].filter(element => {
  if (element.closest('.scroll, svg, .unseen, .skip, .labels, .cross')) return false;
  const box = element.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(element => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM) as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for name, records in PAGES.items():
        write_report(records, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in PAGES}


def keep(browser: Browser, name: str) -> None:
    folder = os.environ.get("CERTLOAD_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.shoot(Path(folder) / f"{name}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_drawn(
    browser: Browser, reports: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    browser.open(reports[name], width=width, scheme=scheme)
    keep(browser, f"{name}-{width}-{scheme}")
    assert browser.complaints == []
    assert browser.requests == [reports[name].as_uri()], "nothing but the file is asked for"
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.ask(TOO_WIDE) == []
    assert browser.ask(CONTRAST) == []


def test_plots_are_drawn_inside_their_boxes(browser: Browser, reports: dict[str, Path]) -> None:
    for name in PAGES:
        browser.open(reports[name])
        browser.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
        plots: list[dict[str, Any]] = browser.ask(PLOTS)
        assert bool(plots) is (name != "empty")
        for plot in plots:
            assert plot["box"][0] > 300
            assert plot["box"][1] >= 96
            assert plot["outside"] == plot["invisible"] == 0, plot
            assert plot["labels"] >= 2
            assert plot["drawn"] >= 1, plot


def test_it_is_complete_without_its_script(browser: Browser, reports: dict[str, Path]) -> None:
    browser.open(reports["session"])
    words = browser.ask("document.body.innerText").replace("Dark", "", 1).split()
    browser.open(reports["session"], scripts=False)
    # What asks is no script of the page.
    assert browser.ask("document.body.innerText").split() == words
    assert browser.ask("getComputedStyle(document.getElementById('theme')).display") == "none"
    browser.open(reports["session"])


def test_button_changes_the_theme_and_back(browser: Browser, reports: dict[str, Path]) -> None:
    def look() -> tuple[str, str]:
        return (
            browser.ask("getComputedStyle(document.body).backgroundColor"),
            browser.ask("document.getElementById('theme').textContent"),
        )

    browser.open(reports["session"], scheme="dark")
    dark = look()
    browser.ask("document.getElementById('theme').click()")
    light = look()
    browser.ask("document.getElementById('theme').click()")
    assert look() == dark
    assert (dark[1], light[1]) == ("Light", "Dark")
    browser.open(reports["session"], scheme="light")
    assert look() == light != dark


READ_OUT = """
[...document.querySelectorAll('#run-2 .plot')].map(plot => ({
  at: plot.querySelector('.cross').hidden ? null : plot.querySelector('.cross').dataset.at,
  values: [...plot.closest('figure').querySelectorAll('.key .value')].map(value => value.textContent),
}))
"""


def test_pointing_reads_out_all_plots_of_the_run(
    browser: Browser, reports: dict[str, Path]
) -> None:
    browser.open(reports["session"], height=20_000)
    box = browser.ask(
        "(() => { const b = document.querySelector('#run-2 .plot').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    # The 100th of 300 seconds: the axis begins with 5 s of warm-up.
    browser.move_to(box[0] + box[2] * (5 + 100.5) / 307, box[1] + box[3] / 2)
    found = browser.ask(READ_OUT)
    assert found[0]["at"] == "1:40.5"
    # As samples.py makes them: 2.3919 ms, and twice, thrice and eight times that.
    assert found[0]["values"] == ["2.39 ms", "4.78 ms", "7.18 ms", "19.1 ms"]
    assert found[1]["values"] == ["167/s", "167/s"]
    assert [plot["at"] is None for plot in found].count(True) == 1, "the percentile curve alone"
    browser.move_to(2, 2)
    assert all(plot["at"] is None for plot in browser.ask(READ_OUT))


def test_arrow_keys_read_out(browser: Browser, reports: dict[str, Path]) -> None:
    browser.open(reports["session"])
    browser.ask("document.querySelector('#run-2 .plot').focus()")
    for _ in range(3):
        browser.press("ArrowRight")
    browser.press("ArrowLeft")
    assert browser.ask(READ_OUT)[0]["at"] == "0:01.5"
    browser.press("Escape")
    assert browser.ask(READ_OUT)[0]["at"] is None


def test_script_shows_what_the_table_says(browser: Browser, reports: dict[str, Path]) -> None:
    # At each place of every plot what the script shows is what the table beside it says.
    browser.open(reports["session"])
    differing = browser.ask(
        """
        [...document.querySelectorAll('figure')].flatMap(figure => {
          const plot = figure.querySelector('.plot');
          const data = JSON.parse(plot.dataset.plot);
          const rows = [...figure.querySelectorAll('tbody tr')];
          const every = Math.ceil(data.places.length / 50);
          plot.focus();
          return rows.flatMap((row, number) => {
            const place = data.places[number * every];
            const box = plot.getBoundingClientRect();
            plot.dispatchEvent(new PointerEvent('pointermove',
              { clientX: box.left + place * box.width, bubbles: true }));
            const shown = [...figure.querySelectorAll('.key .value')].map(v => v.textContent);
            const told = [...row.querySelectorAll('td')].map(cell => cell.textContent);
            return shown.join() === told.join() ? [] : [[shown.join(), told.join()]];
          });
        })
        """
    )
    assert differing[:5] == []


def test_what_came_from_the_run_is_inert(browser: Browser, tmp_path: Path) -> None:
    poison = (
        "</script></style></textarea><img src=x onerror=\"document.title='hit'\">"
        "<svg onload=\"document.title='hit'\"></svg><script>document.title='hit'</script>"
    )
    write_report([hostile(missed(), poison)], tmp_path / "report.html")
    browser.open(tmp_path / "report.html", width=375)
    assert browser.ask("document.title").startswith("The load failed")
    assert browser.ask("document.querySelectorAll('img').length") == 0
    assert browser.ask("document.querySelectorAll('script').length") == 1
    assert browser.complaints == []
    assert len(browser.requests) == 1
    assert browser.ask(TOO_WIDE) == []
    assert browser.ask("document.documentElement.scrollWidth") == 375


def test_it_can_be_printed(browser: Browser, reports: dict[str, Path], tmp_path: Path) -> None:
    browser.open(reports["session"], scheme="dark")
    browser.print_to(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    folder = os.environ.get("CERTLOAD_SCREENSHOTS")
    if folder:
        (Path(folder) / "session.pdf").write_bytes((tmp_path / "report.pdf").read_bytes())
