"""The documents: each page is in the nav, each link leads somewhere; tools/docs does the rest."""

import itertools
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def pages() -> set[str]:
  """The pages of the site; a notebook's is made when the site is."""
  written = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}
  notebooks = {p.relative_to(DOCS).with_suffix(".md").as_posix() for p in DOCS.rglob("*.ipynb")}
  assert not written & notebooks
  return written | notebooks


def nav(config: str) -> list[str]:
  return re.findall(r"^ +- .+: (\S+\.md)$", config.partition("\nnav:\n")[2], re.MULTILINE)


def dead_links(folder: Path, text: str, made: set[Path]) -> list[str]:
  """Links to files that are neither there nor made with the site."""
  linked = re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
  inside = [link for link in linked if not re.match(r"https?://|mailto:", link)]
  place = lambda link: Path(os.path.normpath(folder / link))
  return [link for link in inside if not place(link).exists() and place(link) not in made]


def test_every_page_is_in_the_nav_once():
  named = nav((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
  assert sorted(named) == sorted(pages())


def test_every_link_leads_to_a_file():
  made = {DOCS / page for page in pages()}
  files = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb"), *ROOT.glob("*.md")]
  dead = {str(p): dead_links(p.parent, p.read_text(encoding="utf-8"), made) for p in files}
  assert {page: links for page, links in dead.items() if links} == {}


def test_twin_a_dead_link_is_found():
  text = "[a](losses.md#dpo) [b](lost.md) [c](https://example.org) [d](../LICENSE)"
  assert dead_links(DOCS, text, set()) == ["lost.md"]
  assert nav("site: x.md\nnav:\n  - A: a.md\n  - B:\n      - C: d/c.md\n") == ["a.md", "d/c.md"]


def test_every_experiment_that_pages_name_is_there():
  text = "".join(p.read_text(encoding="utf-8") for p in [*DOCS.rglob("*.md"), ROOT / "README.md"])
  named = set(re.findall(r"-m experiments\.([a-z_]+)", text))
  assert named - {p.stem for p in (ROOT / "experiments").glob("*.py")} == set()
  assert "sweep" in named


def test_the_notebook_runs_and_its_curve_rises(tmp_path, monkeypatch):
  pytest.importorskip("matplotlib").use("agg")
  monkeypatch.chdir(tmp_path)
  cells = json.loads((DOCS / "best_of_n.ipynb").read_text(encoding="utf-8"))["cells"]
  code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
  names = {}
  exec(compile(code.replace("16, 24", "4, 8"), "best_of_n.ipynb", "exec"), names)
  best, worst = names["best"], names["worst"]
  assert len(best) == 4
  assert all(a < b for a, b in itertools.pairwise(best))
  assert best[0] == pytest.approx(names["rewards_PS"].mean())
  assert best[0] == pytest.approx(worst[0])
  assert worst[-1] == pytest.approx(names["rewards_PS"].min(1).mean())
  assert all(not c["outputs"] for c in cells if c["cell_type"] == "code")  # none is kept
