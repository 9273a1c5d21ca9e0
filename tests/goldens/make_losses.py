"""Makes losses.json: preference, list, reward and token losses by PyTorch.

In float64, but ORPO's, which TRL casts to float32.

  pip install torch==2.13.0 trl==1.16.0 && python tests/goldens/make_losses.py

CPO, SimPO, ORPO and KTO are TRL's own functions, called on the numbers here. The others, of which
TRL has none, are written from their papers with torch's losses and distributions. Gradients are
torch's, of the mean over examples.
"""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

torch.set_default_dtype(torch.float64)
torch.manual_seed(19)
PAIRS, LISTS, ANSWERS, TOKENS, WORDS = 6, 4, 5, 7, 11


def inputs():
  lengths = torch.randint(4, 40, (PAIRS, 2)).double()
  reference = -lengths * (0.5 + 2 * torch.rand(PAIRS, 2))
  policy = reference + 4 * torch.randn(PAIRS, 2)
  policy[0] = reference[0]  # an unmoved policy
  policy[1] = torch.minimum(reference[1] + torch.tensor([200.0, -200.0]), torch.tensor(-1e-3))
  policy = torch.minimum(policy, torch.tensor(-1e-3))
  long = torch.randint(4, 40, (LISTS, ANSWERS)).double()
  listed = -long * (0.5 + 2 * torch.rand(LISTS, ANSWERS))
  return {
    "policy_A2": policy,
    "reference_A2": reference,
    "lengths_A2": lengths,
    "kl_A2": 5 * torch.rand(PAIRS, 2),
    "contrast_A2": lengths * torch.rand(PAIRS, 2),
    "desirable_A": torch.tensor([1.0, 1, 0, 0, 1, 0]),
    "rewards_A2": torch.randn(PAIRS, 2),
    "rewards_A2K": torch.randn(PAIRS, 2, 3),
    "policy_AS": listed + torch.randn(LISTS, ANSWERS),
    "reference_AS": listed,
    "lengths_AS": long,
    "scores_AS": 2 * torch.randn(LISTS, ANSWERS),
    "logits_TV": 2 * torch.randn(TOKENS, WORDS),
    "reference_logits_TV": 2 * torch.randn(TOKENS, WORDS),
    "targets_T": torch.randint(0, WORDS, (TOKENS,)),
  }


def trl_method(module, cls, method, **fields):
  """A trainer's method with no trainer behind it: `self` has these fields alone."""
  import importlib

  function = inspect.unwrap(getattr(getattr(importlib.import_module(module), cls), method))
  return lambda *args: function(SimpleNamespace(**fields), *args)


def cpo_by_trl(kind, beta, gap=0.0):
  method = trl_method(
    "trl.experimental.cpo",
    "CPOTrainer",
    "cpo_loss",
    loss_type=kind,
    beta=beta,
    label_smoothing=0.0,
    alpha=0.0,
    simpo_gamma=gap,
    accelerator=SimpleNamespace(device="cpu"),
  )
  return lambda chosen, rejected: method(chosen, rejected)[0]


def orpo_by_trl(means):
  # TRL's own is minus this, times beta.
  cpu = SimpleNamespace(device="cpu")
  orpo = ("trl.experimental.orpo", "ORPOTrainer", "odds_ratio_loss")
  method = trl_method(*orpo, beta=1.0, accelerator=cpu)
  return -method(means[:, 0], means[:, 1])[0]


def kto(x, g, beta, good, bad):
  """Written from the paper: utilities v(x, y) of eq. 7, and λ_y - v of eq. 8."""
  gain = x - g["reference_A2"]
  z = gain[:, 1].mean().clamp(min=0).detach()
  value = torch.where(
    g["desirable_A"] == 1,
    good * torch.sigmoid(beta * (gain[:, 0] - z)),
    bad * torch.sigmoid(beta * (z - gain[:, 0])),
  )
  return torch.where(g["desirable_A"] == 1, good, bad) - value


def dpop(x, g, beta, penalty):
  ratio = (x - g["reference_A2"]).exp().log()
  lost = F.relu(g["reference_A2"][:, 0] - x[:, 0])  # clamp has slope 1 at 0, where a pair is
  return F.softplus(-beta * (ratio[:, 0] - ratio[:, 1] - penalty * lost))


def tdpo(x, g, beta, kl_weight):
  gain = x - g["reference_A2"]
  u = beta * gain[:, 0] - beta * gain[:, 1]
  delta = beta * g["kl_A2"][:, 1] - (beta * g["kl_A2"][:, 0]).detach()
  return F.binary_cross_entropy_with_logits(
    u - kl_weight * delta, torch.ones(PAIRS), reduction="none"
  )


def cringe(x, g, b, temperature, weight):
  gate = 1 / (1 + torch.exp(-(b - (x[:, 0] - x[:, 1])) / temperature))
  n = g["lengths_A2"]
  return gate * (-x[:, 0] / n[:, 0] + weight * g["contrast_A2"][:, 1] / n[:, 1])


def plackett_luce(x, g, beta):
  """Row by row: the chance to draw the ranking one answer after the other."""
  losses = []
  for gain, scores in zip(x - g["reference_AS"], g["scores_AS"], strict=True):
    left, loss = scores.argsort(descending=True).tolist(), 0.0
    while left:
      loss = loss - F.log_softmax(beta * gain[left], 0)[0]
      left = left[1:]
    losses.append(loss)
  return torch.stack(losses)


def rrhf(x, g):
  losses = []
  for p, scores in zip(x / g["lengths_AS"], g["scores_AS"], strict=True):
    both = [(i, j) for i in range(ANSWERS) for j in range(ANSWERS) if scores[i] < scores[j]]
    losses.append(sum(torch.clamp(p[i] - p[j], min=0) for i, j in both))
  return torch.stack(losses)


def lipo(x, g, beta):
  losses = []
  for s, scores in zip(beta * (x - g["reference_AS"]), g["scores_AS"], strict=True):
    wins = [torch.stack([torch.sigmoid(a - b) for b in scores]).mean() for a in scores]
    place = {int(i): n for n, i in enumerate(s.detach().argsort(descending=True), 1)}
    total = 0.0
    for i in range(ANSWERS):
      for j in range(ANSWERS):
        if scores[i] > scores[j]:
          gain = abs(2 ** wins[i] - 2 ** wins[j])
          discount = abs(
            1 / torch.tensor(1.0 + place[i]).log() - 1 / torch.tensor(1.0 + place[j]).log()
          )
          total = total + gain * discount * F.softplus(s[j] - s[i])
    losses.append(total)
  return torch.stack(losses)


def contrast(x, g):
  """Cringe's loss of a token against the most probable other one (k = 1), as a two-way choice."""
  losses = []
  for row, target in zip(x, g["targets_T"], strict=True):
    others = torch.cat([row[:target], row[target + 1 :]])
    two = torch.stack([row[target], others.max()])
    losses.append(F.cross_entropy(two[None], torch.tensor([1])))
  return torch.stack(losses)


def token_kl(x, g):
  reference = Categorical(logits=g["reference_logits_TV"])
  return kl_divergence(reference, Categorical(logits=x))


# name -> (the input that it is a function of, the function of it and all inputs)
CASES = {
  "cpo_b0.1": ("policy_A2", lambda x, g: cpo_by_trl("sigmoid", 0.1)(x[:, 0], x[:, 1])),
  "simpo_b2_g1": (
    "policy_A2",
    lambda x, g: cpo_by_trl("simpo", 2.0, 1.0)(*(x / g["lengths_A2"]).T),
  ),
  "odds_ratio": ("policy_A2", lambda x, g: orpo_by_trl(x / g["lengths_A2"])),
  "dpop_b0.3_p50": ("policy_A2", lambda x, g: dpop(x, g, 0.3, 50.0)),
  "tdpo_b0.1_a0.5": ("policy_A2", lambda x, g: tdpo(x, g, 0.1, 0.5)),
  "tdpo_by_kl": ("kl_A2", lambda x, g: tdpo(g["policy_A2"], g | {"kl_A2": x}, 0.1, 0.5)),
  "cringe": ("policy_A2", lambda x, g: cringe(x, g, -1.0, 10.0, 0.5)),
  "kto_b0.1": ("policy_A2", lambda x, g: kto(x, g, 0.1, 1.0, 1.33)),
  "plackett_luce_b0.1": ("policy_AS", lambda x, g: plackett_luce(x, g, 0.1)),
  "rrhf": ("policy_AS", rrhf),
  "lipo_b0.1": ("policy_AS", lambda x, g: lipo(x, g, 0.1)),
  "label_smoothing_0.1": (
    "logits_TV",
    lambda x, g: F.cross_entropy(x, g["targets_T"], label_smoothing=0.1, reduction="none"),
  ),
  "z_loss": ("logits_TV", lambda x, g: torch.logsumexp(x, -1) ** 2),
  "contrast_k1": ("logits_TV", contrast),
  "token_kl": ("logits_TV", token_kl),
  "ensemble": (
    "rewards_A2K",
    lambda x, g: F.binary_cross_entropy_with_logits(
      x[:, 0] - x[:, 1], torch.ones(PAIRS, 3), reduction="none"
    ).mean(-1),
  ),
  "pessimistic_1": ("rewards_A2K", lambda x, g: x.mean(-1) - x.var(-1, unbiased=False)),
}


def main():
  given = inputs()
  made = {"inputs": {name: x.tolist() for name, x in given.items()}}
  for case, (name, function) in CASES.items():
    x = given[name].clone().requires_grad_(True)
    each = function(x, given)
    each.mean().backward()
    made[case] = {"of": name, "each": each.tolist(), "gradient": x.grad.tolist()}
  path = Path(__file__).with_name("losses.json")
  rounded = json.loads(json.dumps(made), parse_float=lambda s: float(f"{float(s):.12g}"))
  lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in rounded.items())
  path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
  print(
    {case: round(float(torch.tensor(v["each"]).mean()), 6) for case, v in made.items() if "of" in v}
  )


if __name__ == "__main__":
  main()
