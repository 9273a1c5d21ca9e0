"""What the files of a model folder say of its tokens, wherever they say it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl

CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
JSON, MODEL, JINJA = "tokenizer.json", "tokenizer.model", "chat_template.jinja"
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclasses.dataclass(frozen=True)
class Declared:
  """Tokens beyond a vocabulary's own, and what some of them are for."""

  added: dict[str, int]  # name -> id, the union of all files
  special: tuple[str, ...]  # names of special tokens, with or without an id
  roles: dict[str, str]  # bos_token, eos_token, unk_token, pad_token -> name
  fields: dict[str, Any]  # tokenizer_config.json
  chat_template: str  # Jinja; "" where there is none


def read(folder: Path) -> Declared:
  """Reads added_tokens.json, tokenizer_config.json, special_tokens_map.json and tokenizer.json.

  Raises: UserError for a file that is not what it should be, or two that contradict each other.
  """
  config, names = _object(folder / CONFIG), _object(folder / MAP)
  found: dict[str, tuple[int, str]] = {}
  for file, name, i in [*_numbered(folder, config)]:
    at, where = found.setdefault(name, (i, file))
    if at != i:
      raise UserError(f"{folder}: token {name!r} has the id {at} in {where} and {i} in {file}")
  ids: dict[int, str] = {}
  for name, (i, file) in found.items():
    if ids.setdefault(i, name) != name:
      raise UserError(f"{folder}: tokens {ids[i]!r} and {name!r} both have the id {i} ({file})")
  roles = {}
  for role in ROLES:
    name = _name(config.get(role)) or _name(names.get(role))
    if name:
      roles[role] = name
  special = dict.fromkeys(roles.values())
  for source in (config, names):
    for key in _LISTS:
      values = source.get(key) or []
      values = values.values() if isinstance(values, dict) else values
      special |= dict.fromkeys(filter(None, map(_name, values)))
  for token in _decoder(config).values():
    if token.get("special") and _name(token):
      special[str(_name(token))] = None
  added = {name: i for name, (i, _) in found.items()}
  return Declared(added, tuple(special), roles, config, _chat_template(folder, config))


def _numbered(folder: Path, config: dict[str, Any]):
  """(file, name, id) of every token that a file gives an id."""
  path = folder / ADDED
  if path.exists():
    added = _json(path)
    if not isinstance(added, dict) or not all(type(i) is int and i >= 0 for i in added.values()):
      raise UserError(f"{path}: expected an object of name: id")
    yield from ((ADDED, name, i) for name, i in added.items())
  for i, token in _decoder(config).items():
    name = _name(token)
    if not i.isdecimal() or not name:
      raise UserError(f"{folder / CONFIG}: added_tokens_decoder holds {i!r}: {token!r}")
    yield CONFIG, name, int(i)
  if (folder / JSON).exists():
    for token in _object(folder / JSON).get("added_tokens") or []:
      if not isinstance(token, dict) or type(token.get("id")) is not int or not _name(token):
        raise UserError(f"{folder / JSON}: added_tokens holds {token!r}; expected id and content")
      yield JSON, str(_name(token)), token["id"]


def _decoder(config: dict[str, Any]) -> dict[str, Any]:
  decoder = config.get("added_tokens_decoder") or {}
  return decoder if isinstance(decoder, dict) else {}


def _name(token: Any) -> str | None:
  """A token's text, from a string or an object that describes it."""
  text = token.get("content") if isinstance(token, dict) else token
  return text if isinstance(text, str) and text else None


def _chat_template(folder: Path, config: dict[str, Any]) -> str:
  """The folder's chat template; of several the one called default."""
  if (folder / JINJA).exists():
    try:
      return (folder / JINJA).read_text(encoding="utf-8")
    except ValueError as e:
      raise UserError(f"{folder / JINJA}: not UTF-8 ({e})") from None
  template = config.get("chat_template")
  if isinstance(template, list):
    named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
    template = named.get("default")
  return template if isinstance(template, str) else ""


def _json(path: Path) -> Any:
  try:
    return jsonl.read_json(path)
  except ValueError as e:
    raise UserError(f"{path}: not valid JSON ({e})") from None


def _object(path: Path) -> dict[str, Any]:
  value = _json(path) if path.exists() else {}
  if not isinstance(value, dict):
    raise UserError(f"{path}: found {type(value).__name__}, expected an object")
  return value
