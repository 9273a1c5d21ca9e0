"""What cuts text into pieces: a SentencePiece model, or a tokenizer.json.

Both give pieces of plain text only: a text that spells a special token stays text.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import sentencepiece as spm
import tokenizers

from xwinjax.core.errors import UserError

# A token written like this is a mark, whatever the file calls it: text must not become it.
_MARK = re.compile(r"<\S+>|\[[A-Z_/]+\]")


# A word as SentencePiece sees it: blanks, written ▁, stand before what they part.
_WORD = re.compile("▁*[^▁]+|▁+")
OTHER = "<unk>"  # text that other text is put behind
WORDS, LONG = 2**17, 48  # words remembered, and the characters of one, at most


class Pieces(Protocol):
  """A vocabulary of pieces; special tokens beyond them are the tokenizer's."""

  blank: bool  # a stretch of text opens with a blank of the vocabulary's own, as Llama 1 and 2's do
  doubles: bool  # it does so before a blank, too

  def size(self) -> int:
    """Ids run below this."""
    ...

  def special(self) -> Mapping[str, int]:
    """Special tokens of its own, name -> id."""
    ...

  def id_of(self, piece: str) -> int | None: ...

  def piece(self, i: int) -> str: ...

  def encode(self, texts: Sequence[str], opens: bool) -> list[list[int]]:
    """Ids of each text; without `opens` the blank of `blank` is left out."""
    ...

  def decode(self, ids: Sequence[int], opens: bool) -> str: ...


class SentencePieces:
  """A `tokenizer.model`."""

  def __init__(self, path: Path, blob: bytes):
    try:
      self._sp = spm.SentencePieceProcessor(model_proto=blob)  # pyright: ignore[reportCallIssue]
      self._size = self._sp.get_piece_size()
      # A ValueError for one that is not UTF-8.
      pieces = [self._sp.id_to_piece(i) for i in range(self._size)]
    except (RuntimeError, OSError, ValueError) as e:
      raise UserError(f"{path}: not a SentencePiece model ({e})") from None
    self.bos, self.eos, self.unk = self._sp.bos_id(), self._sp.eos_id(), self._sp.unk_id()
    if self.bos < 0 or self.eos < 0:
      raise UserError(f"{path}: has no BOS or no EOS token; both are needed")
    self.blank = self.doubles = True
    control = filter(self._sp.is_control, range(self._size))
    self._special = {self._sp.id_to_piece(i): i for i in control}
    self._control = frozenset(self._special.values())
    self._known: dict[str, list[int]] = {}
    self._ids_other = len(self._sp.encode(OTHER))
    self._normal_other = len(f"▁{OTHER}")
    # Words can be cut one by one where no piece reaches over the end of one.
    over = any("▁" in piece.lstrip("▁") for piece in pieces)
    self._by_words = not over and self._sp.normalize(OTHER) == f"▁{OTHER}"

  def size(self) -> int:
    return self._size

  def special(self) -> dict[str, int]:
    return self._special

  def id_of(self, piece: str) -> int | None:
    i = self._sp.piece_to_id(piece)
    return i if self._sp.id_to_piece(i) == piece else None

  def piece(self, i: int) -> str:
    return self._sp.id_to_piece(int(i))

  def encode(self, texts: Sequence[str], opens: bool) -> list[list[int]]:
    if not self._by_words:
      return self._in_one_piece(texts, opens)
    skip = 0 if opens else self._normal_other
    normal = self._sp.normalize(_behind(texts, opens))
    return [
      # Where a word is another once it is normalised again, the text is cut in one piece.
      self._joined(form[skip:]) or self._in_one_piece([text], opens)[0]
      for form, text in zip(normal, texts, strict=True)
    ]

  def _in_one_piece(self, texts: Sequence[str], opens: bool) -> list[list[int]]:
    skip = 0 if opens else self._ids_other
    return [ids[skip:] for ids in self._sp.encode(_behind(texts, opens))]

  def _joined(self, normal: str) -> list[int] | None:
    """Ids of a text in the form in which SentencePiece cuts it, from its words'; None by `_cut`."""
    ids: list[int] = []
    known, add = self._known, ids.extend
    for word in _WORD.findall(normal):
      found = known.get(word)
      if found is None:
        found = self._cut(word)
        if found is None:
          return None
      add(found)
    return ids

  def _cut(self, word: str) -> list[int] | None:
    """Ids of one word, remembered; None where SentencePiece would not see this word in it."""
    opens = word.startswith("▁")
    text = word[1:] if opens else OTHER + word  # not as a list, for which threads are started
    if self._sp.normalize(text) != (word if opens else f"▁{text}"):
      return None
    ids = self._sp.encode(text)[0 if opens else self._ids_other :]
    if len(word) <= LONG:
      if len(self._known) >= WORDS:
        self._known.clear()
      self._known[word] = ids
    return ids

  def decode(self, ids: Sequence[int], opens: bool) -> str:
    kept = [i for i in ids if 0 <= i < self._size and i not in self._control]
    text = self._sp.decode(kept)
    led = not opens and kept and self._sp.id_to_piece(kept[0]).startswith("▁")
    return " " + text if led else text

  def as_json(self, bos: str, stretches: bool) -> dict[str, Any]:
    """A tokenizer.json that gives the same pieces, for models of Llama's kind: byte-pair merges.

    SentencePiece joins the two neighbours whose piece has the best score; so merges are ranked by
    the score of what they make. BOS opens a text, and a blank every stretch or, without
    `stretches`, the first alone.
    """
    sp, size = self._sp, self._size
    vocab = {sp.id_to_piece(i): i for i in range(size)}
    odd = (sp.is_control, sp.is_unknown, sp.is_byte, sp.is_unused)
    merges: list[tuple[float, int, str, str]] = []
    for piece, i in vocab.items():
      if not any(kind(i) for kind in odd):
        for cut in range(1, len(piece)):
          left, right = piece[:cut], piece[cut:]
          if left in vocab and right in vocab:
            merges.append((-sp.get_score(i), i, left, right))
    token = {"SpecialToken": {"id": bos, "type_id": 0}}
    text = lambda which: {"Sequence": {"id": which, "type_id": 0}}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
      "version": "1.0",
      "added_tokens": [{"id": self.unk, "content": sp.id_to_piece(self.unk), **PLAIN}],
      "normalizer": {
        "type": "Sequence",
        "normalizers": [
          *(step for a, b, steps in _LOSSES for step in steps if sp.encode(a) == sp.encode(b)),
          *([{"type": "Prepend", "prepend": "▁"}, _replace(" ", "▁")] if stretches else []),
        ],
      },
      "pre_tokenizer": None if stretches else _FIRST,
      "post_processor": {
        "type": "TemplateProcessing",
        "single": [token, text("A")],
        "pair": [token, text("A"), text("B")],
        "special_tokens": {bos: {"id": bos, "ids": [vocab[bos]], "tokens": [bos]}},
      },
      "decoder": {
        "type": "Sequence",
        "decoders": [_replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, strip],
      },
      "model": {
        "type": "BPE",
        "unk_token": sp.id_to_piece(self.unk),
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": vocab,
        "merges": [[left, right] for _, _, left, right in sorted(merges)],
      },
    }


def _behind(texts: Sequence[str], opens: bool) -> list[str]:
  """The texts, or each behind other text, where SentencePiece puts no blank first."""
  return list(texts) if opens else [OTHER + text for text in texts]


# A special token as the files describe one.
PLAIN = {
  "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True
}  # fmt: skip


def _replace(old: str, new: str) -> dict[str, Any]:
  return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _regex(pattern: str, new: str) -> dict[str, Any]:
  return {"type": "Replace", "pattern": {"Regex": pattern}, "content": new}


_FIRST = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}

# What a vocabulary may lose: where it cuts the first text as the second, these steps do so.
_LOSSES = (
  ("ﬁＡ", "fiA", [{"type": "NFKC"}]),
  ("a\nb", "a b", [_regex(r"[\t\n\r\u2028\x85]", " ")]),
  ("a  b", "a b", [_regex(r"\A +| +\z", ""), _regex(" {2,}", " ")]),
)


class JsonPieces:
  """A `tokenizer.json`, run by the `tokenizers` library."""

  def __init__(self, path: Path, blob: bytes, added: Mapping[str, int], special: Iterable[str]):
    """Args:
    added: tokens that other files declare, name -> id; taken in where this one lacks them.
    special: names that are special tokens here, whatever the file says of them.
    """
    try:
      fields = json.loads(blob)
      self.first = _opening(fields) == "first"
      fields = _completed(fields, added, set(special))
      self._load(json.dumps(fields, ensure_ascii=False))
    except Exception as e:  # the library raises plain Exceptions
      raise UserError(f"{path}: not a tokenizer.json that can be read ({_line(e)})") from None
    for token in fields["added_tokens"]:
      if self._plain.token_to_id(token["content"]) != token["id"]:
        raise UserError(
          f"{path}: token {token['content']!r} cannot have the id {token['id']}; is a file missing?"
        )

  def _load(self, text: str) -> None:
    self.json, fields = text, json.loads(text)
    self.blank = _opening(fields) != "never"
    self.doubles = "Metaspace" not in json.dumps(fields.get("pre_tokenizer"))
    self._plain = _tokenizer(fields)
    self._inside = _tokenizer(_with_opening(fields, "never")) if self.blank else self._plain
    self._bytes = "ByteLevel" in json.dumps(fields.get("decoder"))
    self._special = {t["content"]: t["id"] for t in fields["added_tokens"] if t["special"]}
    ids = self._plain.get_vocab(with_added_tokens=True).values()
    self._size = max(ids, default=-1) + 1
    self._whole: tokenizers.Tokenizer | None = None  # made by `with_special`

  def dump(self, stretches: bool) -> str:
    """The file, with all its tokens; without `stretches` blanks are put where it said at first."""
    if stretches or not self.first:
      return self.json
    return json.dumps(_with_opening(json.loads(self.json), "first"), ensure_ascii=False)

  def __getstate__(self) -> tuple[str, bool]:
    return self.json, self.first

  def __setstate__(self, state: tuple[str, bool]) -> None:
    text, self.first = state
    self._load(text)

  def size(self) -> int:
    return self._size

  def special(self) -> dict[str, int]:
    return self._special

  def id_of(self, piece: str) -> int | None:
    return self._plain.token_to_id(piece)

  def piece(self, i: int) -> str:
    if self._bytes:
      return self._plain.decode([int(i)], skip_special_tokens=False)
    return self._plain.id_to_token(int(i)) or f"<{i}>"

  def encode(self, texts: Sequence[str], opens: bool) -> list[list[int]]:
    tokenizer = self._plain if opens else self._inside
    if len(texts) == 1:
      return [tokenizer.encode(texts[0], add_special_tokens=False).ids]
    return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

  def decode(self, ids: Sequence[int], opens: bool) -> str:
    kept = [i for i in ids if 0 <= i < self._size]
    text = self._plain.decode(kept, skip_special_tokens=True)
    led = not opens and self.blank and kept and self.piece(kept[0]).startswith("▁")
    return " " + text if led else text

  def with_special(self, text: str) -> list[int]:
    """Ids of a text in which special tokens are written out, as the file alone gives them."""
    if self._whole is None:
      self._whole = _tokenizer(json.loads(self.dump(False)))
      self._whole.encode_special_tokens = False
    return self._whole.encode(text, add_special_tokens=False).ids

  def opens_with(self, i: int) -> bool:
    """Whether the file's own post-processor puts the token before a text."""
    return self._plain.encode("a", add_special_tokens=True).ids[:1] == [i]


def _line(e: Exception) -> str:
  return " ".join(str(e).split())[:200]


def _tokenizer(fields: dict[str, Any]) -> tokenizers.Tokenizer:
  made = tokenizers.Tokenizer.from_str(json.dumps(fields, ensure_ascii=False))
  made.encode_special_tokens = True  # a text that spells one stays text
  made.no_padding()
  made.no_truncation()
  return made


def _completed(
  fields: dict[str, Any], added: Mapping[str, int], special: set[str]
) -> dict[str, Any]:
  """The same with every declared token, and its marks special."""
  tokens = [dict(token) for token in fields.get("added_tokens") or []]
  known = {token["content"] for token in tokens}
  for name, i in sorted(added.items(), key=lambda item: item[1]):
    if name not in known:
      tokens.append({"id": i, "content": name, **PLAIN})
  for token in tokens:
    if token["content"] in special or _MARK.fullmatch(token["content"]):
      token["special"] = True
  made = {**fields, "added_tokens": sorted(tokens, key=lambda token: token["id"])}
  return _with_opening(made, "always") if _opening(made) == "first" else made


def _steps(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """Normalizers and pre-tokenizers, those within a sequence too."""
  for room in ("normalizer", "pre_tokenizer"):
    step = fields.get(room) or {}
    yield from step.get("normalizers") or step.get("pretokenizers") or ([step] if step else [])


def _opening(fields: dict[str, Any]) -> str:
  """Where a blank is put before text: always (each stretch), first (a whole text) or never."""
  for step in _steps(fields):
    if step.get("type") == "Prepend" and step.get("prepend") == "▁":
      return "always"
    if step.get("type") == "Metaspace":
      older = "always" if step.get("add_prefix_space", True) else "never"
      return step.get("prepend_scheme", older)
  return "never"


def _with_opening(fields: dict[str, Any], scheme: str) -> dict[str, Any]:
  rooms = ("normalizer", "pre_tokenizer")
  made = {**fields, **{room: copy.deepcopy(fields.get(room)) for room in rooms}}
  for step in _steps(made):
    if step.get("type") == "Prepend" and scheme == "never":
      step["prepend"] = ""
    if step.get("type") == "Metaspace":
      step.pop("add_prefix_space", None)
      step["prepend_scheme"] = scheme
  return made
