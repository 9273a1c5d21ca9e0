from xwinjax.checkpoint import huggingface
from xwinjax.data.tokenizer import Tokenizer


def test_tiny_model_is_a_model_folder(tiny_folder):
  config, params = huggingface.load(tiny_folder)
  assert config.vocab_size == Tokenizer.load(tiny_folder).vocab_size
  assert params["embed"].shape == (config.vocab_size, config.dim)
