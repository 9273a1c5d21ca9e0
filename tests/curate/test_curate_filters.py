"""Why single examples are dropped."""

import pytest

from xwinjax.core.errors import UserError
from xwinjax.curate.entries import Entry
from xwinjax.curate.filters import FilterConfig, Heldout, reason
from xwinjax.data.records import Message

ANY = FilterConfig(least_score=10, shortest=5, longest=400)


def entry(answer, prompt="Why?", score=None):
  return Entry("1", (Message("user", prompt), Message("assistant", answer)), "s", "", score)


@pytest.mark.parametrize(
  ("answer", "why"),
  [
    ("I think so.", "first person"),
    ("It is my favourite.", "first person"),
    ("I'm sure.", "first person"),
    ("Iron is a metal. AI is not.", ""),
    ('She said: "I am here." So it is.', ""),  # quoted
    ("Run it:\n```\nfor I in my_list: pass\n```\nDone.", ""),  # code
    ("World War I ended in 1918.", "first person"),  # a known false alarm
    ("As mentioned above, salt.", "refers to other answers"),
    ("As I said earlier, salt.", "refers to other answers"),
    ("The other answers are right, salt.", "refers to other answers"),
    ("See the accepted answer.", "refers to other answers"),
    ("On Stack Overflow there is more.", "refers to other answers"),
    ("Salt.\nEdit: and pepper.", "refers to other answers"),
    ("@bob is right: salt.", "refers to other answers"),
    ("The answer to life is 42; questions remain.", ""),
    ("Write to a@b.example for more.", ""),
    ("See https://x.example for it.", "links"),
    ("See [this](x).", "links"),
    ("Hm.", "answer under 5 characters"),
    ("word " * 100, "answer over 400 characters"),
  ],
)
def test_style_and_length(answer, why):
  assert reason(entry(answer), ANY) == why


def test_each_check_can_be_turned_off():
  lax = FilterConfig(shortest=1, first_person=False, elsewhere=False, links=False)
  for answer in ("I think so.", "As mentioned above, salt.", "See https://x.example for it."):
    assert reason(entry(answer), lax) == ""
    assert reason(entry(answer), FilterConfig(shortest=1)) != ""


def test_scores():
  assert reason(entry("Because.", score=9.5), ANY) == "score under 10"
  assert reason(entry("Because.", score=10.0), ANY) == ""
  assert reason(entry("Because."), ANY) == ""
  need = FilterConfig(shortest=5, need_score=True)
  assert reason(entry("Because."), need) == "no score"


def test_held_out_words_in_a_row():
  held = Heldout(["one two three four five six seven", "Name a plum tree", "Why is that?"], 5)
  assert held.shared("Say: TWO, three four five six!\nx") == "two three four five six"
  assert not held.shared("two three four five and six")
  assert held.shared("Please name a plum tree.")  # the whole of a short one
  assert not held.shared("Why is that?")  # too short to be anyone's
  assert not Heldout(["one two three four five six seven"], 0).shared(
    "one two three four five six seven"
  )


def test_grams_too_short_to_mean_anything():
  with pytest.raises(UserError, match="ngram is 2; expected 0 or at least 4"):
    Heldout(["x"], 2)


def test_lengths_in_the_wrong_order():
  with pytest.raises(ValueError, match="shortest 10 is more than longest 5"):
    FilterConfig(shortest=10, longest=5)
