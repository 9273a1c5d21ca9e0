import json
import shutil

import numpy as np
import pytest
from scipy.special import log_softmax

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.stages import common

GOLDENS = ("mha_tied", "gqa_untied", "llama3_rope", "wide_head")


def rows_of(text):
  return [json.loads(line) for line in text.splitlines()]


def golden(shared, name, tmp_path, spelling="config.json"):
  """(model folder, file of rows, log-probs of every row) of an independent implementation."""
  source = shared / "goldens" / f"llama_{name}"
  folder = tmp_path / name
  folder.mkdir()
  shutil.copy(source / spelling, folder / "config.json")
  shutil.copy(source / "model.safetensors", folder)
  stored = np.load(source / f"llama_logits_{name}.npz")
  logps = log_softmax(stored["logits"].astype(np.float64), axis=-1)
  lengths = stored["attention_mask"].sum(1)
  rows = [ids[:n] for ids, n in zip(stored["input_ids"], lengths, strict=True)]
  file = jsonl.write_rows(tmp_path / "rows.jsonl", [{"tokens": r.tolist()} for r in rows])
  wanted = [logps[i, np.arange(len(r) - 1), r[1:]] for i, r in enumerate(rows)]
  return folder, file, wanted


def largest_error(found, wanted):
  pairs = zip(found, wanted, strict=True)
  return max(np.abs(np.subtract(row["logprobs"], w)).max(initial=0) for row, w in pairs)


@pytest.mark.parametrize("spelling", ["config.json", "config_v5.json"])
@pytest.mark.parametrize("name", GOLDENS)
def test_equals_the_goldens(run, shared, tmp_path, name, spelling):
  folder, file, wanted = golden(shared, name, tmp_path, spelling)
  assert largest_error(rows_of(run("logprobs", "--json", folder, file)), wanted) < 1e-5


def test_the_goldens_see_another_theta(run, shared, tmp_path):
  folder, file, wanted = golden(shared, "llama3_rope", tmp_path)
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 4e5}))
  assert largest_error(rows_of(run("logprobs", "--json", folder, file)), wanted) > 1e-4


def windows(shared, offset=0):
  """The 20 windows of TinyStories whose log-probs are stored."""
  text = (shared / "tinystories" / "valid-sample.txt").read_text()[:65536]
  ids = Tokenizer.load(shared / "stories3m-hf").encode(text)[offset:]
  return [{"tokens": [1, *ids[255 * w : 255 * (w + 1)]]} for w in range(20)]


@pytest.mark.parametrize("offset", [0, 1])
def test_real_text_equals_the_stored_totals(run, shared, tmp_path, offset):
  wanted = json.loads((shared / "stories3m-hf" / "nll_golden.json").read_text())["sum_logprob"]
  file = jsonl.write_rows(tmp_path / "w.jsonl", windows(shared, offset))
  found = rows_of(run("logprobs", "--json", shared / "stories3m-hf", file))
  equal = np.allclose([row["total"] for row in found], wanted, rtol=1e-6, atol=1e-4)
  assert equal == (offset == 0)  # windows a token off must not pass


def test_rows_keep_their_order_and_do_not_depend_on_their_neighbours(run, tiny_folder, tmp_path):
  random = np.random.default_rng(0)
  rows = [
    {"id": f"row {i}", "tokens": random.integers(0, 384, n).tolist()}
    for i, n in enumerate([30, 1, 17, 90, 2, 64])
  ]
  together = rows_of(run("logprobs", "--json", tiny_folder, jsonl.write_rows(tmp_path / "a", rows)))
  assert [row["id"] for row in together] == [row["id"] for row in rows]
  for row, found in zip(rows, together, strict=True):
    file = jsonl.write_rows(tmp_path / "b", [row])
    [alone] = rows_of(run("logprobs", "--json", tiny_folder, file))
    assert found["tokens"] == alone["tokens"] == row["tokens"]
    assert len(found["logprobs"]) == len(row["tokens"]) - 1
    assert found["logprobs"] == pytest.approx(alone["logprobs"], abs=1e-5)
    assert found["total"] == pytest.approx(sum(found["logprobs"]), abs=1e-6)


def test_long_files_go_through_in_windows(run, tool, tiny_folder, tmp_path, monkeypatch):
  rows = [{"tokens": [1, i, i + 1]} for i in range(3, 13)]
  file = jsonl.write_rows(tmp_path / "rows.jsonl", rows)
  whole = run("logprobs", "--json", tiny_folder, file)
  monkeypatch.setattr(tool("logprobs"), "WINDOW", 3)
  in_windows = run("logprobs", "--json", tiny_folder, file)
  assert [r["tokens"] for r in rows_of(in_windows)] == [r["tokens"] for r in rows]
  assert [r["total"] for r in rows_of(in_windows)] == pytest.approx(
    [r["total"] for r in rows_of(whole)], abs=1e-5
  )


def test_messages_and_text_become_the_tokens_training_sees(run, tiny_folder, tmp_path):
  ask, say = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}
  rows = [
    {"messages": [ask, say]},
    {"prompt": "Once", "completion": " upon"},
    {"prompt": [ask], "completion": [say]},
  ]
  file = jsonl.write_rows(tmp_path / "rows.jsonl", rows)
  chat, text, pair = rows_of(run("logprobs", "--json", tiny_folder, file))
  tokenizer, renderer = common.open_tokenizer(tiny_folder, common.ModelConfig(), 384)
  said = tokenizer.decode(chat["tokens"])
  assert "USER: Hi ASSISTANT: Yes" in said
  assert chat["tokens"][0] == tokenizer.bos_id
  assert chat["tokens"][-1] == tokenizer.eos_id
  assert pair["tokens"] == chat["tokens"] == renderer.encode(_messages(ask, say)).ids
  assert text["tokens"] == [tokenizer.bos_id, *tokenizer.encode("Once upon")]
  assert [row["id"] for row in (chat, text, pair)] == ["1", "2", "3"]


def _messages(*rows):
  from xwinjax.data.records import Message

  return tuple(Message(**row) for row in rows)


@pytest.mark.parametrize(
  ("row", "line"),
  [
    ({"tokens": [1, 384]}, "token 384 is not in the model's vocabulary of 384"),
    ({"tokens": [1, -1]}, "token -1 is not in the model's vocabulary of 384"),
    ({"tokens": []}, "field 'tokens': expected a list of whole numbers, not empty"),
    ({"tokens": [1, True]}, "field 'tokens': expected a list of whole numbers, not empty"),
    ({"text": "x"}, "found fields text; expected tokens, messages, or prompt and completion"),
  ],
)
def test_bad_row_is_named_by_file_and_line(run, tiny_folder, tmp_path, row, line):
  file = jsonl.write_rows(tmp_path / "rows.jsonl", [{"tokens": [1]}, row])
  with pytest.raises(UserError, match=f"rows.jsonl:2: {line}"):
    run("logprobs", "--json", tiny_folder, file)


def test_table_for_people(run, tiny_folder, tmp_path):
  row = {"id": "a", "prompt": "USER", "completion": " is"}
  file = jsonl.write_rows(tmp_path / "rows.jsonl", [row])
  first, *each = run("logprobs", "--each", tiny_folder, file).splitlines()
  assert first.startswith("a  3 tokens  total -")
  assert [line.split()[1] for line in each] == ["▁USER", "▁is"]
