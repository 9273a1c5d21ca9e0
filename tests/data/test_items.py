"""What records become in a row: layout, masks, and what is cut when they are too long."""

import dataclasses

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import items
from xwinjax.data.records import Counts, Message, Pair
from xwinjax.data.templates import Encoded, Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer

LONG = "And so on and so forth, until the row is full. " * 3


def item(made: items.Items, i: int) -> dict[str, list[int]]:
  at = slice(made.offsets[i], made.offsets[i + 1])
  names = ("tokens", "mask", "positions", "branches")
  return {name: getattr(made, name)[at].tolist() for name in names}


def unended(made: items.Items, eos: int) -> int:
  """Items whose last token is not a supervised EOS."""
  last = made.offsets[1:] - 1
  return int(((made.tokens[last] != eos) | (made.mask[last] != 1)).sum())


def test_an_example_is_its_conversation(vicuna, chat):
  example = chat("Hi?", "Hello.", "Why?", "So.")
  made = items.tokenize_examples([example, example], vicuna, 100)
  encoded = vicuna.encode(example.messages)
  n = len(encoded.ids)
  assert item(made, 1) == {
    "tokens": encoded.ids,
    "mask": encoded.mask,
    "positions": list(range(n)),
    "branches": [0] * n,
  }
  assert made.counts == {"kept": 2, "turns": 4}
  assert made.lengths.tolist() == [n, n]
  assert made.targets.tolist() == [sum(encoded.mask)] * 2
  assert not made.branched


def test_loss_on_the_last_answer_alone(vicuna, chat):
  example = chat("Hi?", "Hello.", "Why?", "So.")
  made = items.tokenize_examples([example], vicuna, 100, loss_on="last")
  answer = vicuna.encode_answer("So.")
  assert made.targets.tolist() == [len(answer)]
  assert made.tokens[made.mask == 1].tolist() == answer


@pytest.fixture
def mixed(chat):
  """Conversations of one to four exchanges, some with long answers."""
  texts = [["Hi?", "Hello."] * n for n in (1, 2, 3, 4)] + [["Hi?", LONG]]
  texts += [["Hi?", "Hello.", "Why?", LONG]]
  return [chat(*t, system="S." * (i % 2), id=str(i)) for i, t in enumerate(texts * 3)]


@pytest.mark.parametrize("too_long", ["turns", "cut", "drop"])
def test_no_end_is_cut_without_being_counted(too_long, mixed, vicuna):
  made = items.tokenize_examples(mixed, vicuna, 40, too_long=too_long)
  assert made.lengths.max() <= 40
  cut = sum(n for reason, n in made.counts.items() if "without an end token" in reason)
  dropped = sum(n for reason, n in made.counts.items() if reason.startswith("dropped"))
  assert unended(made, vicuna.tokenizer.eos_id) == cut
  assert (cut > 0) == (too_long == "cut")
  assert made.counts["kept"] == len(made) == len(mixed) - dropped


def test_twin_an_end_that_is_cut_silently_is_noticed(mixed, vicuna, monkeypatch):
  encode = vicuna.encode

  def cut_short(messages):
    whole = encode(messages)
    return Encoded(whole.ids[:40], whole.mask[:40])

  monkeypatch.setattr(vicuna, "encode", cut_short)
  with pytest.raises(AssertionError):
    test_no_end_is_cut_without_being_counted("turns", mixed, vicuna)


def test_turns_leaves_out_the_last_exchanges_until_it_fits(vicuna, chat):
  example = chat("Hi?", "Hello.", "Why?", LONG, "And?", "So.", system="Be brief.")
  made = items.tokenize_examples([example], vicuna, 40)
  assert item(made, 0)["tokens"] == vicuna.encode(example.messages[:3]).ids
  assert made.counts == {"kept": 1, "turns": 1, "cut: last exchanges left out to fit": 1}


def test_a_first_exchange_that_does_not_fit_is_dropped(vicuna, chat):
  made = items.tokenize_examples([chat("Hi?", LONG, "Why?", "So.")], vicuna, 40)
  assert len(made) == 0
  assert made.counts == {"dropped: longer than 40 tokens": 1}


def test_a_row_cut_before_its_answer_is_dropped(vicuna, chat):
  made = items.tokenize_examples([chat(LONG, "So.")], vicuna, 20, too_long="cut")
  assert made.counts["dropped: no supervised token"] == 1
  assert len(made) == 0


def test_unknown_choices_are_refused(vicuna):
  with pytest.raises(UserError, match="too_long 'crop' is not one of turns, blocks, cut, drop"):
    items.tokenize_examples([], vicuna, 40, too_long="crop")
  with pytest.raises(UserError, match="loss_on 'frist' is not one of all, last"):
    items.tokenize_examples([], vicuna, 40, loss_on="frist")


def test_a_pair_shares_its_prompt(vicuna):
  pair = Pair("p", (Message("user", "Hi?"),), "Yes.", "No, no.", margin=0.5)
  made = items.tokenize_pairs([pair], vicuna, 100)
  prompt = vicuna.encode_prompt(pair.prompt)
  chosen, rejected = vicuna.encode_answer("Yes."), vicuna.encode_answer("No, no.")
  n, a, b = len(prompt) - 1, len(chosen), len(rejected)
  assert item(made, 0) == {
    "tokens": [*prompt[:-1], prompt[-1], *chosen, prompt[-1], *rejected],
    "mask": [0] * n + [0] + [1] * a + [0] + [1] * b,
    "positions": [*range(n), *range(n, n + a + 1), *range(n, n + b + 1)],
    "branches": [0] * n + [1] * (a + 1) + [2] * (b + 1),
  }
  assert made.fields["margin"].tolist() == [0.5]
  assert made.branched


def test_a_pair_too_long_loses_the_oldest_exchanges_and_never_an_answer(vicuna, chat):
  prompt = chat(LONG, "Hello.", "Why?", system="Be brief.").messages
  pairs = [
    Pair("cut", prompt, "Yes.", "No."),
    Pair("answer", prompt[-1:], LONG * 2, "No."),
    Pair("question", (Message("user", LONG),), "Yes.", "No."),
  ]
  made = items.tokenize_pairs(pairs, vicuna, 50)
  assert made.ids == ["cut"]
  kept = vicuna.encode_prompt((prompt[0], prompt[-1]))
  assert item(made, 0)["tokens"][: len(kept)] == kept
  assert made.counts == {
    "kept": 1,
    "cut: oldest exchanges of the prompt left out to fit": 1,
    "dropped: answer longer than 50 tokens": 1,
    "dropped: last question too long": 1,
  }
  answers = made.tokens[made.mask == 1].tolist()
  assert answers == vicuna.encode_answer("Yes.") + vicuna.encode_answer("No.")


def test_pairs_with_equal_ids_are_dropped(vicuna):
  made = items.tokenize_pairs([Pair("p", (Message("user", "Hi?"),), "Yes.", "Yes.")], vicuna, 50)
  assert made.counts == {"dropped: equal answers": 1}


def test_answers_to_a_prompt_share_rows_of_some_branches(vicuna, chat):
  texts = ["One.", "Two.", [5, 6, 7], "Four.", "Five."]
  prompt = chat("Hi?").messages
  made = items.tokenize_answers([("a", prompt, texts), ("b", prompt, ["Six."])], vicuna, 100, 2)
  assert made.ids == ["a", "a", "a", "b"]
  assert made.fields["record"].tolist() == [0, 0, 0, 1]
  assert made.fields["first"].tolist() == [0, 2, 4, 0]
  assert [max(item(made, i)["branches"]) for i in range(4)] == [2, 2, 1, 1]
  second = item(made, 1)
  branch = [t for t, b in zip(second["tokens"], second["branches"], strict=True) if b == 1]
  assert branch[1:] == [5, 6, 7]


def test_an_answer_too_long_to_score_is_cut_and_counted(vicuna, chat):
  prompt = chat("Hi?").messages
  made = items.tokenize_answers([("a", prompt, [LONG, "Yes."])], vicuna, 30, 8)
  assert made.counts == {"kept": 2, "cut: answer ends at 30 tokens": 1}
  with pytest.raises(UserError, match="prompt b: longer than 29 tokens"):
    items.tokenize_answers([("b", chat(LONG).messages, ["Yes."])], vicuna, 30, 8)
  for branches in (0, 256):
    with pytest.raises(ValueError, match="must lie between 1 and 255"):
      items.tokenize_answers([], vicuna, 30, branches)


def test_the_fingerprint_is_of_all_that_batches_hold(make_items):
  made = make_items([5, 7], branched=True)
  assert made.fingerprint() == make_items([5, 7], branched=True).fingerprint()
  others = [make_items([7, 5], branched=True), made.with_fields(margin=np.array([0, 2.0]))]
  for name in ("tokens", "mask", "positions", "branches"):
    changed = getattr(made, name).copy()
    changed[3] += 1
    others.append(dataclasses.replace(made, **{name: changed}))
  assert len({m.fingerprint() for m in (made, *others)}) == 7


def test_fit_prompt_counts_what_it_left_out(vicuna, chat):
  counts = Counts()
  messages = chat("One?", "1", "Two?", "2", "Three?").messages
  room = len(vicuna.encode_prompt(messages[2:]))
  assert items.fit_prompt(messages, vicuna, room, counts) == vicuna.encode_prompt(messages[2:])
  assert items.fit_prompt(messages, vicuna, 3, counts) is None
  assert counts == {
    "cut: oldest exchanges of the prompt left out to fit": 1,
    "dropped: last question too long": 1,
  }


def test_text_that_a_vocabulary_loses_is_counted_with_its_first_place(shared, chat):
  lossy = Renderer(get_template("vicuna"), Tokenizer.load(shared / "stories3m-hf"))
  code = "if x:\n    return  1\n"
  rows = [chat("Hi?", "Yes.", id="a"), chat("Code?", code, id="b"), chat("More?", code, id="c")]
  parts = [items.tokenize_examples([row], lossy, 512) for row in rows]
  key = items.LOST + "b"
  assert items.tokenize_examples(rows, lossy, 512).counts[key] == 2
  assert items.joined(parts).counts[key] == 2
  pair = Pair("p", rows[1].messages[:1], "a  b", "So.")
  assert items.tokenize_pairs([pair], lossy, 512).counts[items.LOST + "p"] == 1


def test_twin_a_vocabulary_of_bytes_loses_nothing(vicuna, chat):
  assert vicuna.tokenizer.keeps_text
  made = items.tokenize_examples([chat("Code?", "if x:\n    return  1\n")], vicuna, 512)
  assert not [key for key in made.counts if "give back" in key]
