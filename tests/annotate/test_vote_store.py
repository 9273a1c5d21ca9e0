"""Votes are never lost, never double, and tell what was shown."""

import dataclasses
import json
import sqlite3
import subprocess
import sys
import threading

import pytest

from xwinjax.annotate import export
from xwinjax.annotate.store import Conflict, Store
from xwinjax.core.errors import UserError


def stored(path) -> list[tuple]:
  with sqlite3.connect(path) as c:
    return c.execute("SELECT annotator, item, revision, choices FROM votes").fetchall()


def vote(store, who, position, label, revision=1):
  return store.save(who, position, revision, {"verdict": label}, 1.5)


@pytest.fixture
def anna(store) -> int:
  store.add_annotator("anna")
  return store.annotators()["anna"]


def test_a_vote_is_there_when_save_returns(store, anna):
  vote(store, anna, 1, "A")
  assert len(stored(store.path)) == 1  # another connection sees it
  assert store.progress(anna) == {"done": 1, "total": 3, "next": 2}


def test_the_file_is_wal_and_commits_reach_the_disk(store):
  with store._engine.connect() as c:
    assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_vote_sent_twice_is_one_vote(store, anna):
  assert vote(store, anna, 1, "A") == vote(store, anna, 1, "A") == 1
  assert len(stored(store.path)) == 1


def test_two_windows_cannot_both_vote(store, anna):
  vote(store, anna, 1, "A")
  with pytest.raises(Conflict):
    vote(store, anna, 1, "B")
  with pytest.raises(Conflict):
    vote(store, anna, 1, "B", revision=3)
  assert [json.loads(v[3]) for v in stored(store.path)] == [{"verdict": "A"}]


def test_twin_the_table_itself_refuses_a_double(store, anna):
  vote(store, anna, 1, "A")
  row = stored(store.path)[0]
  with sqlite3.connect(store.path) as c, pytest.raises(sqlite3.IntegrityError):
    c.execute("INSERT INTO votes VALUES (?, ?, ?, ?, 1, '')", row)


def test_a_changed_mind_is_a_revision_and_the_last_one_counts(store, anna):
  vote(store, anna, 1, "A")
  vote(store, anna, 1, "tie", revision=2)
  assert len(stored(store.path)) == 2
  (row,) = export.rows(store)
  assert (row["label"], row["revision"]) == ("tie", 2)
  assert store.place(anna, 1).choices == {"verdict": "tie"}


@pytest.mark.parametrize(
  ("position", "choices"),
  [
    (4, {"verdict": "A"}),
    (0, {"verdict": "A"}),
    (1, {"verdict": "C"}),
    (1, {}),
    (1, {"verdict": "A", "more": "A"}),
  ],
)
def test_what_was_not_asked_is_not_stored(store, anna, position, choices):
  with pytest.raises(ValueError, match=r"no item|choices"):
    store.save(anna, position, 1, choices, 1.0)
  assert stored(store.path) == []


def test_each_annotator_has_an_order_of_their_own_and_keeps_it(make_store, tmp_path):
  store = make_store("ours", "theirs", "candidates", pairs="all")
  for name in ("anna", "ben"):
    store.add_annotator(name)
  order = lambda s, who: [(p.item_id, p.swapped) for n in range(1, 10) if (p := s.place(who, n))]
  anna, ben = (order(store, who) for who in (1, 2))
  assert anna != ben
  assert sorted(i for i, _ in anna) == sorted(i for i, _ in ben) == list(range(1, 10))
  assert all(sum(swapped for _, swapped in places) in (4, 5) for places in (anna, ben))
  store.close()
  assert order(Store(store.path), 1) == anna
  again = make_store("ours", "theirs", "candidates", pairs="all", path=tmp_path / "again.db")
  again.add_annotator("anna")
  assert order(again, 1) == anna  # by the seed and the name
  other = make_store(
    "ours", "theirs", "candidates", pairs="all", seed=1, path=tmp_path / "other.db"
  )
  other.add_annotator("anna")
  assert order(other, 1) != anna


def prefers_ours(store, who) -> None:
  """Votes for the system "ours" wherever it stands on the page."""
  for n in range(1, len(store.items) + 1):
    place = store.place(who, n)
    vote(store, who, n, "AB"[[a.system for a in place.item.answers].index("ours")])


def test_exports_name_systems_whatever_side_they_stood_on(store, anna):
  prefers_ours(store, anna)
  rows = export.rows(store)
  assert {row["label"] for row in rows} == {"A"}
  assert {(row["a"], row["b"]) for row in rows} == {("ours", "theirs")}
  assert {row["shown"] for row in rows} == {"a", "b"}


def test_twin_an_export_that_forgot_the_swap_would_be_noticed(store, anna, monkeypatch):
  prefers_ours(store, anna)
  votes = list(store.votes())
  monkeypatch.setattr(store, "votes", lambda: [(n, i, False, row) for n, i, _, row in votes])
  assert {row["label"] for row in export.rows(store)} == {"A", "B"}


def test_checks_usefulness_grades_and_scores_are_exported(make_store):
  ask = ("verdict", "usefulness", "grades")
  store = make_store("candidates", "ours", ask=ask, checks=0.3)
  store.add_annotator("anna")
  for n in range(1, 5):
    place = store.place(1, n)
    mine = {"verdict": "tie"}
    for side, answer in zip("AB", place.item.answers, strict=True):
      mine[f"usefulness {side}"] = "5" if answer.system == "ours" else "2"
      mine[f"grade {side} 1"] = "excellent" if answer.system == "ours" else "fail"
    store.save(1, n, 1, place.item.expected or mine, 1.0)
  rows = export.rows(store)
  (check,) = [row for row in rows if "check" in row]
  assert check["check"] is True
  for row in rows:
    if "check" not in row:
      assert row["usefulness"] == {"a": 2, "b": 5}
      assert row["grades"] == {"a": ["fail"], "b": ["excellent"]}


def test_scores_of_both_answers_are_exported(make_store, files):
  store = make_store("candidates", "ours", ask=("verdict",))
  scored = [
    dataclasses.replace(
      i,
      answers=tuple(
        dataclasses.replace(a, scores={"rm": float(n)}) for n, a in enumerate(i.answers)
      ),
    )
    for i in store.items.values()
  ]
  store = Store.create(store.path.with_name("scored.db"), scored, ("verdict",), 0)
  store.add_annotator("anna")
  vote(store, 1, 1, "A")
  assert export.rows(store)[0]["scores"] == {"rm": [0.0, 1.0]}


def test_files_of_votes(store, anna, tmp_path):
  prefers_ours(store, anna)
  lines = export.write(store, tmp_path / "v.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in lines] == export.rows(store)
  header, *cells = export.write(store, tmp_path / "v.csv").read_text().splitlines()
  assert header.startswith("id,a,b,annotator,label,shown")
  assert len(cells) == 3
  with pytest.raises(UserError, match=r"ends in \.jsonl or \.csv"):
    export.write(store, tmp_path / "v.xlsx")


def test_a_csv_cell_is_never_a_formula():
  text = export.csv_text([{"id": "=HYPERLINK(1)", "a": "a,b", "seconds": -1.0}])
  assert text.splitlines()[1].startswith('\'=HYPERLINK(1),"a,b",')
  assert ",-1.0," in text


def test_tokens_lie_nowhere_in_the_file(store):
  token = store.add_annotator("anna")
  assert store.find(token) == (1, "anna")
  assert store.find(token[:-1]) is None
  store.close()
  for path in store.path.parent.iterdir():
    assert token.encode() not in path.read_bytes()


def test_a_new_link_makes_the_old_one_void(store):
  before = store.add_annotator("anna")
  after = store.renew_token("anna")
  assert before != after
  assert store.find(before) is None
  assert store.find(after) == (1, "anna")


@pytest.mark.parametrize("name", ["", "=cmd", "a\nb", "x" * 61, "-a", "<b>"])
def test_names_are_plain(store, name):
  with pytest.raises(UserError, match="is no name"):
    store.add_annotator(name)


def test_names_are_taken_once(store):
  store.add_annotator("anna")
  with pytest.raises(UserError, match="there is a 'anna' already"):
    store.add_annotator("anna")


def test_the_same_study_goes_on_and_another_is_refused(make_store):
  store = make_store()
  store.add_annotator("anna")
  vote(store, 1, 1, "A")
  assert make_store().progress(1)["done"] == 1
  with pytest.raises(UserError, match="was begun with other items or settings"):
    make_store("theirs", "ours")
  with pytest.raises(UserError, match="was begun with other items or settings"):
    make_store(seed=1)


@pytest.mark.parametrize("content", [b"not a database, just words " * 99, None])
def test_files_of_others_are_refused_and_left_alone(tmp_path, make_store, content):
  path = tmp_path / "other.db"
  if content is None:
    with sqlite3.connect(path) as c:
      c.execute("CREATE TABLE recipes (x)")
  else:
    path.write_bytes(content)
  before = path.read_bytes()
  for attempt in (lambda: Store(path), lambda: make_store(path=path)):
    with pytest.raises(UserError, match=r"other\.db: not a"):
      attempt()
  if content:
    assert path.read_bytes() == before
  with pytest.raises(UserError, match="no such file"):
    Store(tmp_path / "none.db")


def test_threads_that_race_for_one_revision_leave_one_vote(store, anna):
  won, lost = [], []

  def race(label):
    try:
      won.append(vote(store, anna, 1, label))
    except Conflict:
      lost.append(label)

  threads = [threading.Thread(target=race, args=("AB"[i % 2],)) for i in range(16)]
  for t in threads:
    t.start()
  for t in threads:
    t.join()
  assert len(stored(store.path)) == 1
  assert (len(won), len(lost)) == (8, 8)  # those who said the same, and the others


WRITE_UNTIL_KILLED = """
import json, random, sys
from xwinjax.annotate.store import Store
store, rng = Store(sys.argv[1]), random.Random(0)
for revision in range(1, 100_000):
  label = rng.choice(("A", "B", "tie"))
  store.save(1, 1, revision, {"verdict": label}, 1.0)
  print(json.dumps([revision, label]), flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(store, anna):
  writer = subprocess.Popen(
    [sys.executable, "-c", WRITE_UNTIL_KILLED, str(store.path)], stdout=subprocess.PIPE, text=True
  )
  said = [writer.stdout.readline() for _ in range(60)]
  writer.kill()
  said += writer.stdout.readlines()
  writer.wait()
  # What was cut off in the middle of its line was not acknowledged.
  acknowledged = [tuple(json.loads(line)) for line in said if line.endswith("]\n")]
  found = {r: json.loads(choices)["verdict"] for _, _, r, choices in stored(store.path)}
  assert {r: found.get(r) for r, _ in acknowledged} == dict(acknowledged)
  assert 0 <= len(found) - len(acknowledged) <= 1  # one may be stored and not yet said
  with sqlite3.connect(store.path) as c:
    assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
