"""Small tokenizers of the kinds that models are published with, made by code."""

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

TEXT = [
  "Hello there, what colour is the sky? It is blue, and the sea is too.",
  "def f(x):\n    return [i for i in range(x)]\n",
  "user assistant system USER: ASSISTANT: [INST] [/INST]",
  "Zoë sagt 中文 и русский 🙂 1234567",
] * 20
LLAMA3 = (
  "<|begin_of_text|>",
  "<|end_of_text|>",
  "<|finetune_right_pad_id|>",
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
)
QWEN2 = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPLIT = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_CHAT = (
  "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
  "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
  "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
  "{% if add_generation_prompt %}"
  "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN2_CHAT = (
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
  "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
  "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level(folder: Path, special: tuple[str, ...], bos: str | None, config: dict) -> Path:
  """A tokenizer.json of bytes, as Llama 3 and Qwen2 have; `bos` opens a text."""
  made = tokenizers.Tokenizer(models.BPE())
  pattern = SPLIT if bos else SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")  # Qwen2: digits apart
  split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
  made.normalizer = None if bos else normalizers.NFC()
  made.pre_tokenizer = pre_tokenizers.Sequence(
    [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
  )
  made.decoder = decoders.ByteLevel()
  alphabet = pre_tokenizers.ByteLevel.alphabet()
  made.train_from_iterator(
    TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
  )
  made.add_special_tokens(list(special))
  if bos:
    made.post_processor = tokenizers.processors.TemplateProcessing(
      single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, made.token_to_id(bos))]
    )
  return _written(made, folder, config)


def llama3(folder: Path) -> Path:
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": LLAMA3[0],
    "eos_token": "<|eot_id|>",
    "chat_template": LLAMA3_CHAT,
  }
  return byte_level(folder, LLAMA3, LLAMA3[0], config)


def qwen2(folder: Path) -> Path:
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "add_bos_token": False,
    "chat_template": QWEN2_CHAT,
  }
  return byte_level(folder, QWEN2, None, config)


def blanks(folder: Path, scheme: str = "first") -> Path:
  """A tokenizer.json of Llama 2's kind, as newer transformers saves TinyLlama or Mistral."""
  made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
  made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=True)
  made.normalizer = normalizers.Sequence([])
  steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
  made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
  names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
  made.train_from_iterator(
    [t.replace("\n", " ") for t in TEXT],
    trainers.BpeTrainer(vocab_size=420, special_tokens=names, show_progress=False),
  )
  fields = json.loads(made.to_str())  # bytes are pieces, no marks
  fields["added_tokens"] = [t for t in fields["added_tokens"] if not t["content"].startswith("<0x")]
  fields["pre_tokenizer"]["split"] = False
  made = tokenizers.Tokenizer.from_str(json.dumps(fields))
  config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
  return _written(made, folder, {**config, "add_bos_token": True})


def _written(made: tokenizers.Tokenizer, folder: Path, config: dict) -> Path:
  folder.mkdir(parents=True, exist_ok=True)
  made.save(str(folder / "tokenizer.json"))
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  return folder
