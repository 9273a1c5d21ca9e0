"""Tokenizers: text to ids and back, special tokens kept apart from text.

Behind one class stands a SentencePiece `tokenizer.model` or a `tokenizer.json`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece as spm

from xwinjax.core.errors import UserError
from xwinjax.data import token_files
from xwinjax.data.pieces import JsonPieces, SentencePieces
from xwinjax.data.token_files import Declared

# Names that a token for padding usually has.
_PADS = ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>")


class Tokenizer:
  """A vocabulary of pieces and the special tokens beside it.

  `encode` turns text into ordinary pieces only: no text, whatever it spells, becomes a special
  token. Special tokens are placed by templates, through `special`.
  """

  def __init__(
    self, model: str | Path, added: dict[str, int] | None = None, declared: Declared | None = None
  ):
    """Args:
      model: a `tokenizer.model` or a `tokenizer.json` file.
      added: special tokens beyond those of the model, name -> id.
      declared: what the files beside it say.

    Raises: UserError for a file that is neither, or lacks EOS; a SentencePiece model needs BOS too.
    """
    self.path = Path(model)
    self.declared = declared or Declared({}, (), {}, {}, "")
    try:
      blob = self.path.read_bytes()
    except FileNotFoundError:
      raise UserError(
        f"{self.path}: no such file; a model folder needs tokenizer.model or tokenizer.json"
      ) from None
    except OSError as e:
      raise UserError(f"{self.path}: {e.strerror}") from None
    added = dict(added or {})
    if self.path.suffix == ".json":
      new = [name for name in added if name not in self.declared.added]
      self.pieces = JsonPieces(self.path, blob, added, (*self.declared.special, *new))
      self.added = dict(self.pieces.special())
    else:
      self.pieces = SentencePieces(self.path, blob)
      self.added = self._beyond(added)
    self.bos_id, self.eos_id = self._ends()
    self.adds_bos = self.bos_id is not None and self._adds_bos()
    about = json.dumps(sorted(self.added.items())).encode()
    if not isinstance(self.pieces, SentencePieces) or self._other_ends():
      about += json.dumps([self.bos_id, self.eos_id, self.adds_bos]).encode()
    self._digest = hashlib.sha256(blob + about).hexdigest()

  def _beyond(self, added: dict[str, int]) -> dict[str, int]:
    """Of the declared tokens of a SentencePiece model, those that are none of its own pieces."""
    for name, i in added.items():
      if i < self.pieces.size() and self.pieces.piece(i) != name:
        raise UserError(f"{self.path}: added token {name!r} has the id {i} of another piece")
    own = self.pieces.special()
    return {name: i for name, i in added.items() if name not in own and name != "<unk>"}

  def _ends(self) -> tuple[int | None, int]:
    """BOS and EOS, as the files beside the vocabulary say, else as it says itself."""
    known = {**self.pieces.special(), **self.added}
    own = self.pieces if isinstance(self.pieces, SentencePieces) else None
    bos = known.get(self.declared.roles.get("bos_token", ""), own and own.bos)
    eos = known.get(self.declared.roles.get("eos_token", ""), own and own.eos)
    if eos is None:
      raise UserError(
        f"{self.path}: no EOS token; tokenizer_config.json beside it names it as eos_token"
      )
    return bos, eos

  def _other_ends(self) -> bool:
    own = self.pieces
    same = isinstance(own, SentencePieces) and (own.bos, own.eos) == (self.bos_id, self.eos_id)
    return not same or not self.adds_bos

  def _adds_bos(self) -> bool:
    says = self.declared.fields.get("add_bos_token")
    if isinstance(says, bool):
      return says
    return not isinstance(self.pieces, JsonPieces) or self.pieces.opens_with(self.bos_id or 0)

  @classmethod
  def load(cls, folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder, with the tokens that any of its files declares."""
    folder = Path(folder)
    declared = token_files.read(folder)
    path = folder / token_files.MODEL
    if (folder / token_files.JSON).exists() and not _is_sentencepiece(path):
      path = folder / token_files.JSON
    made = cls(path, declared.added, declared)
    # What has a name and no id gets the next one, as transformers gives it.
    free = [n for n in declared.special if n not in made.added and made.pieces.id_of(n) is None]
    return made.with_special(free) if free else made

  def with_special(self, names: Iterable[str]) -> Tokenizer:
    """This tokenizer with further special tokens, at the next free ids."""
    added, size = {**self.declared.added, **self.added}, self.vocab_size
    for name in dict.fromkeys(names):
      if name in self.marks:
        continue
      known = self.pieces.id_of(name) if isinstance(self.pieces, JsonPieces) else None
      added[name] = size if known is None else known
      size = max(size, added[name] + 1)
    return Tokenizer(self.path, added, self.declared)

  @functools.cached_property
  def vocab_size(self) -> int:
    """Ids run below this, added tokens included."""
    return max([self.pieces.size(), *(i + 1 for i in self.added.values())])

  @functools.cached_property
  def keeps_text(self) -> bool:
    """Whether text of every kind comes back from its tokens: blanks, lines, forms of letters."""
    odd = "a  b \n\n\tc\r\n ﬁ Ａ e\u0301 \u2028 🙂 \U00020000 "
    return self.decode(self.encode(odd)) == odd

  @property
  def blank(self) -> bool:
    """Whether a stretch of text opens with a blank of the vocabulary's own."""
    return self.pieces.blank

  @property
  def stretches(self) -> bool:
    """Whether the model's files put that blank before every stretch behind a special token."""
    legacy = self.declared.fields.get("legacy")
    if isinstance(legacy, bool):
      return self.blank and legacy
    return self.blank and not (isinstance(self.pieces, JsonPieces) and self.pieces.first)

  @property
  def ends(self) -> tuple[int, ...]:
    """What ends a text: EOS, and the vocabulary's own where the files name another."""
    own = (self.pieces.eos,) if isinstance(self.pieces, SentencePieces) else ()
    return tuple(dict.fromkeys((self.eos_id, *own)))

  @property
  def opening(self) -> list[int]:
    """What opens a text: BOS, where the tokenizer puts one."""
    return [self.bos_id] if self.adds_bos and self.bos_id is not None else []

  @functools.cached_property
  def marks(self) -> dict[str, int]:
    """Every special token, name -> id."""
    beyond = {n: i for n, i in self.added.items() if i >= self.pieces.size()}
    return {**self.pieces.special(), **beyond}

  def pad_id(self, rows: int, ends: Sequence[int]) -> int:
    """A token to pad with: one that has an embedding row and ends no answer, where there is one."""
    names = [self.declared.roles.get("pad_token", ""), *_PADS]
    ids = [self.marks.get(name) for name in names]
    if isinstance(self.pieces, SentencePieces):
      ids.append(self.pieces.unk)
    ids += [self.marks.get("<|reserved_special_token_0|>"), self.bos_id]
    good = (i for i in ids if i is not None and 0 <= i < rows and i not in ends)
    return next(good, self.eos_id)

  def fingerprint(self) -> str:
    """sha256 of everything that decides which ids a text becomes."""
    return self._digest

  def special(self, name: str) -> int:
    """The id of a special token: "bos", "eos", or the token's own text.

    Raises: UserError when the tokenizer lacks it, or has it as a piece that text can produce.
    """
    if name == "bos" and self.bos_id is not None:
      return self.bos_id
    if name == "eos":
      return self.eos_id
    own = self.pieces.special()
    if name in own:
      return own[name]
    if self.added.get(name, -1) >= self.pieces.size():
      return self.added[name]
    known = self.pieces.id_of(name) is not None
    presence = "only as a piece that plain text produces" if known else "not at all"
    raise UserError(
      f"{self.path}: the template needs the special token {name!r}; this tokenizer has it "
      f"{presence}. Add it to added_tokens.json beside an embedding row, or use another template"
    )

  def encode(self, text: str, opens: bool = True) -> list[int]:
    """Ids of plain text; no BOS, no EOS, never a special token.

    Without `opens` the text goes on from other text: no blank is put before it.
    """
    return self.pieces.encode([text], opens)[0]

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    return self.pieces.encode(texts, True)

  def decode(self, ids: Iterable[int], opens: bool = True) -> str:
    """The text of ids; special and out-of-range ids are left out.

    Without `opens` it goes on from other text, and a blank that opens it is kept.
    """
    return self.pieces.decode([int(i) for i in ids], opens)

  def piece(self, i: int) -> str:
    """How one id is written, for people to look at."""
    if 0 <= i < self.pieces.size():
      return self.pieces.piece(int(i))
    return next((name for name, n in self.added.items() if n == i), f"<{i}>")

  def shown(self, i: int) -> str:
    """One id's text as it stands between others: blanks as blanks, ASCII bytes as characters."""
    piece = self.piece(i)
    if re.fullmatch("<0x[0-9A-F]{2}>", piece) and (byte := int(piece[3:5], 16)) < 127:
      return chr(byte)
    return piece.replace("▁", " ")

  def name(self, i: int) -> str:
    """A special token's own text."""
    return next((name for name, n in self.marks.items() if n == i), None) or self.piece(i)


def _is_sentencepiece(path: Path) -> bool:
  if not path.exists():
    return False
  try:
    spm.SentencePieceProcessor(model_proto=path.read_bytes())  # pyright: ignore[reportCallIssue]
  except (RuntimeError, OSError, ValueError):
    return False
  return True


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
