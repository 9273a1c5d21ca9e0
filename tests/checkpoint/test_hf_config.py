"""config.json, field by field: read, refused by name, written back."""

import json
import math

import pytest

from xwinjax.checkpoint.hf_config import config_fields
from xwinjax.checkpoint.hf_config import read as read_folder
from xwinjax.core.errors import UserError
from xwinjax.model.config import LlamaConfig, RopeScaling
from xwinjax.testing.tiny import tiny_config

LLAMA3_ROPE = {
  "rope_type": "llama3",
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 8192,
}
PUBLISHED = {  # as the published Llama 3.1 8B's
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": False,
  "attention_dropout": 0.0,
  "bos_token_id": 128000,
  "eos_token_id": [128001, 128008, 128009],
  "hidden_act": "silu",
  "hidden_size": 4096,
  "initializer_range": 0.02,
  "intermediate_size": 14336,
  "max_position_embeddings": 131072,
  "mlp_bias": False,
  "model_type": "llama",
  "num_attention_heads": 32,
  "num_hidden_layers": 32,
  "num_key_value_heads": 8,
  "pretraining_tp": 1,
  "rms_norm_eps": 1e-05,
  "rope_scaling": LLAMA3_ROPE,
  "rope_theta": 500000.0,
  "tie_word_embeddings": False,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.43.0.dev0",
  "use_cache": True,
  "vocab_size": 128256,
}
LLAMA31_8B = LlamaConfig(
  vocab_size=128256,
  dim=4096,
  num_layers=32,
  num_heads=32,
  num_kv_heads=8,
  head_dim=128,
  ffn_dim=14336,
  max_length=131072,
  rope_theta=500000.0,
  rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192),
  norm_eps=1e-5,
  tied=False,
)


@pytest.fixture
def read(tmp_path):
  """read(fields or text) -> the Llama they describe."""

  def read(content):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "config.json").write_text(text)
    return read_folder(tmp_path).llama

  return read


def test_a_published_config_is_read(read):
  assert read(PUBLISHED) == LLAMA31_8B


def test_both_spellings_of_rope_say_the_same(read):
  v5 = {k: v for k, v in PUBLISHED.items() if k not in ("rope_theta", "rope_scaling")}
  v5["rope_parameters"] = {**LLAMA3_ROPE, "rope_theta": 500000.0}
  assert read(v5) == LLAMA31_8B
  old = {**PUBLISHED, "rope_scaling": {**LLAMA3_ROPE, "type": "llama3"}}
  assert read(old) == LLAMA31_8B
  plain = {**PUBLISHED, "rope_scaling": None, "rope_theta": None}
  assert read(plain) == read({**v5, "rope_parameters": {"rope_type": "default"}})
  assert (read(plain).rope_theta, read(plain).rope_scaling) == (10_000.0, None)


@pytest.mark.parametrize("name", ["gqa_untied", "llama3_rope", "mha_tied", "wide_head"])
def test_transformers_own_spellings_agree(name, read, shared):
  folder = shared / "goldens" / f"llama_{name}"
  v5 = json.loads((folder / "config_v5.json").read_text())
  assert "rope_parameters" in v5
  assert read(v5) == read_folder(folder).llama


def test_what_a_config_may_leave_out(read):
  rest = (
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "hidden_act",
    "max_position_embeddings",
    "tie_word_embeddings",
  )
  config = read({k: v for k, v in PUBLISHED.items() if k not in rest})
  assert config.num_kv_heads == 32
  assert (config.head_dim, config.norm_eps, config.max_length) == (128, 1e-6, 2048)
  assert not config.tied


@pytest.mark.parametrize(
  ("field", "value", "says"),
  [
    ("model_type", "gpt2", "model_type is 'gpt2'; only 'llama', 'mistral', 'qwen2' can be read"),
    ("hidden_act", "gelu", "hidden_act = 'gelu' is not supported; only 'silu' is"),
    ("attention_bias", True, "attention_bias = True is not supported"),
    ("mlp_bias", True, "mlp_bias = True is not supported"),
    ("sliding_window", 4096, "sliding_window = 4096 is not supported"),
    ("quantization_config", {"bits": 4}, "quantization_config = {'bits': 4} is not supported"),
    ("num_local_experts", 8, "num_local_experts = 8 is not supported"),
    ("attn_logit_softcapping", 50.0, "attn_logit_softcapping = 50.0 is not supported"),
    ("partial_rotary_factor", 0.5, "partial_rotary_factor = 0.5 is not supported"),
    ("auto_map", {"AutoModel": "x.Y"}, "auto_map = {'AutoModel': 'x.Y'} is not supported"),
    ("rope_scaling", {"type": "linear", "factor": 2.0}, "of type 'linear' is not supported"),
    ("rope_scaling", {"rope_type": "yarn"}, "of type 'yarn' is not supported; only 'llama3'"),
    ("rope_scaling", [8], "rope_scaling is [8]; expected an object or null"),
    ("rope_scaling", {**LLAMA3_ROPE, "factor": None}, "field 'factor' is missing"),
    ("rope_scaling", {**LLAMA3_ROPE, "factor": "8"}, "factor is '8'; expected a number"),
    ("rope_theta", -1.0, "rope_theta is -1.0; expected a number, 1 to 1e+15"),
    ("rope_theta", math.inf, "rope_theta is inf; expected a number, 1 to 1e+15"),
    ("rope_theta", 10**400, "; expected a number, 1 to 1e+15"),
    ("rms_norm_eps", math.inf, "rms_norm_eps is inf; expected a number, 1e-30 to 0.1"),
    ("rms_norm_eps", math.nan, "rms_norm_eps is nan; expected a number, 1e-30 to 0.1"),
    ("rope_scaling", {**LLAMA3_ROPE, "factor": math.inf}, "factor is inf; expected a number"),
    ("num_hidden_layers", 10**6, "num_hidden_layers is 1000000; expected a whole number, 1 to"),
    ("vocab_size", 10**400, "; expected a whole number, 1 to"),
    ("hidden_size", None, "field 'hidden_size' is missing"),
    ("hidden_size", 4097, "hidden_size 4097 is not a multiple of num_attention_heads 32"),
    ("hidden_size", 4096.0, "hidden_size is 4096.0; expected a whole number, 1 to"),
    ("num_hidden_layers", 0, "num_hidden_layers is 0; expected a whole number, 1 to"),
    ("num_hidden_layers", True, "num_hidden_layers is True; expected a whole number, 1 to"),
    ("num_key_value_heads", 5, "num_heads 32 must be a multiple of num_kv_heads 5"),
    ("head_dim", 5, "head_dim 5 must be even"),
    ("vocab_size", "many", "vocab_size is 'many'; expected a whole number, 1 to"),
  ],
)
def test_what_would_be_computed_wrongly_is_refused_by_name(field, value, says, read, tmp_path):
  with pytest.raises(UserError) as e:
    read({**PUBLISHED, field: value})
  assert str(e.value).startswith(f"{tmp_path / 'config.json'}: ")
  assert says in str(e.value)
  assert "\n" not in str(e.value)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("sliding_window", None),
    ("quantization_config", None),
    ("some_future_switch", False),
    ("_name_or_path", "a/b"),
    ("attention_bias", None),
  ],
)
def test_a_feature_that_is_off_is_no_reason_to_refuse(field, value, read):
  assert read({**PUBLISHED, field: value}) == LLAMA31_8B


def test_leftovers_that_change_nothing_are_named(read, tmp_path):
  left = {"max_sequence_length": 2048, "pretraining_tp": 2, "unsloth_fixed": True}
  assert read({**PUBLISHED, **left}) == LLAMA31_8B
  [said] = read_folder(tmp_path).said
  assert said.endswith(
    "changes nothing here: max_sequence_length = 2048, pretraining_tp = 2, unsloth_fixed = True"
  )
  read({**PUBLISHED, "pretraining_tp": 1})
  assert read_folder(tmp_path).said == ()  # the twin: what every Llama has is not named


def test_what_is_no_config_gets_a_line(read, tmp_path):
  with pytest.raises(UserError, match="no such file; a model folder holds config"):
    read_folder(tmp_path)
  for text, says in (("{", "not valid JSON"), ("[1]", "expected a JSON object")):
    with pytest.raises(UserError, match=says):
      read(text)


@pytest.mark.parametrize("reward_head", [False, True])
@pytest.mark.parametrize(
  "config",
  [LLAMA31_8B, tiny_config(), tiny_config(head_dim=6, tied=False, rope_theta=5.0, norm_eps=1e-7)],
)
def test_what_is_written_is_what_is_read(config, reward_head, read):
  fields = config_fields(config, reward_head=reward_head, bos_id=1, eos_id=2, dtype="float32")
  expected = config.replace(tied=False) if reward_head else config
  assert read(fields) == expected
  for name in ("vocab_size", "num_hidden_layers", "head_dim", "rope_theta", "rms_norm_eps"):
    assert read({**fields, name: fields[name] * 2}) != expected  # each field counts


@pytest.mark.parametrize(
  ("changes", "reward", "dtype"),
  [
    ({}, False, "bfloat16"),
    ({"torch_dtype": None, "dtype": "float16"}, False, "float16"),  # as newer folders spell it
    ({"torch_dtype": None}, False, ""),
    ({"torch_dtype": "int8"}, False, ""),
    ({"architectures": ["LlamaForSequenceClassification"]}, True, "bfloat16"),
    ({"architectures": None}, False, "bfloat16"),
  ],
)
def test_a_folder_is_described_by_one_reading(changes, reward, dtype, read, tmp_path):
  read({**PUBLISHED, **changes})
  described = read_folder(tmp_path)
  assert (described.llama, described.reward, described.dtype) == (LLAMA31_8B, reward, dtype)
  assert described.fields == {**PUBLISHED, **changes}
