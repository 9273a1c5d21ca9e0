"""The SQLite file of a study: its items, its annotators, and every vote.

Votes are only ever added. The key of a vote is (annotator, item, revision): the first is revision
1, a change of mind is the next one, and the last one counts. A vote sent twice, because its
acknowledgement was lost, meets its own row and changes nothing; two different ones for one revision
cannot both be stored. `save` returns once SQLite has the vote on disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import random
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from xwinjax.annotate import study
from xwinjax.annotate.study import Answer, Item
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Message, messages_json

VERSION = 1  # of the tables below
BUSY_SECONDS = 30

_TABLES = sa.MetaData()
_SETTINGS = sa.Table(
  "settings",
  _TABLES,
  sa.Column("name", sa.Text, primary_key=True),
  sa.Column("value", sa.Text, nullable=False),
)
_ITEMS = sa.Table(
  "items",
  _TABLES,
  sa.Column("id", sa.Integer, primary_key=True),
  sa.Column("content", sa.Text, nullable=False),
)
_ANNOTATORS = sa.Table(
  "annotators",
  _TABLES,
  sa.Column("id", sa.Integer, primary_key=True),
  sa.Column("name", sa.Text, nullable=False, unique=True),
  sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
)
# What an annotator sees, in this order; `swapped` puts the second answer first.
_PLACES = sa.Table(
  "places",
  _TABLES,
  sa.Column("annotator", sa.ForeignKey("annotators.id"), primary_key=True),
  sa.Column("position", sa.Integer, primary_key=True),
  sa.Column("item", sa.ForeignKey("items.id"), nullable=False),
  sa.Column("swapped", sa.Boolean, nullable=False),
  sa.UniqueConstraint("annotator", "item"),
)
_VOTES = sa.Table(
  "votes",
  _TABLES,
  sa.Column("annotator", sa.ForeignKey("annotators.id"), primary_key=True),
  sa.Column("item", sa.ForeignKey("items.id"), primary_key=True),
  sa.Column("revision", sa.Integer, sa.CheckConstraint("revision > 0"), primary_key=True),
  sa.Column("choices", sa.Text, nullable=False),  # question -> value, as on the page
  sa.Column("seconds", sa.Float, nullable=False),
  sa.Column("at", sa.Text, nullable=False),
)


class Conflict(Exception):
  """Another vote is stored where this one should go, from another window say."""


@dataclasses.dataclass(frozen=True)
class Place:
  """An item as one annotator sees it, with their vote on it, if any."""

  position: int
  item: Item  # answers in the order of the page
  item_id: int
  swapped: bool
  revision: int  # 0: no vote yet
  choices: dict[str, str]


def connect(path: str | Path) -> sa.Engine:
  """An engine whose transactions SQLAlchemy begins and which survives a kill at any moment."""
  engine = sa.create_engine(f"sqlite+pysqlite:///{path}")

  @event.listens_for(engine, "connect")
  def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # pysqlite's own BEGINs come too late
    for pragma in (
      f"busy_timeout={BUSY_SECONDS * 1000}",
      "journal_mode=WAL",
      "synchronous=FULL",
      "foreign_keys=ON",
    ):
      connection.execute(f"PRAGMA {pragma}")

  @event.listens_for(engine, "begin")
  def _begin(connection: sa.Connection) -> None:
    # A writer takes its lock at once: one that read first could not wait for another.
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

  return engine


class Store:
  """A study's file. Safe to use from many threads, and from many processes."""

  def __init__(self, path: str | Path):
    """Opens an existing file. Raises UserError where it is none of ours."""
    self.path = Path(path)
    if not self.path.is_file():
      raise UserError(f"{path}: no such file; --prompts and --answers begin a study there")
    self._engine = connect(path)
    self._lock = threading.Lock()
    try:
      self._read()
    except UserError:
      self._engine.dispose()
      raise

  def _read(self) -> None:
    """Settings and items, seen to be the ones that the study began with."""
    path = self.path
    with readable(path), self._engine.connect() as c:
      problem = c.exec_driver_sql("PRAGMA quick_check(1)").scalar()
      if problem != "ok":
        raise UserError(f"{path}: not a usable file of votes ({str(problem).splitlines()[-1]})")
      version = c.exec_driver_sql("PRAGMA user_version").scalar()
      if version != VERSION:
        raise UserError(f"{path}: not a file of votes of version {VERSION}, but {version}")
      self.settings = {r.name: json.loads(r.value) for r in c.execute(sa.select(_SETTINGS))}
      rows = c.execute(sa.select(_ITEMS).order_by(_ITEMS.c.id)).all()
      contents, ask = [r.content for r in rows], self.settings["ask"]
      if self.settings["sha256"] != _items_sha256(contents, ask, self.settings["seed"]):
        raise UserError(f"{path}: its items are not the ones that the study began with")
      self.items = {r.id: item_of(json.loads(r.content)) for r in rows}
      self.ask: tuple[str, ...] = tuple(ask)

  @classmethod
  def create(cls, path: str | Path, items: Sequence[Item], ask: Sequence[str], seed: int) -> Store:
    """Begins a study, or opens the file where that has been done with the same items.

    Raises: UserError where it was begun with others.
    """
    path = Path(path)
    contents = [jsonl.dumps(item_json(item)) for item in items]
    digest = _items_sha256(contents, list(ask), seed)
    settings = {"ask": list(ask), "seed": seed, "sha256": digest}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)  # votes are for their owner; what SQLite puts beside it has the same mode
    engine = connect(path)
    with readable(path), engine.execution_options(begin="BEGIN IMMEDIATE").begin() as c:
      if not c.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar():
        _TABLES.create_all(c)
        c.execute(
          sa.insert(_SETTINGS), [{"name": k, "value": json.dumps(v)} for k, v in settings.items()]
        )
        c.execute(sa.insert(_ITEMS), [{"content": content} for content in contents])
        c.exec_driver_sql(f"PRAGMA user_version={VERSION}")
    engine.dispose()
    store = cls(path)
    if store.settings != settings:
      raise UserError(
        f"{path}: was begun with other items or settings; name another --db, or leave --prompts "
        "and --answers out to go on with it"
      )
    return store

  def close(self) -> None:
    self._engine.dispose()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[sa.Connection]:
    """A transaction that has the write lock; on disk when the block has ended.

    SQLite's writers wait for each other by polling: our own threads queue instead.
    """
    with self._lock, self._engine.execution_options(begin="BEGIN IMMEDIATE").begin() as c:
      yield c

  # Annotators

  def annotators(self) -> dict[str, int]:
    """name -> id."""
    with self._engine.connect() as c:
      return {r.name: r.id for r in c.execute(sa.select(_ANNOTATORS).order_by(_ANNOTATORS.c.id))}

  def add_annotator(self, name: str) -> str:
    """Returns the new annotator's token, from os.urandom. The file keeps its hash alone.

    The order of items and of the two answers is drawn here, by the study's seed and the name; half
    of the items are shown swapped. Raises UserError for a name that is taken or unfit.
    """
    if not study.NAME.fullmatch(name):
      raise UserError(f"--annotators: {name!r} is no name; letters, digits, spaces and . + - _")
    token = secrets.token_urlsafe(18)
    rng = random.Random(f"{self.settings['seed']} {name}")
    order = rng.sample(sorted(self.items), len(self.items))
    # A check says what to choose by the names on the page, so it is shown as it is.
    swappable = [i for i in order if len(self.items[i].answers) == 2 and not self.is_check(i)]
    swapped = set(rng.sample(swappable, (len(swappable) + rng.randrange(2)) // 2))
    try:
      with self._writing() as c:
        c.execute(sa.insert(_ANNOTATORS), {"name": name, "token_sha256": _sha256(token)})
        number = c.execute(sa.select(_ANNOTATORS.c.id).where(_ANNOTATORS.c.name == name)).scalar()
        c.execute(
          sa.insert(_PLACES),
          [
            {"annotator": number, "position": n, "item": i, "swapped": i in swapped}
            for n, i in enumerate(order, 1)
          ],
        )
    except exc.IntegrityError:
      raise UserError(f"--annotators: there is a {name!r} already") from None
    return token

  def renew_token(self, name: str) -> str:
    """A new token for an annotator; the one before is void from now on."""
    token = secrets.token_urlsafe(18)
    with self._writing() as c:
      done = c.execute(
        sa.update(_ANNOTATORS).where(_ANNOTATORS.c.name == name), {"token_sha256": _sha256(token)}
      )
    if done.rowcount != 1:
      raise UserError(f"--new_link={name}: no such annotator in {self.path}")
    return token

  def find(self, token: str) -> tuple[int, str] | None:
    """(id, name) of the annotator with this token."""
    wanted = sa.select(_ANNOTATORS).where(_ANNOTATORS.c.token_sha256 == _sha256(token))
    with self._engine.connect() as c:
      row = c.execute(wanted).first()
    return (row.id, row.name) if row else None

  # What an annotator sees and says

  def is_check(self, item: int) -> bool:
    return self.items[item].expected is not None

  def progress(self, annotator: int) -> dict[str, int]:
    """How many items are judged, of how many, and the first that is not (total + 1 at the end)."""
    voted = sa.select(_VOTES.c.item).where(_VOTES.c.annotator == annotator).distinct()
    mine = sa.select(_PLACES.c.position).where(_PLACES.c.annotator == annotator)
    with self._engine.connect() as c:
      total = len(c.execute(mine).all())
      rest = c.execute(mine.where(_PLACES.c.item.not_in(voted)).order_by("position")).scalars()
      left = rest.all()
    return {"done": total - len(left), "total": total, "next": left[0] if left else total + 1}

  def place(self, annotator: int, position: int) -> Place | None:
    with self._engine.connect() as c:
      return self._place(c, annotator, position)

  def _place(self, c: sa.Connection, annotator: int, position: int) -> Place | None:
    if not 0 < position < 2**31:  # SQLite's numbers end somewhere
      return None
    where = (_PLACES.c.annotator == annotator) & (_PLACES.c.position == position)
    row = c.execute(sa.select(_PLACES).where(where)).first()
    if row is None:
      return None
    item = self.items[row.item]
    if row.swapped:
      item = dataclasses.replace(item, answers=item.answers[::-1])
    last = c.execute(_revisions(annotator, row.item).limit(1)).first()
    return Place(
      position,
      item,
      row.item,
      row.swapped,
      last.revision if last else 0,
      json.loads(last.choices) if last else {},
    )

  def save(
    self, annotator: int, position: int, revision: int, choices: dict[str, str], seconds: float
  ) -> int:
    """Stores a vote and returns its revision; on disk when this returns.

    Sent again, it changes nothing. Raises ValueError for a position or choices that do not exist,
    Conflict where a different vote holds this revision or one before it is missing.
    """
    with self._writing() as c:
      place = self._place(c, annotator, position)
      if place is None:
        raise ValueError(f"no item at position {position}")
      asked = {q.name: [v for v, _, _ in q.choices] for q in study.questions(place.item, self.ask)}
      if choices.keys() != asked.keys() or any(choices[q] not in asked[q] for q in asked):
        raise ValueError("choices: expected one of the choices of each question")
      key = {"annotator": annotator, "item": place.item_id, "revision": revision}
      if revision == place.revision + 1:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        c.execute(
          sa.insert(_VOTES), {**key, "choices": jsonl.dumps(choices), "seconds": seconds, "at": now}
        )
        return revision
      before = c.execute(_revisions(annotator, place.item_id)).all()
    if not any(r.revision == revision and json.loads(r.choices) == choices for r in before):
      raise Conflict(f"revision {place.revision} is stored, not what revision {revision} was to be")
    return revision

  def votes(self) -> Iterator[tuple[str, Item, bool, sa.Row]]:
    """(annotator, item, swapped, vote row) of every vote that counts."""
    newest = (
      sa.select(_VOTES.c.annotator, _VOTES.c.item, sa.func.max(_VOTES.c.revision).label("revision"))
      .group_by(_VOTES.c.annotator, _VOTES.c.item)
      .subquery()
    )
    rows = (
      sa.select(_VOTES, _PLACES.c.swapped, _ANNOTATORS.c.name)
      .join(
        newest,
        (_VOTES.c.annotator == newest.c.annotator)
        & (_VOTES.c.item == newest.c.item)
        & (_VOTES.c.revision == newest.c.revision),
      )
      .join(
        _PLACES, (_VOTES.c.annotator == _PLACES.c.annotator) & (_VOTES.c.item == _PLACES.c.item)
      )
      .join(_ANNOTATORS, _VOTES.c.annotator == _ANNOTATORS.c.id)
      .order_by(_VOTES.c.annotator, _PLACES.c.position)
    )
    with self._engine.connect() as c:
      records = c.execute(rows).all()
    for row in records:
      yield row.name, self.items[row.item], row.swapped, row


def _revisions(annotator: int, item: int) -> sa.Select:
  where = (_VOTES.c.annotator == annotator) & (_VOTES.c.item == item)
  return sa.select(_VOTES).where(where).order_by(_VOTES.c.revision.desc())


def _sha256(token: str) -> str:
  return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _items_sha256(contents: list[str], ask: list[str], seed: int) -> str:
  return hashlib.sha256(json.dumps([contents, ask, seed]).encode()).hexdigest()


# What SQLite says of a damaged file, and what reading its damaged rows comes to.
_DAMAGED = (
  exc.SQLAlchemyError,
  sqlite3.Error,
  ValueError,
  LookupError,
  TypeError,
  AttributeError,
  RecursionError,
)


@contextlib.contextmanager
def readable(path: str | Path) -> Iterator[None]:
  """What reading a file that cannot be used raises becomes one line."""
  try:
    yield
  except UserError:
    raise
  except _DAMAGED as e:
    problem = str(getattr(e, "orig", e)).split("\n", 1)[0]
    raise UserError(f"{path}: not a usable file of votes ({problem})") from None


def item_json(item: Item) -> dict[str, Any]:
  return {
    "id": item.prompt_id,
    "prompt": messages_json(item.prompt),
    "answers": [
      {"system": a.system, "messages": messages_json(a.messages), "scores": a.scores}
      for a in item.answers
    ],
    "expected": item.expected,
  }


def item_of(row: dict[str, Any]) -> Item:
  messages = lambda rows: tuple(Message(m["role"], m["content"]) for m in rows)
  return Item(
    row["id"],
    messages(row["prompt"]),
    tuple(Answer(a["system"], messages(a["messages"]), a["scores"]) for a in row["answers"]),
    row["expected"],
  )
