"""Both pages in a real browser: nothing is fetched, nothing runs, a phone shows the whole width, paper is whole."""

import html
import json
import re
import shutil
import subprocess
import zlib
from itertools import pairwise

import pytest

from daemon.report.overview import overview_page
from daemon.report.page import version_page
from daemon.report.read import read_overview, read_version
from store.reader import open_reader
from tests.report.furnished import Furnished

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
PHONE = 390

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here; apt install chromium")]

# The page stands in a frame of its own, so that its width does not depend on the least width of a window.
MEASURE = """<!doctype html><pre id="out"></pre>
<iframe id="f" style="width:%dpx;height:900px;border:0" srcdoc="%s"></iframe>
<script>
f.onload = () => {
  const d = f.contentDocument, w = f.contentWindow;
  const small = [...d.querySelectorAll("figure svg text")].map(t => t.getBoundingClientRect().height);
  const closed = d.querySelectorAll("details:not([open])").length;
  const cells = [...d.querySelectorAll("details td")];
  const shown = cells.filter(t => t.checkVisibility({contentVisibilityAuto: true})).length;
  out.textContent = "MEASURED" + JSON.stringify({
    width: d.documentElement.scrollWidth, fetched: w.performance.getEntriesByType("resource").length,
    height: d.documentElement.scrollHeight, scripts: d.scripts.length, least_text: Math.min(...small, 99),
    boxes: [...d.querySelectorAll(".scroll")].length, closed, shown}) + "END";
};
</script>"""


def chromium(folder, *arguments):
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments]
    command.insert(1, f"--user-data-dir={folder / 'profile'}")
    return subprocess.run(command, capture_output=True, timeout=240, check=True).stdout.decode()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    with Furnished(tmp_path_factory.mktemp("home")) as home:
        home.trained()
        with open_reader(home.home.database) as reader:
            return {
                "version": version_page(read_version(reader, "listening@3")),
                "overview": overview_page(read_overview(reader)),
            }


def measured(folder, page, width):
    path = folder / "measure.html"
    path.write_text(MEASURE % (width, html.escape(page)))
    told = chromium(folder, "--virtual-time-budget=8000", "--dump-dom", path.as_uri())
    return json.loads(html.unescape(re.search("MEASURED(.*?)END", told)[1]))


def pixels(path):
    """Rows of a PNG without interlacing, unfiltered no further than needed to tell whether they differ."""
    data, at, body = path.read_bytes(), 8, b""
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body += data[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return zlib.decompress(body)


@pytest.mark.parametrize("name", ["version", "overview"])
def test_a_phone_shows_the_whole_width(pages, tmp_path, name):
    found = measured(tmp_path, pages[name], PHONE)
    assert found["width"] <= PHONE
    assert (found["fetched"], found["scripts"]) == (0, 0)
    assert found["boxes"] > 2
    assert found["height"] > 900


def test_text_in_drawings_can_be_read_on_a_phone(pages, tmp_path):
    assert measured(tmp_path, pages["version"], PHONE)["least_text"] >= 10


def test_a_page_that_is_too_wide_would_be_found_out(pages, tmp_path):
    wide = pages["version"].replace("<header>", f'<div style="width:{PHONE + 200}px">wide</div><header>')
    assert measured(tmp_path, wide, PHONE)["width"] > PHONE


def test_there_is_something_to_see(pages, tmp_path):
    path, shot = tmp_path / "page.html", tmp_path / "shot.png"
    path.write_text(pages["version"])
    chromium(tmp_path, "--window-size=1280,2000", f"--screenshot={shot}", path.as_uri())
    rows = pixels(shot)
    width = len(rows) // 2000
    different = sum(a != b for a, b in pairwise(rows[i : i + width] for i in range(0, len(rows), width)))
    assert different > 500


def test_paper_shows_what_is_folded(pages, tmp_path):
    """In print, what the page folds is laid out: the same page on paper with and without the rule for folded parts."""
    printed = re.search(r"@media print \{(.*)\n\}", pages["version"], flags=re.DOTALL)[1]
    assert "details::details-content" in printed
    as_paper = pages["version"].replace("@media print", "@media all")
    folded = as_paper.replace("details::details-content", "details::nothing")
    whole, cut = (measured(tmp_path, page, 1000) for page in (as_paper, folded))
    assert whole["closed"] == cut["closed"] > 3
    assert (whole["shown"] > 50, cut["shown"]) == (True, 0)
    assert whole["height"] > cut["height"] + 1000
