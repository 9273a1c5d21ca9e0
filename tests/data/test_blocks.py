"""Conversations longer than the context as blocks of whole exchanges."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xwinjax.core.errors import UserError
from xwinjax.data import fitting, items, preflight
from xwinjax.data.preflight import Look, Settings
from xwinjax.data.records import Example, Message
from xwinjax.stages.sft import SFTConfig

LONG = "And so on and so forth, until the row is full. " * 3
THREE = ("Where is it?", "In the box.", "Who came?", "Ann came.", "And then?", "She left.")


def rows(made: items.Items) -> list[list[int]]:
  return [made.tokens[a:b].tolist() for a, b in zip(made.offsets, made.offsets[1:], strict=False)]


def in_blocks(examples, renderer, max_length: int) -> items.Items:
  return items.tokenize_examples(examples, renderer, max_length, too_long="blocks")


def test_a_long_conversation_is_blocks_of_whole_exchanges(vicuna, chat):
  example = chat(*THREE, system="Be brief.", id="talk")
  system, *turns = example.messages
  two = len(vicuna.encode((system, *turns[:4])).ids)
  made = in_blocks([example], vicuna, two)
  assert rows(made) == [
    vicuna.encode((system, *turns[:4])).ids,
    vicuna.encode((system, *turns[4:])).ids,
  ]
  assert made.ids == ["talk, block 1", "talk, block 2"]
  assert made.counts == {"kept": 1, "turns": 3, fitting.SPLIT: 1, fitting.BLOCKS: 2}
  whole = in_blocks([example], vicuna, two * 2)
  assert (whole.ids, whole.counts) == (["talk"], {"kept": 1, "turns": 3})


def test_an_exchange_that_is_too_long_by_itself_is_left_out_in_words(vicuna, chat):
  made = in_blocks([chat("Hi?", "Hello.", "Why?", LONG, "And?", "So.")], vicuna, 40)
  assert rows(made) == [
    vicuna.encode(chat(*t).messages).ids for t in (("Hi?", "Hello."), ("And?", "So."))
  ]
  assert made.counts["cut: exchanges longer than 40 tokens left out"] == 1
  nothing = in_blocks([chat("Hi?", LONG)], vicuna, 40)
  assert nothing.counts == {"dropped: longer than 40 tokens": 1}


def test_a_block_of_context_alone_is_none(vicuna, chat):
  """Answers marked as context are no reason for a block."""
  *talk, last = chat(*THREE).messages
  made = in_blocks([Example("a", (*talk, Message("assistant", last.content, False)))], vicuna, 40)
  answers = [i for text in THREE[1:4:2] for i in vicuna.encode_answer(text)]
  assert made.tokens[made.mask == 1].tolist() == answers
  assert made.counts == {"kept": 1, "turns": 2, fitting.SPLIT: 1, fitting.BLOCKS: 2}


def check_blocks(examples, renderer, max_length: int) -> None:
  """Every block opens with a question, behind its system turn, and every answer is learned once."""
  made = in_blocks(examples, renderer, max_length)
  given = [m.content for e in examples for m in e.messages if m.role == "assistant"]
  answers = Counter(tuple(renderer.encode_answer(text)) for text in given)
  learned, eos = Counter(), renderer.tokenizer.eos_id
  for a, b in zip(made.offsets, made.offsets[1:], strict=False):
    ids, mask = made.tokens[a:b].tolist(), made.mask[a:b].tolist()
    assert len(ids) <= max_length
    opening = renderer.tokenizer.decode(ids[: mask.index(1)])
    assert "USER:" in opening, "a block opens with an answer"
    run: list[int] = []
    for token, wanted in zip(ids, mask, strict=True):
      run += [token] * wanted
      if wanted and token == eos:
        learned[tuple(run)] += 1
        run = []
  left = sum(n for what, n in made.counts.items() if "left out" in what or "dropped" in what)
  assert learned <= answers, "an answer is learned twice"
  if not left:
    assert learned == answers


@given(
  lengths=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=6), min_size=1, max_size=3),
  max_length=st.integers(30, 90),
)
@settings(
  max_examples=40,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_the_lengths(lengths, max_length, vicuna, chat):
  examples = []
  for i, talk in enumerate(lengths):
    turns = [text * n for k, n in enumerate(talk) for text in (f"Q{k} ", f"A{i}{k} ")]
    examples.append(chat(*turns, system="S." * (i % 2)))
  check_blocks(examples, vicuna, max_length)


def test_twin_a_block_that_opens_with_an_answer(vicuna, chat, monkeypatch):
  check_blocks([chat(*THREE)], vicuna, 40)
  real = fitting.blocks
  monkeypatch.setattr(fitting, "blocks", lambda messages, *given: real(messages[1:], *given))
  with pytest.raises(AssertionError, match="opens with an answer"):
    check_blocks([chat(*THREE)], vicuna, 40)


def test_twin_an_exchange_learned_twice(vicuna, chat, monkeypatch):
  real = fitting.blocks
  monkeypatch.setattr(fitting, "blocks", lambda *given: [*(made := real(*given)), made[-1]])
  with pytest.raises(AssertionError, match="learned twice"):
    check_blocks([chat(*THREE)], vicuna, 40)


def test_the_look_says_how_many_were_split(write, vicuna):
  turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(THREE)]
  file = write("rows.jsonl", [{"id": n, "messages": turns} for n in "ab"])
  look = Look(file, Settings("example", max_length=40, too_long="blocks"), vicuna)
  (line,) = (text for text in preflight.short(look) if "split" in text)
  assert "2 conversations split into 6 blocks" in line
  assert len(look.lengths) == 6
  assert not [line for line in preflight.lines(look) if line.bad and line.name == "tokens"]


def test_the_last_answer_alone_cannot_be_learned_in_blocks():
  with pytest.raises(UserError, match="set loss_on to 'all', or too_long to 'turns'"):
    SFTConfig(too_long="blocks", loss_on="last")
