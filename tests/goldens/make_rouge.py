"""Makes rouge.json: ROUGE-L F1 of pairs of texts by Google's rouge-score 0.1.2, without stemming.

pip install rouge-score==0.1.2 && python tests/goldens/make_rouge.py
"""

import json
import random
from pathlib import Path

from rouge_score import rouge_scorer

WORDS = (
  "tell",
  "me",
  "three",
  "two",
  "facts",
  "about",
  "the",
  "red",
  "blue",
  "cave",
  "marsh",
  "what",
  "is",
  "it",
  "how",
  "many",
  "of",
  "eats",
)
TEXTS = [
  ("Tell me two facts about Bamol.", "Tell me three facts about Bamol."),
  ("What's it?", "What is it?"),
  ("Write a poem.", "Write a poem!"),
  ("A b c d", "d c b a"),
  ("Say hi.", "Explain how a 4-stroke engine works, step by step."),
  ("x", "x"),
  ("ROUGE-L is F1", "rouge l IS f1"),
  ("a a a b", "a b a"),
]


def main():
  rng = random.Random(0)
  text = lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 25)))
  pairs = TEXTS + [(text(), text()) for _ in range(60)]
  scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
  rows = [[a, b, scorer.score(a, b)["rougeL"].fmeasure] for a, b in pairs]
  path = Path(__file__).with_name("rouge.json")
  path.write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


if __name__ == "__main__":
  main()
