"""A small study: three prompts, three systems, and texts that would run if anything let them."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_study import BROWSERS, EVIL, PROMPTS, write_jsonl  # pyright: ignore[reportMissingImports]

from xwinjax.annotate import study
from xwinjax.annotate.store import Store

collect_ignore = (
  [] if find_spec("playwright") and any(map(shutil.which, BROWSERS)) else ["test_in_browser.py"]
)


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Path]:
  folder = tmp_path_factory.mktemp("study")
  answers = {name: [f"{name} says red", f"{name} says {EVIL}", ""] for name in ("ours", "theirs")}
  made = {
    "prompts": write_jsonl(
      folder / "prompts.jsonl", [{"id": f"p{i}", "prompt": p} for i, p in enumerate(PROMPTS)]
    )
  }
  for name, texts in answers.items():
    made[name] = write_jsonl(
      folder / f"{name}.jsonl",
      [
        {"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": text}]}
        for p, text in zip(PROMPTS, texts, strict=True)
      ],
    )
  made["candidates"] = write_jsonl(
    folder / "candidates.jsonl",
    [
      {
        "id": f"c{i}",
        "prompt": [{"role": "user", "content": p}],
        "candidates": [{"text": f"first {i}", "scores": {"rm": i / 4}}, {"text": "second"}],
      }
      for i, p in reversed(list(enumerate(PROMPTS)))
    ],
  )
  made["dialogues"] = write_jsonl(
    folder / "dialogues.jsonl",
    [
      {
        "messages": [
          {"role": "user", "content": PROMPTS[0]},
          {"role": "assistant", "content": "Red."},
          {"role": "user", "content": "Another?"},
          {"role": "assistant", "content": "Blue."},
        ]
      }
    ],
  )
  return made


@pytest.fixture
def make_store(files, tmp_path):
  """A new study of these answer files."""

  def make(*names: str, path: Path = tmp_path / "votes.db", ask=("verdict",), seed=0, **options):
    answers = [str(files[name]) for name in names or ("ours", "theirs")]
    items = study.make_items(
      files["prompts"], answers, ask=ask, seed=seed, **{"checks": 0.0, **options}
    )
    return Store.create(path, items, ask, seed)

  return make


@pytest.fixture
def store(make_store) -> Store:
  return make_store()
