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
  common.check_rows(source, old, rows)
  new = old.with_special(template.specials())
  size = -(-max(rows, new.vocab_size) // config.multiple) * config.multiple
  if new.vocab_size > old.vocab_size:
    free = rows - old.vocab_size
    if free > 0:
      common.say(
        f"{source}: the last {free} embedding rows have no token; new ones take them first"
      )
    vocabulary.add_rows(source, target, min(old.vocab_size, rows), size)
  else:
    target.mkdir(parents=True, exist_ok=True)
    for file in filter(Path.is_file, source.iterdir()):
      shutil.copyfile(file, target / file.name)
  for name in (*huggingface.TOKENIZER_FILES, huggingface.GENERATION):
    if (source / name).exists() and name != common.NOTES:
      shutil.copyfile(source / name, target / name)
  renderer = Renderer(template, new, context.model.system)
  ends = renderer.stop_ids()
  vocabulary.set_ends(target, new.bos_id, ends, new.pad_id(size, ends))
  common.write_tokenizer(target, renderer, size)
  added = {name: i for name, i in new.added.items() if name not in old.added}
  return {"added": added, "vocab_size": max(size, rows), "rows_before": rows}


STAGE = Stage(
  "add_tokens",
  AddTokensConfig,
  make,
  {"model": "folder of a Hugging Face Llama"},
  ("model",),
  uses=("model",),
)
