import io
import json

import pytest

from xwinjax.core.errors import UserError


def rows_of(text):
  return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_greedy_text_equals_the_stored_one(run, shared):
  folder = shared / "stories3m-hf"
  cases = json.loads((folder / "golden.json").read_text())["cases"]
  prompts = [word for case in cases for word in ("--prompt", case["prompt"])]
  flags = ("--template", "none", "--greedy", "--max_new", "200", "--json")
  found = rows_of(run("generate", folder, *flags, *prompts))
  texts = [row["prompt"] + row["candidates"][0]["text"] for row in found]
  assert texts == [case["text"] for case in cases]
  penalised = rows_of(run("generate", folder, *flags, *prompts, "--repetition_penalty", "1.01"))
  changed = [row["prompt"] + row["candidates"][0]["text"] for row in penalised]
  assert changed != texts  # the comparison sees a small change


def test_same_seed_same_answers(run, tiny_folder):
  flags = (
    "generate",
    tiny_folder,
    "--json",
    "--prompt",
    "What is it?",
    "--samples",
    3,
    "--max_new",
    8,
  )
  [row] = rows_of(run(*flags))
  assert row["prompt"] == [{"role": "user", "content": "What is it?"}]
  assert len(row["candidates"]) == 3
  assert all(c["tokens"] == len(c["ids"]) <= 8 for c in row["candidates"])
  assert rows_of(run(*flags)) == [row]
  assert rows_of(run(*flags, "--seed", 1)) != [row]


def test_prompts_from_stdin(run, tiny_folder, monkeypatch):
  monkeypatch.setattr("sys.stdin", io.StringIO("One\n\nTwo\n"))
  flags = ("--json", "--prompt", "-", "--max_new", 4, "--greedy")
  found = rows_of(run("generate", tiny_folder, *flags))
  assert [row["prompt"][0]["content"] for row in found] == ["One", "Two"]


def test_raw_text_goes_on_from_its_prompt(run, tiny_folder):
  said = run("generate", tiny_folder, "--prompt", "Once", "--template", "none", "--max_new", 4)
  assert said.startswith("Once")


@pytest.mark.parametrize(
  ("flags", "line"),
  [
    (("--top_p", "0"), "--top_p is 0.0; expected in"),
    (("--samples", "0"), "--samples and --max_new are at least 1"),
    (("--prompt", " "), "--prompt: is empty"),
    (("--template", "none", "--prompt", "word " * 300), "the model has room for 127"),
    (("--prompt", "word " * 300), "beside 256 new ones the model has room for 64"),
    (("--template", "vikuna"), "template 'vikuna' is not one of"),
  ],
)
def test_wrong_flags_get_a_line(run, tiny_folder, flags, line):
  with pytest.raises(UserError, match=line):
    run("generate", tiny_folder, "--prompt", "Hi", *flags)
