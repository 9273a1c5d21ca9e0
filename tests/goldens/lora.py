"""Adapters from a seed beside a tiny model's projections; PEFT's logits and gradients of them.

Made anew where transformers, torch and peft are installed, in tests/: python -m goldens.lora
"""

import json
from pathlib import Path

import numpy as np
from goldens import families

STORED = Path(__file__).with_name("lora.json")
FAMILY, RANK, ALPHA = "llama3", 3, 12.0
TARGETS = {  # what is adapted in each case
  "all": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
  "two": ("q_proj", "v_proj"),
}
IDS = families.IDS


def factors(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
  """Random numbers for every adapter's tensor, by PEFT's names; B too, which starts at 0."""
  rng = np.random.default_rng(1)
  return {name: 0.1 * rng.normal(size=shapes[name]).astype(np.float32) for name in sorted(shapes)}


def make() -> None:
  import peft
  import torch
  import transformers

  stored = {}
  for case, targets in TARGETS.items():
    config = transformers.AutoConfig.for_model(**families.CONFIGS[FAMILY])
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    model.config._attn_implementation = "eager"
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    values = {k: torch.tensor(v, dtype=torch.float64) for k, v in families.weights(shapes).items()}
    model.load_state_dict(values)
    settings = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(targets))
    model = peft.get_peft_model(model, settings, autocast_adapter_dtype=False).double().train()
    shapes = {k: list(v.shape) for k, v in peft.get_peft_model_state_dict(model).items()}
    values = {k: torch.tensor(v, dtype=torch.float64) for k, v in factors(shapes).items()}
    peft.set_peft_model_state_dict(model, values)
    ids = torch.tensor([IDS])
    out = model(input_ids=ids, labels=ids)
    out.loss.backward()
    gradients = {
      name.replace(".default", ""): p.grad.numpy()
      for name, p in model.named_parameters()
      if p.grad is not None
    }
    assert gradients.keys() == shapes.keys()
    stored[case] = {
      "shapes": shapes,
      "logits": np.round(out.logits[0].detach().numpy()[[7, -1], :8], 7).tolist(),
      "loss": round(out.loss.item(), 8),
      "gradients": {  # norm, and its product with a fixed vector
        name: [float(f"{x:.8g}") for x in (np.linalg.norm(g), along(g))]
        for name, g in gradients.items()
      },
    }
  STORED.write_text(json.dumps(stored, indent=1) + "\n")


def along(gradient: np.ndarray) -> float:
  """One number that another order of the same entries would change."""
  flat = np.asarray(gradient, np.float64).ravel()
  return float(flat @ np.cos(np.arange(flat.size)))


if __name__ == "__main__":
  make()
