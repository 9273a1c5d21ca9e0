"""The gradients that docs/losses.md shows are those of the losses."""

import json
import math

import pytest

from xwinjax.losses import preference, table


@pytest.fixture
def tool_(tool):
  return tool("gradients")


def check_by_hand(tool_):
  """βσ(-βm) for DPO, -2(m - 1/(2β)) for IPO, β up to 1/β for hinge; both answers alike."""
  beta, found = 0.1, {n: tool_.weights(c) for n, c in tool_.methods().items()}
  by_hand = {
    "dpo": lambda m: beta / (1 + math.exp(beta * m)),
    "ipo": lambda m: -2 * (m - 1 / (2 * beta)),
    "hinge": lambda m: beta * (m < 1 / beta),
  }
  for name, weight in by_hand.items():
    wanted = [weight(m) for m in tool_.MARGINS if m != 1 / beta]
    kept = 1 / beta != tool_.MARGINS
    for column in (0, 1):
      assert found[name][kept, column].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


def test_weights_are_those_worked_by_hand(tool_):
  check_by_hand(tool_)


def test_twin_another_sign_is_noticed(tool_, monkeypatch):
  wrong = lambda gain_A2, *, beta, label_smoothing: -preference.dpo(gain_A2, beta=beta)
  monkeypatch.setitem(table.LOSSES, "sigmoid", wrong)
  with pytest.raises(AssertionError, match="dpo"):
    check_by_hand(tool_)


def test_a_chosen_answer_that_lost_is_pushed_harder_by_dpop(tool_):
  chosen, rejected = tool_.weights(tool_.methods()["dpop"])[0]  # at the lowest margin
  assert chosen / rejected == pytest.approx(1 + 50)


def test_every_loss_of_log_probs_alone_is_drawn(tool_, tmp_path, capsys):
  options = tool_.arguments(["--json", str(tmp_path / "made" / "g.png")])
  tool_.main(options)
  drawn = set(json.loads(capsys.readouterr().out)) - {"margins"}
  variants = {name for n in drawn for _, name in table.terms(tool_.methods()[n].variant)}
  assert variants == set(table.LOSSES) - {"cringe", "plackett_luce", "rrhf", "lipo"}
  assert (tmp_path / "made" / "g.png").read_bytes()[:4] == b"\x89PNG"
