"""Dimension checks, segments, keys, progress."""

import io
import subprocess
import sys

import jax
import numpy as np
import pytest

from xwinjax.core import rng
from xwinjax.core.dims import LETTERS, check_dims
from xwinjax.core.progress import Progress, duration, short
from xwinjax.core.segments import segment, visible


def test_sizes_of_letters_must_agree():
  sizes = check_dims(tokens_BT=np.zeros((2, 5)), logits_BTV=np.zeros((2, 5, 7)))
  assert sizes == {"B": 2, "T": 5, "V": 7}
  with pytest.raises(ValueError, match=r"mask_BT has shape \(2, 4\); expected T = 5 as in tokens"):
    check_dims(tokens_BT=np.zeros((2, 5)), mask_BT=np.zeros((2, 4)))
  with pytest.raises(ValueError, match=r"tokens_BT has shape \(2,\); expected 2 axes \(B, T\)"):
    check_dims(tokens_BT=np.zeros(2))


def test_a_digit_stands_for_itself():
  assert check_dims(rewards_A2=np.zeros((4, 2))) == {"A": 4}
  with pytest.raises(ValueError, match="expected 2 = 2"):
    check_dims(rewards_A2=np.zeros((4, 3)))


def test_dims_are_checked_while_tracing():
  with pytest.raises(ValueError, match="mask_BT"):
    jax.jit(lambda a, b: check_dims(tokens_BT=a, mask_BT=b))(np.zeros((2, 3)), np.zeros((3, 3)))


def test_every_letter_is_explained_once():
  import xwinjax.core.dims as dims

  assert len(set(LETTERS)) == len(LETTERS)
  assert all(f"{letter}  " in dims.__doc__ for letter in LETTERS)


def test_branches_see_their_prompt_and_themselves():
  prompt, one, two, other = segment(1), segment(1, 1), segment(1, 2), segment(2)
  sees = {(one, prompt), (two, prompt), (one, one), (two, two), (prompt, prompt), (other, other)}
  for query in (prompt, one, two, other):
    for key in (prompt, one, two, other):
      assert bool(visible(query, key)) == ((query, key) in sees), (query, key)
  assert segment(3, 255) + 1 == segment(4)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40])
def test_a_seed_beyond_32_bits_is_not_another_seed(seed):
  with pytest.raises(ValueError, match=f"seed is {seed}; expected 0 to 4294967295"):
    rng.base_key(seed)
  ends = [np.asarray(jax.random.key_data(rng.base_key(s))).tolist() for s in (0, 2**32 - 1)]
  assert ends[0] != ends[1]
  lost = np.asarray(jax.random.key_data(jax.random.key(2**40))).tolist()
  assert lost == ends[0]  # the twin: jax alone takes it for seed 0


def test_step_keys_are_functions_of_seed_and_step():
  bits = lambda *args: tuple(np.asarray(jax.random.key_data(rng.step_key(*args))))
  assert bits(0, 5) == bits(0, 5)
  assert len({bits(seed, step) for seed in range(3) for step in range(4)}) == 12
  assert jax.jit(lambda s: jax.random.key_data(rng.step_key(0, s)))(5).tolist() == list(bits(0, 5))


def test_prompt_numbers_are_the_same_in_every_process():
  code = "from xwinjax.core.rng import prompt_number; print(prompt_number('a prompt'))"
  other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert int(other.stdout) == rng.prompt_number("a prompt") == 0xA98310EF
  assert rng.prompt_number("a prompt") != rng.prompt_number("a prompt ")


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands still until it is told otherwise."""
  now = [0.0]
  monkeypatch.setattr("xwinjax.core.progress.time.perf_counter", lambda: now[0])
  return now


def test_progress_off_a_terminal_is_a_few_plain_lines(clock, capsys):
  with Progress("sft", 100, "steps", every=10.0) as progress:
    for _ in range(100):
      clock[0] += 1.0
      progress.advance(tokens=2000, note="loss 0.500")
  printed = capsys.readouterr().err
  lines = printed.splitlines()
  assert lines[0] == "sft 0/100 steps"
  assert lines[1] == "sft 11/100 steps  loss 0.500  2.0k tok/s  eta 1m29s"
  assert lines[-1] == "sft 100/100 steps  loss 0.500  2.0k tok/s  in 1m40s"
  assert len(lines) == 11
  assert "\r" not in printed
  assert "\x1b" not in printed


def test_rates_and_eta_leave_compilation_out(clock, capsys):
  progress = Progress("sft", 10, "steps", done=4, every=1.0)
  clock[0] = 60.0
  progress.leave_out(60.0, 1)
  progress.advance()
  clock[0] = 62.0
  progress.advance(tokens=1000)
  assert progress.tokens_per_second() == 500
  assert capsys.readouterr().err.splitlines()[-1] == "sft 6/10 steps  500 tok/s  eta 8s"


def test_a_failed_piece_of_work_does_not_say_it_is_done(capsys):
  with pytest.raises(RuntimeError), Progress("sft", 2, "steps"):
    raise RuntimeError
  assert capsys.readouterr().err == "sft 0/2 steps\n"


def test_a_terminal_gets_one_bar(monkeypatch):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setattr(sys, "stderr", terminal)
  with Progress("sft", 3, "steps") as progress:
    for _ in range(3):
      progress.advance(note="loss 0.5")
  assert terminal.getvalue().count("\n") == 1
  assert "3/3" in terminal.getvalue()
  assert "loss 0.5" in terminal.getvalue()


def test_numbers_for_people():
  assert [short(n) for n in (7, 1500, 2.5e6, 3e9)] == ["7", "1.5k", "2.5M", "3.0G"]
  assert [duration(s) for s in (5.4, 75, 3 * 3600 + 60)] == ["5s", "1m15s", "3h01m"]
