"""SentencePiece cuts word by word, remembered, where that gives what it gives for a whole text."""

import functools
import io
import itertools
import random

import pytest
import sentencepiece as spm
from hypothesis import given, settings
from hypothesis import strategies as st

from xwinjax.data import pieces
from xwinjax.data.pieces import OTHER, SentencePieces
from xwinjax.data.tokenizer import train_tokenizer

ODD = [
  " ",
  "  ",
  "\n",
  "\t",
  "▁",
  "▁▁",
  "<unk>",
  "</s>",
  "é",
  "e\u0301",
  "ﬁ",
  "日本",
  "🙂",
  "\u00a0",
  "´",
]
WORDS = ["of", "the", "theory", "a", "A", "1234", "n't", "https://x.y/?z=1", *ODD]
CORPUS = [" ".join(random.Random(i).choices(WORDS, k=12)) for i in range(400)]


@functools.cache
def processor(kind: str) -> spm.SentencePieceProcessor:
  """A vocabulary whose pieces end with words or reach over them, whose text is kept or not."""
  out = io.BytesIO()
  over = kind == "over words"
  spm.SentencePieceTrainer.train(
    sentence_iterator=iter(CORPUS),
    model_writer=out,
    model_type="unigram" if kind == "unigram" else "bpe",
    vocab_size=420,
    byte_fallback=True,
    split_by_whitespace=not over,
    normalization_rule_name="nmt_nfkc" if kind == "normalised" else "identity",
    remove_extra_whitespaces=kind == "normalised",
    add_dummy_prefix=kind != "no blank first",
    user_defined_symbols=["of the"] if kind == "symbols" else [],
    character_coverage=1.0,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  return spm.SentencePieceProcessor(model_proto=out.getvalue())


KINDS = ["plain", "unigram", "normalised", "over words", "no blank first", "symbols"]


@functools.cache
def made(kind: str) -> SentencePieces:
  return SentencePieces("tokenizer.model", processor(kind).serialized_model_proto())


def in_one_piece(kind: str, text: str, opens: bool) -> list[int]:
  sp = processor(kind)
  return sp.encode(text) if opens else sp.encode(OTHER + text)[len(sp.encode(OTHER)) :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opens", [True, False])
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=12).map("".join))
def test_word_by_word_is_the_text_in_one_piece(kind, opens, text):
  assert made(kind).encode([text], opens)[0] == in_one_piece(kind, text, opens)


@pytest.mark.parametrize(
  ("kind", "by_words"),
  [("plain", True), ("unigram", True), ("normalised", True), ("over words", False)],
)
def test_a_vocabulary_that_reaches_over_words_is_not_cut_by_them(kind, by_words):
  assert made(kind)._by_words is by_words


@pytest.mark.parametrize("kind", KINDS)
def test_words_in_every_order(kind):
  for words in itertools.product(("of", "the", "theory", ""), repeat=3):
    text = " ".join(words)
    assert made(kind).encode([text], True)[0] == in_one_piece(kind, text, True)


def test_twin_words_of_a_vocabulary_that_reaches_over_them_are_noticed():
  wrong = SentencePieces("tokenizer.model", processor("over words").serialized_model_proto())
  wrong._by_words = True
  texts = [" ".join(p) for p in itertools.product(("of", "the", "a"), repeat=3)]
  assert any(wrong.encode([t], True)[0] != in_one_piece("over words", t, True) for t in texts)


def test_what_is_remembered_is_bounded(monkeypatch):
  monkeypatch.setattr(pieces, "WORDS", 8)
  small = SentencePieces("tokenizer.model", processor("plain").serialized_model_proto())
  text = " ".join(f"w{i}" for i in range(50))
  assert small.encode([text], True)[0] == in_one_piece("plain", text, True)
  assert len(small._known) <= 8
  small.encode(["x" * 1000], True)
  assert max(map(len, small._known)) <= pieces.LONG


def test_a_trained_tokenizer_and_real_ones_are_cut_by_words(tmp_path, shared):
  from xwinjax.data.tokenizer import Tokenizer

  trained = train_tokenizer(CORPUS, tmp_path / "tokenizer.model", 400)
  real = [Tokenizer.load(shared / name) for name in ("llama2-tokenizer", "stories3m-hf")]
  assert all(t.pieces._by_words for t in (trained, *real))
  texts = (shared / "lima" / "README.md", shared / "MANIFEST.tsv")
  for tokenizer, path in itertools.product(real, texts):
    if path.exists():
      sp = spm.SentencePieceProcessor(model_file=str(tokenizer.path))
      text = path.read_text()
      assert tokenizer.encode(text) == sp.encode(text)
