"""ROUGE-L against stored numbers of the rouge-score package, and how fast it is."""

import json
import random
import time
from pathlib import Path

import pytest

from xwinjax.data import rouge
from xwinjax.data.rouge import Pool

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "rouge.json").read_text())


def agrees() -> bool:
  return all(Pool([b]).nearest([a]) == pytest.approx([want], abs=1e-6) for a, b, want in GOLDENS)


def test_equals_the_rouge_score_package():
  assert agrees()
  assert sum(0 < want < 1 for *_, want in GOLDENS) > 40


def test_twin_sets_of_words_are_not_rouge(monkeypatch):
  monkeypatch.setattr(rouge, "words", lambda text: sorted(set(text.lower().split())))
  assert not agrees()


def test_twin_characters_are_not_words(monkeypatch):
  monkeypatch.setattr(rouge, "words", list)
  assert not agrees()


def test_the_nearest_counts():
  pool = Pool(["Count to ten.", "Tell me two facts about Bamol."])
  asked = ["Tell me three facts about Bamol.", "Count to five."]
  assert pool.nearest(asked) == pytest.approx([5 / 6, 2 / 3])
  assert pool.nearest(asked, 0.7) == pytest.approx([5 / 6, 0])
  pool.add("Tell me three facts about Bamol!")
  assert pool.nearest(asked, 0.9) == [1, 0]
  assert Pool().nearest(asked) == [0, 0]
  assert pool.nearest([]) == []


def test_texts_without_latin_letters_are_told_apart():
  assert Pool(["写 一首 诗"]).nearest(["数 到 十", "写 一首 歌"]) == pytest.approx([0, 2 / 3])


def test_more_texts_than_are_compared_at_once():
  texts = [f"say {i}" for i in range(150)]
  assert Pool(texts).nearest(texts[::-1]) == [1.0] * 150


def test_the_matrix_holds_every_two():
  texts = [a for a, _, _ in GOLDENS[:5]]
  matrix = Pool(texts).matrix()
  for i, a in enumerate(texts):
    assert matrix[i] == pytest.approx([Pool([b]).nearest([a])[0] for b in texts], abs=1e-6)


def test_a_hundred_thousand_prompts_are_searched_in_milliseconds():
  rng = random.Random(0)
  texts = [
    " ".join(str(int(rng.paretovariate(0.7))) for _ in range(rng.randint(5, 40)))
    for _ in range(100_000)
  ]
  pool = Pool(texts)
  started = time.perf_counter()
  pool.nearest(texts[:64], 0.7)
  assert (time.perf_counter() - started) / 64 < 0.1  # 6 ms on an idle core
