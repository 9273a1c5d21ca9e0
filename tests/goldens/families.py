"""Tiny models of each family, whose weights come from a seed, and transformers' logits of them.

Made anew where transformers and torch are installed: python tests/goldens/families.py
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

STORED = Path(__file__).with_name("families.json")
SIZES = {
  "vocab_size": 48,
  "hidden_size": 24,
  "intermediate_size": 40,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "max_position_embeddings": 64,
  "rms_norm_eps": 1e-5,
  "hidden_act": "silu",
}
ROPE = {
  "rope_type": "llama3",
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}
CONFIGS = {  # as such models' config.json is published
  "llama3": {"model_type": "llama", "rope_theta": 500.0, "rope_scaling": ROPE, **SIZES},
  "mistral": {"model_type": "mistral", "rope_theta": 1e4, "sliding_window": None, **SIZES},
  "mistral_window": {"model_type": "mistral", "rope_theta": 1e4, "sliding_window": 24, **SIZES},
  "qwen2": {"model_type": "qwen2", "rope_theta": 1e6, "use_sliding_window": False, **SIZES},
  "qwen2_tied": {
    "model_type": "qwen2",
    "rope_theta": 1e4,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "sliding_window": 8,
    "max_window_layers": 1,
    **SIZES,
  },
}
IDS = [1, *np.random.default_rng(5).integers(3, 48, 23).tolist()]


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
  """Random numbers for every tensor, biases too; norms around 1."""
  rng = np.random.default_rng(0)
  made = {}
  for name in sorted(shapes):
    noise = rng.normal(size=shapes[name]).astype(np.float32)
    made[name] = 1 + 0.1 * noise if "norm" in name else 0.2 * noise
  return made


def folder_of(name: str, folder: Path) -> Path:
  """The model as a folder."""
  config = CONFIGS[name]
  stored = json.loads(STORED.read_text())[name]
  classes = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2"}[config["model_type"]]
  folder.mkdir(parents=True, exist_ok=True)
  fields = {**config, "architectures": [f"{classes}ForCausalLM"], "torch_dtype": "float32"}
  (folder / "config.json").write_text(json.dumps(fields))
  save_file(weights(stored["shapes"]), folder / "model.safetensors", {"format": "pt"})
  return folder


def make() -> None:
  import torch
  import transformers

  stored = {}
  for name, fields in CONFIGS.items():
    config = transformers.AutoConfig.for_model(**fields)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    model.config._attn_implementation = "eager"
    tied = {"lm_head.weight"} if fields.get("tie_word_embeddings") else set()
    shapes = {k: list(v.shape) for k, v in model.state_dict().items() if k not in tied}
    values = {k: torch.tensor(v, dtype=torch.float64) for k, v in weights(shapes).items()}
    model.load_state_dict(values, strict=False)
    model.tie_weights()
    with torch.no_grad():
      logits = model.eval()(torch.tensor([IDS])).logits[0].numpy()
    stored[name] = {"shapes": shapes, "logits": np.round(logits[[7, -1], :8], 7).tolist()}
  STORED.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
  make()
