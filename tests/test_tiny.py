from xwinjax.checkpoint import huggingface
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.testing.tiny import tiny_config


def test_tiny_model_is_a_model_folder(tiny_folder):
  config, _ = huggingface.load(tiny_folder)
  vocab_size = Tokenizer.load(tiny_folder).vocab_size
  assert config == tiny_config(vocab_size=vocab_size)
