import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl

ASK, SAY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is"}


def test_supervised_tokens_stand_in_brackets(run, tiny_folder, tmp_path):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"id": "one", "messages": [ASK, SAY, ASK, SAY]}])
  head, line = run("tokens", "--tokenizer", tiny_folder, file).splitlines()
  assert head.startswith("one: ")
  turn = " USER: Hi ASSISTANT:[ It is</s>]"
  assert line.replace("|", "") == f"  <s>{turn}{turn}"


def test_json_holds_tokens_mask_and_pieces(run, tiny_folder, tmp_path):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"messages": [ASK, SAY]}])
  row = json.loads(run("tokens", "--json", "--tokenizer", tiny_folder, file))
  assert len(row["tokens"]) == len(row["mask"]) == len(row["pieces"])
  supervised = [piece for piece, m in zip(row["pieces"], row["mask"], strict=True) if m]
  assert supervised[-2:] == ["▁is", "</s>"]
  assert sum(row["mask"]) < len(row["mask"])


def test_pair_shares_its_prompt(run, tiny_folder, tmp_path):
  pair = {"prompt": [ASK], "chosen": "Yes", "rejected": "No"}
  file = jsonl.write_rows(tmp_path / "a.jsonl", [pair])
  _, prompt, chosen, rejected = run("tokens", "--tokenizer", tiny_folder, file).splitlines()
  assert "[" not in prompt
  assert chosen.replace("|", "") == "  chosen: :[ Yes</s>]"
  assert rejected.replace("|", "") == "  rejected: :[ No</s>]"


def test_prompt_has_nothing_supervised(run, tiny_folder, tmp_path):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"messages": [ASK]}])
  head, line = run("tokens", "--tokenizer", tiny_folder, file).splitlines()
  assert head.endswith(" 0 supervised")
  assert line.endswith("ASSISTANT|:")


@pytest.mark.parametrize("template", ["vicuna", "llama2", "llama3", "alpaca", "chatml", "lima"])
def test_every_template_shows_without_a_tokenizer(run, tmp_path, template):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"messages": [ASK, SAY]}] * 3)
  _, line = run("tokens", "--template", template, "--limit", 1, file).splitlines()
  answer = line[line.rindex("[") :].replace("|", "")  # llama2 has brackets of its own before
  assert answer.startswith("[ It is")


def test_what_does_not_fit_is_counted(tool, tiny_folder, tmp_path, capsys):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"messages": [ASK, SAY]}])
  module = tool("tokens")
  flags = ["--tokenizer", str(tiny_folder), "--max_length", "4", str(file)]
  module.main(module.arguments(flags))
  out, err = capsys.readouterr()
  assert out == ""
  assert "dropped: longer than 4 tokens 1" in err


def test_unknown_rows_get_a_line(run, tiny_folder, tmp_path):
  file = jsonl.write_rows(tmp_path / "a.jsonl", [{"foo": 1}])
  with pytest.raises(UserError, match=r"a.jsonl:1: unknown format \(keys: foo\)"):
    run("tokens", "--tokenizer", tiny_folder, file)
