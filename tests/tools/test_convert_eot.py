"""A token of its own for the end of a turn survives conversion to Orbax and back."""

import numpy as np

from xwinjax.stages import add_tokens, common
from xwinjax.stages.add_tokens import AddTokensConfig
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.stage import Context


def test_convert_keeps_the_token_and_its_template(tiny_folder, tmp_path, run):
  add_tokens.STAGE.run(Context(), tmp_path / "tokens", AddTokensConfig(), {"model": tiny_folder})
  added = tmp_path / "tokens" / "model"
  run("convert", added, tmp_path / "ours", "--to", "orbax")
  run("convert", tmp_path / "ours", tmp_path / "back")
  back, before = (common.open_model(ModelConfig(str(f)), None) for f in (tmp_path / "back", added))
  assert np.array_equal(back.params["embed"]["embedding"], before.params["embed"]["embedding"])
  assert back.renderer.stop_ids() == before.renderer.stop_ids()
  assert back.renderer.template.name == "lima"
  assert before.renderer.stop_ids()[0] == before.config.vocab_size - 1
