"""A Llama in plain numpy float64, read from a Hugging Face folder: independent of the package.

Written from the published architecture, head by head and with complex rotations, so that it
shares no layout, no loader and no kernel with what it checks. Slow; for tiny models.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def read(folder):
  """(config fields, tensors in float64) of a folder with one safetensors file."""
  folder = Path(folder)
  fields = json.loads((folder / "config.json").read_text())
  tensors = load_file(folder / "model.safetensors")
  return fields, {name: tensor.astype(np.float64) for name, tensor in tensors.items()}


def frequencies(fields):
  """Radians a position of each rotated plane, with Llama 3's rescaling by cases."""
  rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
  theta = rope.get("rope_theta") or fields["rope_theta"]
  size = fields["head_dim"]
  out = []
  for i in range(size // 2):
    frequency = theta ** (-2 * i / size)
    if rope.get("rope_type") == "llama3":
      wavelength, original = 2 * np.pi / frequency, rope["original_max_position_embeddings"]
      low, high = rope["low_freq_factor"], rope["high_freq_factor"]
      if wavelength > original / low:
        frequency /= rope["factor"]
      elif wavelength > original / high:
        smooth = (original / wavelength - low) / (high - low)
        frequency = (1 - smooth) * frequency / rope["factor"] + smooth * frequency
    out.append(frequency)
  return np.array(out)


def logits(fields, tensors, ids, positions=None, visible=None):
  """Logits [T, V] of one sequence; `visible` [T, T] says who sees whom, causal by default."""
  T, size = len(ids), fields["head_dim"]
  positions = np.arange(T) if positions is None else np.asarray(positions)
  visible = np.tril(np.ones((T, T), bool)) if visible is None else visible
  turn = np.exp(1j * positions[:, None] * frequencies(fields))
  per_group = fields["num_attention_heads"] // fields["num_key_value_heads"]

  def norm(x, name):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + fields["rms_norm_eps"]) * tensors[name]

  def rotate(x):
    planes = (x[:, : size // 2] + 1j * x[:, size // 2 :]) * turn
    return np.concatenate([planes.real, planes.imag], -1)

  x = tensors["model.embed_tokens.weight"][np.asarray(ids)]
  for layer in range(fields["num_hidden_layers"]):
    p = f"model.layers.{layer}."
    h = norm(x, p + "input_layernorm.weight")
    q, k, v = (h @ tensors[f"{p}self_attn.{n}_proj.weight"].T for n in "qkv")
    heads = []
    for head in range(fields["num_attention_heads"]):
      mine = slice(head * size, (head + 1) * size)
      theirs = slice(head // per_group * size, (head // per_group + 1) * size)
      scores = rotate(q[:, mine]) @ rotate(k[:, theirs]).T / np.sqrt(size)
      scores = np.where(visible, scores, -np.inf)
      weights = np.exp(scores - scores.max(-1, keepdims=True))
      heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, theirs])
    x = x + np.concatenate(heads, -1) @ tensors[p + "self_attn.o_proj.weight"].T
    h = norm(x, p + "post_attention_layernorm.weight")
    gate = h @ tensors[p + "mlp.gate_proj.weight"].T
    up = h @ tensors[p + "mlp.up_proj.weight"].T
    x = x + (gate / (1 + np.exp(-gate)) * up) @ tensors[p + "mlp.down_proj.weight"].T
  name = "lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"
  return norm(x, "model.norm.weight") @ tensors[name].T


def log_softmax(x):
  shifted = x - x.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def nll(fields, tensors, ids):
  """Mean -log p(token t+1 | tokens up to t) of one sequence, in nats."""
  logps = log_softmax(logits(fields, tensors, ids))
  return -np.mean([logps[t, token] for t, token in enumerate(ids[1:])])
