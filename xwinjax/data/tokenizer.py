"""SentencePiece tokenizers: text to ids and back, special tokens kept apart from text."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece as spm

from xwinjax.core.errors import UserError


class Tokenizer:
  """A SentencePiece model and the special tokens beside it.

  `encode` turns text into ordinary pieces only: no text, whatever it spells, becomes a special
  token. Special tokens are placed by templates, through `special`.
  """

  def __init__(self, model: str | Path, added: dict[str, int] | None = None):
    """Args:
      model: a `tokenizer.model` file.
      added: special tokens beyond those of the model, name -> id.

    Raises: UserError for a file that is no SentencePiece model or lacks BOS or EOS.
    """
    self.path = Path(model)
    try:
      blob = self.path.read_bytes()
      self._sp = spm.SentencePieceProcessor(model_proto=blob)  # pyright: ignore[reportCallIssue]
      size = self._sp.get_piece_size()
    except FileNotFoundError:
      raise UserError(f"{self.path}: no such file; a model folder needs tokenizer.model") from None
    except (RuntimeError, OSError) as e:
      raise UserError(f"{self.path}: not a SentencePiece model ({e})") from None
    if self._sp.bos_id() < 0 or self._sp.eos_id() < 0:
      raise UserError(f"{self.path}: has no BOS or no EOS token; both are needed")
    self.added = dict(added or {})
    for name, i in self.added.items():
      if i < size and self._sp.id_to_piece(i) != name:
        raise UserError(f"{self.path}: added token {name!r} has the id {i} of another piece")
    about = json.dumps(sorted(self.added.items())).encode()
    self._digest = hashlib.sha256(blob + about).hexdigest()

  @classmethod
  def load(cls, folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder: tokenizer.model and, where present, added tokens."""
    folder, added = Path(folder), {}
    if (folder / "added_tokens.json").exists():
      try:
        added = json.loads((folder / "added_tokens.json").read_text(encoding="utf-8"))
      except ValueError as e:
        raise UserError(f"{folder / 'added_tokens.json'}: not valid JSON ({e})") from None
      if not isinstance(added, dict) or not all(type(i) is int and i >= 0 for i in added.values()):
        raise UserError(f"{folder / 'added_tokens.json'}: expected an object of name: id")
    return cls(folder / "tokenizer.model", added)

  def with_special(self, names: Iterable[str]) -> Tokenizer:
    """This tokenizer with further special tokens, at the next free ids."""
    added = dict(self.added)
    for i, name in enumerate((n for n in dict.fromkeys(names) if n not in added), self.vocab_size):
      added[name] = i
    return Tokenizer(self.path, added)

  def save(self, folder: str | Path) -> None:
    """Writes what `load`, and transformers' LlamaTokenizer, read."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if self.path.resolve() != (folder / "tokenizer.model").resolve():
      shutil.copyfile(self.path, folder / "tokenizer.model")
    if self.added:
      (folder / "added_tokens.json").write_text(json.dumps(self.added, indent=1) + "\n")
    piece = self._sp.id_to_piece
    fields: dict[str, Any] = {
      "tokenizer_class": "LlamaTokenizer",
      "legacy": False,
      "add_bos_token": True,
      "add_eos_token": False,
      "bos_token": piece(self.bos_id),
      "eos_token": piece(self.eos_id),
      "unk_token": piece(self._sp.unk_id()),
      "clean_up_tokenization_spaces": False,
    }
    if self.added:  # transformers takes them for special, never for text, from here
      known = {i: piece(i) for i in (self._sp.unk_id(), self.bos_id, self.eos_id)}
      known |= {i: name for name, i in self.added.items()}
      fields["additional_special_tokens"] = list(self.added)
      fields["added_tokens_decoder"] = {
        str(i): {
          "content": name,
          "special": True,
          "normalized": False,
          "lstrip": False,
          "rstrip": False,
          "single_word": False,
        }
        for i, name in sorted(known.items())
      }
    (folder / "tokenizer_config.json").write_text(json.dumps(fields, indent=1) + "\n")

  @property
  def bos_id(self) -> int:
    return self._sp.bos_id()

  @property
  def eos_id(self) -> int:
    return self._sp.eos_id()

  @functools.cached_property
  def vocab_size(self) -> int:
    """Ids run below this, added tokens included."""
    return max([self._sp.get_piece_size(), *(i + 1 for i in self.added.values())])

  def fingerprint(self) -> str:
    """sha256 of everything that decides which ids a text becomes."""
    return self._digest

  def special(self, name: str) -> int:
    """The id of a special token: "bos", "eos", or the token's own text.

    Raises: UserError when the tokenizer lacks it, or has it as a piece that text can produce.
    """
    if name in ("bos", "eos"):
      return self.bos_id if name == "bos" else self.eos_id
    if self.added.get(name, -1) >= self._sp.get_piece_size():
      return self.added[name]
    i = self._sp.piece_to_id(name)
    if i != self._sp.unk_id() and self._sp.is_control(i):
      return i
    presence = (
      "only as a piece that plain text produces" if i != self._sp.unk_id() else "not at all"
    )
    raise UserError(
      f"{self.path}: the template needs the special token {name!r}; this tokenizer has it "
      f"{presence}. Add it to added_tokens.json beside an embedding row, or use another template"
    )

  def encode(self, text: str) -> list[int]:
    """Ids of plain text; no BOS, no EOS, never a special token."""
    return self._sp.encode(text)

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    return self._sp.encode(list(texts))

  def decode(self, ids: Iterable[int]) -> str:
    """The text of ids; special and out-of-range ids are left out."""
    size = self._sp.get_piece_size()
    ids = [int(i) for i in ids]
    return self._sp.decode([i for i in ids if 0 <= i < size and not self._sp.is_control(i)])

  def piece(self, i: int) -> str:
    """How one id is written, for people to look at."""
    if 0 <= i < self._sp.get_piece_size():
      return self._sp.id_to_piece(int(i))
    return next((name for name, n in self.added.items() if n == i), f"<{i}>")


def train_tokenizer(
  texts: Iterable[str], model: str | Path, vocab_size: int, control: Sequence[str] = ()
) -> Tokenizer:
  """Trains a BPE model the way Llama's is made: byte fallback, digits apart, no normalisation.

  Args:
    texts: the corpus.
    model: where to write `tokenizer.model`.
    control: special tokens of its own, such as an end of turn.
  """
  model = Path(model)
  model.parent.mkdir(parents=True, exist_ok=True)
  with model.open("wb") as out:
    spm.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
      sentence_iterator=iter(texts),
      model_writer=out,
      model_type="bpe",
      vocab_size=vocab_size,
      byte_fallback=True,
      split_digits=True,
      normalization_rule_name="identity",
      remove_extra_whitespaces=False,
      character_coverage=1.0,
      num_threads=1,
      control_symbols=list(control),
      unk_id=0,
      bos_id=1,
      eos_id=2,
      pad_id=-1,
      minloglevel=2,
      hard_vocab_limit=False,
    )
  return Tokenizer(model)
