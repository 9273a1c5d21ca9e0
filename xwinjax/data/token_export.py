"""A tokenizer's files in a folder of ours, such that transformers reads them as we do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import token_files
from xwinjax.data.pieces import JsonPieces, SentencePieces
from xwinjax.data.tokenizer import Tokenizer

# A tokenizer.json is written beside a tokenizer.model where it cuts these as that does.
PROBES = (
  "Hello, world! It's 12345.67 €. ﬁne Ａ",
  "def f(x):\n    return x  # two  blanks\n\tif\t\ty:\n         pass\r\n",
  "  led by blanks " + " ".join(" " * n for n in range(40)),
  "Zoë sagt 🙂 👩\u200d👧: 中文, русский, عربى \u2028\x85\xa0end",
)


def save(
  tokenizer: Tokenizer,
  folder: str | Path,
  *,
  chat_template: str | None = None,
  pad: str = "",
  stretches: bool = True,
) -> list[str]:
  """Writes what `Tokenizer.load` reads, and transformers' AutoTokenizer.

  Args:
    chat_template: Jinja that replaces the folder's own; None leaves what the tokenizer came with.
    pad: name of the token to pad with; "" leaves it open.
    stretches: whether every stretch of text opens with the vocabulary's blank, as ours do, or as
      the files said before.

  Returns: what a user should know, a line each.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  said = _vocabulary(tokenizer, folder, stretches)
  fields = _config(tokenizer)
  if tokenizer.blank and stretches:
    fields["legacy"] = True  # as transformers calls it
  if tokenizer.blank and (folder / token_files.JSON).exists():
    fields["tokenizer_class"] = "PreTrainedTokenizerFast"  # the class that takes it as it is
  if pad:
    fields["pad_token"] = pad
  if chat_template is None:
    chat_template = tokenizer.declared.chat_template
  fields.pop("chat_template", None)
  (folder / token_files.JINJA).unlink(missing_ok=True)
  if chat_template:  # newer versions look beside tokenizer_config.json, older ones in it
    fields["chat_template"] = chat_template
    (folder / token_files.JINJA).write_text(chat_template, encoding="utf-8")
  _write(folder / token_files.CONFIG, fields)
  if (folder / token_files.MAP).exists():
    names = json.loads((folder / token_files.MAP).read_text(encoding="utf-8"))
    roles = {role: fields[role] for role in token_files.ROLES if fields.get(role)}
    _write(folder / token_files.MAP, {**names, **roles})
  return said


def _vocabulary(tokenizer: Tokenizer, folder: Path, stretches: bool) -> list[str]:
  """Copies the vocabulary; of a tokenizer.json beside a tokenizer.model, what is still true."""
  beside = folder / token_files.JSON
  if isinstance(tokenizer.pieces, JsonPieces):
    (folder / token_files.MODEL).unlink(missing_ok=True)
    beside.write_text(tokenizer.pieces.dump(stretches), encoding="utf-8")
    return []
  _copy(tokenizer.path, folder / token_files.MODEL)
  if tokenizer.added:
    _write(folder / token_files.ADDED, tokenizer.added)
  source = tokenizer.path.with_name(token_files.JSON)
  candidates = [source.read_bytes()] if source.exists() else []
  if tokenizer.adds_bos:
    bos = tokenizer.name(tokenizer.special("bos"))
    candidates.append(json.dumps(tokenizer.pieces.as_json(bos, stretches)).encode())
  for blob in candidates:
    try:
      pieces = JsonPieces(source, blob, tokenizer.marks, ())
    except UserError:
      continue
    if _equal(tokenizer, pieces, stretches):
      beside.write_text(pieces.dump(stretches), encoding="utf-8")
      return []
  beside.unlink(missing_ok=True)
  return [
    f"{folder}: no tokenizer.json could be made that cuts text as tokenizer.model does; "
    "transformers may cut some of it otherwise"
  ]


def _equal(tokenizer: Tokenizer, pieces: JsonPieces, stretches: bool) -> bool:
  cut = lambda text: pieces.encode([text], stretches) == [tokenizer.encode(text, stretches)]
  same = all(map(cut, PROBES)) and pieces.first != stretches
  return same and all(pieces.id_of(name) == i for name, i in tokenizer.marks.items())


def _config(tokenizer: Tokenizer) -> dict[str, Any]:
  """tokenizer_config.json: as it was, with the tokens as they are now."""
  was, name = tokenizer.declared.fields, tokenizer.name
  spm = isinstance(tokenizer.pieces, SentencePieces)
  fields: dict[str, Any] = {
    "tokenizer_class": "LlamaTokenizer" if spm else "PreTrainedTokenizerFast",
    "padding_side": "left",
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
    **was,
    "add_bos_token": tokenizer.adds_bos,
    "bos_token": None if tokenizer.bos_id is None else name(tokenizer.bos_id),
    "eos_token": name(tokenizer.eos_id),
  }
  marks = dict(tokenizer.marks)
  if isinstance(tokenizer.pieces, SentencePieces):
    fields["unk_token"] = name(tokenizer.pieces.unk)
    marks[fields["unk_token"]] = tokenizer.pieces.unk
  kept = _described(was)
  fields["added_tokens_decoder"] = {
    str(i): {**_PLAIN, **kept.get(i, {}), "content": content, "special": True}
    for content, i in sorted(marks.items(), key=lambda mark: mark[1])
  } | {str(i): token for i, token in kept.items() if i not in marks.values()}
  listed = [t.get("content") if isinstance(t, dict) else t for t in _listed(was)]
  new = [n for n in tokenizer.added if n not in tokenizer.declared.added]
  if spm or listed or new:
    names = dict.fromkeys([*listed, *(tokenizer.added if spm else new)])
    fields["additional_special_tokens"] = [n for n in names if n]
  return fields


_PLAIN = {"normalized": False, "lstrip": False, "rstrip": False, "single_word": False}


def _described(fields: dict[str, Any]) -> dict[int, dict[str, Any]]:
  decoder = fields.get("added_tokens_decoder") or {}
  return {int(i): token for i, token in decoder.items()}


def _listed(fields: dict[str, Any]) -> list[Any]:
  listed = fields.get("additional_special_tokens") or []
  return listed if isinstance(listed, list) else []


def _copy(source: Path, target: Path) -> None:
  if source.resolve() != target.resolve():
    shutil.copyfile(source, target)


def _write(path: Path, value: Any) -> None:
  path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
