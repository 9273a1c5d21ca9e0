"""A page in a real headless Chromium; tests that import it are skipped without Playwright."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@contextlib.contextmanager
def opened(path: Path) -> Iterator:
  """The page of a file, narrow as a phone's; it must load nothing else and raise no error."""
  if CHROMIUM is None:
    pytest.skip("needs a Chromium")
  with playwright.sync_playwright() as p:
    browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 390, "height": 800})
    asked, errors = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(path.as_uri())
    yield page
    assert errors == []
    assert [url for url in asked if not url.startswith("file:")] == []
    browser.close()
