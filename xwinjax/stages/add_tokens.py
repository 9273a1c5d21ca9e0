"""A base model with the special tokens of a template added: LIMA's end of turn.

Source: LIMA (Zhou et al. 2023), section 3: a token of its own ends every utterance, lest EOS's
pretrained meaning be mixed in.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from xwinjax.checkpoint import hf_config, huggingface, vocabulary
from xwinjax.core.bounds import Many
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.stages import common
from xwinjax.stages.stage import Context, Stage

TEMPLATE = "lima"


@dataclasses.dataclass(frozen=True)
class AddTokensConfig:
  """Which template's tokens a model is given."""

  multiple: Many = 1  # make the vocabulary a multiple of this, so that devices share it evenly


def make(context: Context, config: AddTokensConfig, folder: Path, model: Path) -> dict[str, Any]:
  """Writes model/: weights with a row for each new token, and the tokenizer and template.

  The template is the context's, or LIMA's.
  """
  source, target = model, folder / "model"
  described = hf_config.read(source)
  if described.reward:
    raise UserError(f"{source}: is a reward model; this stage needs a language model")
  template, old = get_template(context.model.template or TEMPLATE), Tokenizer.load(source)
  rows = described.llama.vocab_size
  common.open_tokenizer(source, common.ModelConfig(template="vicuna"), rows)  # do they fit?
  new = old.with_special(n for n in template.specials() if not has(old, n))
  size = -(-max(rows, new.vocab_size) // config.multiple) * config.multiple
  if new.vocab_size > old.vocab_size:
    vocabulary.add_rows(source, target, old.vocab_size, size)
  else:
    shutil.copytree(source, target, dirs_exist_ok=True)
  for name in huggingface.TOKENIZER_FILES:
    if (source / name).exists() and name != common.NOTES:
      shutil.copyfile(source / name, target / name)
  new.save(target)
  keep_settings(source / "tokenizer_config.json", target / "tokenizer_config.json")
  renderer = Renderer(template, new, context.model.system)
  vocabulary.set_ends(target, new.bos_id, renderer.stop_ids())
  common.write_notes(target, renderer)
  added = {name: i for name, i in new.added.items() if name not in old.added}
  return {"added": added, "vocab_size": max(size, rows), "rows_before": rows}


def keep_settings(theirs: Path, ours: Path) -> None:
  """Leaves what the source says of its tokenizer (a chat template, …), with the new tokens."""
  if theirs.exists():
    new = hf_config.read_json(ours)
    names = ("additional_special_tokens", "added_tokens_decoder")
    jsonl.write_json(ours, hf_config.read_json(theirs) | {n: new[n] for n in names if n in new})


def has(tokenizer: Tokenizer, name: str) -> bool:
  """Whether the tokenizer has this special token."""
  try:
    tokenizer.special(name)
  except UserError:
    return False
  return True


STAGE = Stage(
  "add_tokens",
  AddTokensConfig,
  make,
  {"model": "folder of a Hugging Face Llama"},
  ("model",),
  uses=("model",),
)
