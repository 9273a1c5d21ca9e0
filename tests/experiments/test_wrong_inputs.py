"""What a person gets for a mistake: exit status 2, one line, and nothing lost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import dpo, reward, sample, score, select, sft, xwin
from xwinjax.data import jsonl
from xwinjax.stages import manifest
from xwinjax.testing import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory, tiny_folder):
  """A reward model of random weights."""
  from xwinjax.checkpoint import huggingface
  from xwinjax.model import llama

  folder = tmp_path_factory.mktemp("reward") / "model"
  config, params = huggingface.load(tiny_folder)
  return huggingface.save(
    folder, config, llama.with_reward_head(params), tokenizer_from=tiny_folder
  )


@pytest.fixture
def train(files, tiny_folder, tmp_path):
  """Flags of an sft that would work."""
  return [
    f"--workdir={tmp_path}/run",
    f"--config.model.path={tiny_folder}",
    f"--config.data={files['sft']}",
    "--config=configs/sft.py:sandbox",
  ]


def edited(folder, to, **fields):
  """A copy of a model folder with other fields in its config.json."""
  shutil.copytree(folder, to)
  config = json.loads((to / "config.json").read_text())
  (to / "config.json").write_text(json.dumps(config | fields))
  return to


# Flags and config files


def test_no_workdir(mistake, train):
  assert mistake(sft.command, *train[1:]) == "--workdir=FOLDER is missing: where results go"


def test_unknown_flag(mistake, train):
  assert mistake(sft.command, *train, "--workdr=x") == (
    "Unknown command line flag 'workdr'. Did you mean: workdir ?"
  )


def test_unknown_field_gets_the_nearest_name(mistake, train):
  assert mistake(sft.command, *train, "--config.train.optim.lrr=1") == (
    "--config.train.optim.lrr=1: unknown field config.train.optim.lrr; did you mean 'lr'?"
  )


@pytest.mark.parametrize(
  ("flag", "expected"),
  [
    ("--config.train.optim.lr=fast", "a number, like 0.0"),
    ("--config.limit=1.5", "a whole number, like 0"),
    ("--config.model.scan_layers=maybe", "true or false"),
    ("--config.model.dropout=0.1,x", "a tuple, like (0.0, 0.0) in quotes"),
  ],
)
def test_value_of_another_type(mistake, train, flag, expected):
  assert mistake(sft.command, *train, flag).startswith(f"{flag}: expected {expected}")


def test_tuple_of_another_length(mistake, train):
  assert mistake(sft.command, *train, "--config.model.dropout=0.1") == (
    "config.model.dropout is (0.1,); expected 2 values"
  )


def test_group_in_place_of_a_field(mistake, train):
  assert mistake(sft.command, *train, "--config.train=3") == (
    "--config.train=3: config.train is a group; set one of batch, epochs, loop, optim"
  )


def test_field_in_place_of_a_group(mistake, train):
  assert "config.data is a field, not a group" in mistake(sft.command, *train, "--config.data.x=3")


def test_unknown_variant_lists_those_there_are(mistake):
  assert mistake(xwin.command, "--config=configs/xwin.py:huge", "--workdir=x") == (
    "--config=configs/xwin.py:huge: no variant 'huge'; there are sandbox, laptop, llama, "
    "llama2_7b, llama2_13b, llama2_70b, llama3_8b, llama3_70b, llama2_7b_lora, llama3_8b_lora"
  )


def test_no_such_config_file(mistake):
  assert mistake(sft.command, "--config=mine.py") == "--config=mine.py: no such file"


def test_mistake_inside_a_config_file_is_named_by_line(mistake, tmp_path):
  (tmp_path / "mine.py").write_text("import math\n\ndef get_config():\n  return math.tau.lr\n")
  assert mistake(sft.command, f"--config={tmp_path}/mine.py") == (
    f"{tmp_path}/mine.py:4: AttributeError: 'float' object has no attribute 'lr'"
  )


def test_what_the_chain_fills_in_cannot_be_set(mistake, tmp_path, files):
  flags = ("--config=configs/xwin.py:sandbox", f"--workdir={tmp_path}/w")
  said = mistake(xwin.command, *flags, f"--config.sft.data={files['sft']}")
  assert said.startswith(f"--config.sft.data={files['sft']}: unknown field config.sft.data")
  assert not (tmp_path / "w").exists()


# Models


def test_no_model_named(mistake, train):
  assert mistake(sft.command, *train, "--config.model.path=") == (
    "config.model.path is empty; it names the folder of a Hugging Face Llama"
  )


def test_no_such_model(mistake, train):
  assert mistake(sft.command, *train, "--config.model.path=nowhere") == (
    "config.model.path=nowhere: no such file or folder"
  )


def test_folder_that_is_no_model(mistake, train, tmp_path):
  assert mistake(sft.command, *train, f"--config.model.path={tmp_path}") == (
    f"{tmp_path}/config.json: no such file; a model folder holds config.json and weights"
  )


def test_unsupported_feature_is_refused_by_name(mistake, train, tiny_folder, tmp_path):
  folder = edited(tiny_folder, tmp_path / "biased", attention_bias=True)
  assert mistake(sft.command, *train, f"--config.model.path={folder}") == (
    f"{folder}/config.json: attention_bias = True is not supported; only False is"
  )


def test_weights_cut_short(mistake, train, tiny_folder, tmp_path):
  folder = edited(tiny_folder, tmp_path / "cut")
  weights = (folder / "model.safetensors").read_bytes()
  (folder / "model.safetensors").write_bytes(weights[:-100])
  assert "not a whole safetensors file" in mistake(
    sft.command, *train, f"--config.model.path={folder}"
  )


def test_tokenizer_of_another_model(mistake, train, tiny_folder, tmp_path):
  folder = edited(tiny_folder, tmp_path / "mixed")
  tiny.tiny_tokenizer(folder, vocab_size=500)
  found = mistake(sft.command, *train, f"--config.model.path={folder}")
  assert found == (
    f"{folder}: the tokenizer has 500 tokens, the model's embedding 384 rows; they do not "
    "belong together"
  )


def test_reward_model_where_a_language_model_is_needed(mistake, reward_folder, files, tmp_path):
  flags = (f"--workdir={tmp_path}/rm", f"--config.data={files['pairs']}")
  assert mistake(reward.command, *flags, f"--config.model.path={reward_folder}") == (
    f"{reward_folder}: is a reward model; this stage needs a language model"
  )


def test_language_model_where_a_reward_model_is_needed(mistake, tiny_folder, files, tmp_path):
  flags = (f"--workdir={tmp_path}/s", f"--config.candidates={files['candidates']}")
  assert mistake(score.command, *flags, f"--config.model.path={tiny_folder}") == (
    f"{tiny_folder}: is a language model; this stage needs a reward model"
  )


# Data


def test_no_such_data_file(mistake, train):
  assert mistake(sft.command, *train, "--config.data=no.jsonl") == (
    "config.data=no.jsonl: no such file or folder"
  )


def test_bad_row_is_named_by_file_and_line(mistake, train, files):
  with files["sft"].open("a") as f:
    f.write('{"messages": [{"role": "user"}]}\n')
  assert mistake(sft.command, *train) == (
    f"{files['sft']}:5: messages[0]: field 'content': found nothing, expected text. Mend, or "
    "leave out with bad_rows=skip"
  )


def test_empty_file(mistake, train, files):
  files["sft"].write_text("")
  assert mistake(sft.command, *train) == f"{files['sft']}: holds no rows"


def test_nothing_left_to_train_on(mistake, train, files):
  assert mistake(sft.command, *train, "--config.max_length=8") == (
    f"{files['sft']}: no row is left: dropped: longer than 8 tokens 4"
  )


def test_prompt_that_leaves_no_room_for_an_answer(mistake, tiny_folder, tmp_path):
  long = [{"role": "user", "content": "very " * 200}]
  prompts = jsonl.write_rows(tmp_path / "p.jsonl", [{"id": "long", "messages": long}])
  found = mistake(
    sample.command,
    f"--workdir={tmp_path}/s",
    f"--config.model.path={tiny_folder}",
    f"--config.prompts={prompts}",
  )
  assert found.startswith("prompt long: its last question has more than 64 tokens")


def test_candidates_without_scores(mistake, files, tmp_path):
  bare = jsonl.write_rows(
    tmp_path / "bare.jsonl", [{"id": "p", "prompt": "Hi", "candidates": [{"text": "a"}]}]
  )
  assert mistake(select.command, f"--workdir={tmp_path}/s", f"--config.candidates={bare}") == (
    f"{bare}: prompt p has a candidate without a score 'rm'; run the score stage on it first"
  )


def test_rank_that_no_prompt_has(mistake, files, tmp_path):
  flags = (f"--workdir={tmp_path}/s", f"--config.candidates={files['candidates']}")
  assert "no example: fewer than 9 candidates 1" in mistake(
    select.command, *flags, "--config.rank=9"
  )
  assert mistake(select.command, *flags, "--config.rejected=rank:1").startswith(
    "config.rejected 'rank:1': expected rank:R (R >= 2"
  )


def test_reference_of_another_model(mistake, tiny_folder, files, tmp_path):
  other = jsonl.write_rows(tmp_path / "logps.jsonl", [{"key": "0" * 64}])
  found = mistake(
    dpo.command,
    f"--workdir={tmp_path}/d",
    f"--config.model.path={tiny_folder}",
    f"--config.data={files['pairs']}",
    f"--config.reference={other}",
  )
  assert "made with another model, template, tokenizer or other pairs" in found


# Folders


def chosen(files, tmp_path, *more):
  return (f"--workdir={tmp_path}/s", f"--config.candidates={files['candidates']}", *more)


def test_workdir_made_with_other_settings_is_kept(mistake, files, tmp_path):
  assert select.command(chosen(files, tmp_path)) == 0
  before = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
  assert "made with other settings: config.rank was 1 and is 2. Restore them" in mistake(
    select.command, *chosen(files, tmp_path, "--config.rank=2")
  )
  assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == before
  assert select.command(chosen(files, tmp_path, "--config.rank=2", "--redo")) == 0
  assert (tmp_path / "s" / "examples.jsonl").read_bytes() != before["examples.jsonl"]


def test_second_run_in_a_folder(mistake, files, tmp_path):
  with manifest.lock(tmp_path / "s"):
    assert "another run works here (pid " in mistake(select.command, *chosen(files, tmp_path))
  assert select.command(chosen(files, tmp_path)) == 0


def test_workdir_with_other_files(mistake, files, tmp_path):
  (tmp_path / "s").mkdir()
  (tmp_path / "s" / "thesis.tex").write_text("all of it")
  assert mistake(select.command, *chosen(files, tmp_path, "--redo")) == (
    f"--workdir={tmp_path}/s: holds other files (thesis.tex); give the stage a folder of its own"
  )
  assert (tmp_path / "s" / "thesis.tex").exists()


def test_mended_mistake_may_use_the_same_folder(mistake, files, tmp_path):
  good = files["candidates"].read_text()
  files["candidates"].write_text("{")
  assert "not valid JSON" in mistake(select.command, *chosen(files, tmp_path))
  assert not (tmp_path / "s").exists()
  files["candidates"].write_text(good)
  assert select.command(chosen(files, tmp_path)) == 0


def test_output_changed_by_hand(mistake, files, tmp_path):
  assert select.command(chosen(files, tmp_path)) == 0
  (tmp_path / "s" / "pairs.jsonl").write_text("{}\n")
  assert "pairs.jsonl: changed since the stage wrote it" in mistake(
    select.command, *chosen(files, tmp_path)
  )


# The same through real processes: no traceback, status 2


@pytest.mark.parametrize(
  ("command", "line"),
  [
    (
      ["-m", "experiments.xwin", "--config=configs/xwin.py:huge", "--workdir=x"],
      "error: --config=configs/xwin.py:huge: no variant 'huge'; there are ",
    ),
    (["-m", "experiments.select", "--workdir=x"], "error: config.candidates is empty"),
    (
      ["tools/logprobs", "--json", "nowhere", "pyproject.toml"],
      "error: nowhere: no such model folder",
    ),
  ],
)
def test_process_says_one_line(command, line):
  found = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
  assert found.returncode == 2
  assert found.stdout == ""
  assert found.stderr.startswith(line)
  assert found.stderr.count("\n") == 1
  assert not (ROOT / "x").exists()
