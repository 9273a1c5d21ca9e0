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
    (("--prompt", " "), "--prompt: is empty"),
    (("--template", "none", "--prompt", "word " * 300), "the model has room for 127"),
    (("--prompt", "word " * 300), "beside 256 new ones the model has room for 64"),
    (("--template", "vikuna"), "template 'vikuna' is not one of"),
  ],
)
def test_wrong_prompts_get_a_line(run, tiny_folder, flags, line):
  with pytest.raises(UserError, match=line):
    run("generate", tiny_folder, "--prompt", "Hi", *flags)


@pytest.mark.parametrize(
  ("flag", "value", "line"),
  [
    ("--top_p", "0", "is 0.0; expected 1e-06 to 1"),
    ("--top_p", "nan", "is nan; expected 1e-06 to 1"),
    ("--top_k", "-1", "is -1; expected 0 to 16777216"),
    ("--top_k", "1.5", "is '1.5'; expected 0 to 16777216"),
    ("--min_p", "1", "is 1.0; expected >= 0 and < 1"),
    ("--samples", "0", "is 0; expected 1 to 65536"),
    ("--max_new", "-1", "is -1; expected 1 to 1048576"),
    ("--seed", "-1", "is -1; expected 0 to 4294967295"),
    ("--seed", str(2**40), "is 1099511627776; expected 0 to 4294967295"),
    ("--temperature", "inf", "is inf; expected 0, or 0.001 to 100"),
    ("--temperature", "1e-8", "is 1e-08; expected 0, or 0.001 to 100; 0 takes the most probable"),
    ("--repetition_penalty", "0", "is 0.0; expected 1e-06 to 1000000"),
    ("--stop", "", "is ''; expected a text that is not empty"),
  ],
)
def test_a_flag_beyond_its_bounds_gets_a_line(tool, capsys, flag, value, line):
  with pytest.raises(SystemExit) as e:
    tool("generate").arguments(["MODEL", "--prompt", "Hi", flag, value])
  said = capsys.readouterr().err
  assert e.value.code == 2
  assert said.startswith(f"error: argument {flag}: {line}")
  assert said.count("\n") == 1


STOPS = (
  (("named Lily",), ", there was a little girl "),
  (("loved", "girl"), ", there was a little "),
  (("irl named Lily. She loved to pl",), ", there was a little g"),
)


@pytest.mark.parametrize(("stops", "text"), STOPS)
def test_stop_strings_cut_where_they_begin(run, shared, stops, text):
  flags = [word for stop in stops for word in ("--stop", stop)]
  flags += ["--template", "none", "--greedy", "--max_new", "60", "--json"]
  model, prompt = shared / "stories260k-hf", "Once upon a time"
  [row] = rows_of(run("generate", model, "--prompt", prompt, *flags))
  assert row["candidates"][0]["text"] == text


def test_a_stop_string_may_begin_with_a_blank(run, shared):
  flags = ("--template", "none", "--greedy", "--max_new", "60", "--json", "--stop", " She")
  [row] = rows_of(
    run("generate", shared / "stories260k-hf", "--prompt", "Once upon a time", *flags)
  )
  assert row["candidates"][0]["text"].endswith("Lily.")


PROMPTS = ("Once", "Once upon a time", "Lily and Tom went", "The dog", "Sara likes", "It was dark")


def test_the_least_temperature_draws_no_token_without_probability(run, shared):
  flags = ["--template", "none", "--max_new", "48", "--json"]
  flags += [word for prompt in PROMPTS for word in ("--prompt", prompt)]
  rows = lambda *more: rows_of(run("generate", shared / "stories260k-hf", *flags, *more))
  greedy, least = rows("--temperature", "0"), rows("--temperature", "0.001")
  logps = lambda found: [row["candidates"][0]["logp"] for row in found]
  assert abs(logps(greedy)[0] + 17.5229) < 0.01
  assert all(a > b - 0.5 for a, b in zip(logps(least), logps(greedy), strict=True))
