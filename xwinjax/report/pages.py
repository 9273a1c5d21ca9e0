"""A page is a list of sections; one template makes one file with everything in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from xwinjax.core.extras import needs
from xwinjax.data import jsonl
from xwinjax.report.charts import Chart
from xwinjax.report.tables import NONE, Row, Table, Text, columns, number, seconds
from xwinjax.report.workdir import Stages


@dataclasses.dataclass(frozen=True)
class Words:
  """A paragraph of another kind than a plain one (which is a string)."""

  text: str
  kind: str = "note"  # note, heading or pre
  shape: ClassVar[str] = "words"


@dataclasses.dataclass(frozen=True)
class Says:
  """Sentences, one under the other."""

  sentences: Sequence[str]
  kind: str = "says"  # says, look (what to beware of) or answers (in whole paragraphs)
  shape: ClassVar[str] = "says"


@dataclasses.dataclass(frozen=True)
class Pictures:
  made: Sequence[Chart | None]  # None where there was nothing to draw
  wide: bool = False
  shape: ClassVar[str] = "pictures"

  @property
  def charts(self) -> list[Chart]:
    return [chart for chart in self.made if chart is not None]

  def __bool__(self) -> bool:
    return bool(self.charts)


@dataclasses.dataclass(frozen=True)
class Beside:
  """Parts next to each other, where there is room."""

  parts: Sequence[Part]
  shape: ClassVar[str] = "beside"


@dataclasses.dataclass(frozen=True)
class Details:
  """Parts that open at a click."""

  title: str
  parts: Sequence[Part]
  open: bool = False
  shape: ClassVar[str] = "details"


@dataclasses.dataclass(frozen=True)
class Explorer:
  """Prompts with all answers, to search and filter in the browser."""

  samples: Row
  shape: ClassVar[str] = "explorer"

  @property
  def json(self) -> str:
    """The data as it may stand inside a <script>: no character in it ends one."""
    escaped = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
    return json.dumps(self.samples, ensure_ascii=False).translate(escaped)


@dataclasses.dataclass(frozen=True)
class TokenViewer(Explorer):
  """Answers token by token, coloured by log-prob or gain in the browser, to search and filter.

  `samples` has `names` (of model and reference) and `answers`: rows of the token_gains stage.
  """

  shape: ClassVar[str] = "tokens"


Part = str | Words | Says | Table | Text | Pictures | Beside | Details | Explorer


@dataclasses.dataclass(frozen=True)
class Section:
  id: str
  title: str
  parts: Sequence[Part]


@dataclasses.dataclass(frozen=True)
class Page:
  title: str
  facts: Sequence[str]
  sections: Sequence[Section]


def render(page: Page, *, escape: bool = True) -> str:
  """The page's HTML. Every text is escaped by the template; only the charts are markup,
  and an explorer's data a script that holds no text of markup."""
  with needs("report"):
    import jinja2
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template("page.html.j2").render(page=page)


def write(page: Page, path: str | Path) -> Path:
  return jsonl.write_atomic(path, render(page))


def dump(title: str, value: Any) -> Details:
  """A value as JSON, folded."""
  return Details(title, [Words(json.dumps(value, indent=1, ensure_ascii=False), "pre")])


def spread_out(n: int, of: int) -> list[int]:
  """n places evenly over `of`, the same each time.

  >>> spread_out(3, 9)
  [0, 4, 8]
  """
  n = min(n, of)
  return [round(i * (of - 1) / max(n - 1, 1)) for i in range(n)]


def answer(candidate: Row | None, judges: Sequence[str]) -> Text:
  """A candidate with its scores by these judges, and where it was cut off."""
  if candidate is None:
    return Text()
  scores = candidate.get("scores", {})
  notes = [f"{j} {number(scores[j])}" for j in judges if j in scores]
  if candidate.get("finish") == "length":
    notes.append(f"cut off at {candidate['tokens']} tokens")
  return Text(candidate["text"], note=" · ".join(notes))


def side_by_side(
  answers: Mapping[str, Mapping[str, Row]],
  prompts: Mapping[str, Any],
  judges: Sequence[str],
  n: int,
) -> Table:
  """n prompts spread evenly over all, and beside each what every model answered.

  Args:
    answers: model -> id of a prompt -> the model's candidate.
    prompts: id -> its turns.
  """
  ids = list(prompts)
  shown = [ids[i] for i in spread_out(n, len(ids))]
  rows = [
    (Text(turns=prompts[id]), *(answer(by_id.get(id), judges) for by_id in answers.values()))
    for id in shown
  ]
  return Table(("prompt", *answers), rows, "texts")


def facts(work: Stages) -> list[str]:
  """A run's first line: where and when it was made."""
  origin, last = work.origin(), work.last()
  parts = [
    origin["device"],
    f"seed {origin['seed']}" if origin["seed"] is not None else "",
    f"{seconds(work.seconds())} in all",
    f"xwinjax {last['versions']['xwinjax']}" if last else "",
  ]
  return [fact for fact in parts if fact]


def _state(work: Stages, name: str) -> str:
  if name in work.manifests:
    return "done" + (", from the cache" if work.figures(name).get("cached") else "")
  if not work.begun(name):
    return "not begun"
  steps = work.metrics(name)
  return f"begun, {steps[-1]['step']} steps" if steps else "begun"


def timing(work: Stages) -> Table:
  """Every stage with its state and its time."""
  total, done = work.seconds() or 1.0, work.manifests
  listed = {name for name in work.order() if name in done or work.begun(name)}
  names = [name for name in work.order() if name in listed or name in work.expected]
  of = lambda show: lambda name: show(done[name]) if name in done else NONE
  cells = {
    "stage": str,
    "state": lambda name: _state(work, name),
    "time": of(lambda m: seconds(m["seconds"])),
    "share": of(lambda m: f"{m['seconds'] / total:.0%}"),
    "finished": of(lambda m: m["finished"].replace("T", " ").replace("Z", " UTC")),
  }
  return columns(names, cells)


def files(name: str, record: Row) -> Table:
  """A stage's files with their sha256."""
  paths = record.get("input_paths", {})
  rows = [("in", role, paths.get(role, NONE), sha) for role, sha in record["inputs"].items()]
  rows += [("out", file, f"{name}/{file}", sha) for file, sha in record["outputs"].items()]
  return Table(("", "what", "path", "sha256"), rows, "mono")


def of_run(
  kind: str,
  work: Stages,
  summary: Row,
  first: Sequence[Part],
  sections: Sequence[Section],
  time: Sequence[Part] = (),
) -> Page:
  """A run's page: the summary, the recipe's own sections, times, settings and manifests."""

  def manifest(name: str, m: Row) -> Details:
    versions = ", ".join(f"{package} {version}" for package, version in m["versions"].items())
    origin = Words(f"{m['device']} · {m['finished']} · {versions}")
    return Details(name, [origin, files(name, m)])

  stages = work.manifests.items()
  around = [
    Section("time", "Time and speed" if time else "Time", [timing(work), *time]),
    Section("config", "Config", [dump(name, m["config"]) for name, m in stages]),
    Section("manifests", "Manifests", [manifest(name, m) for name, m in stages]),
  ]
  top = Section("summary", "Summary", [*first, dump("summary.json", summary)])
  title = f"{kind}: {work.folder.resolve().name}"
  return Page(title, facts(work), [top, *sections, *around])
