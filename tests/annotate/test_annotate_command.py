"""experiments.annotate as people run it: links, restarts, kills, mistakes."""

import http.client
import json
import re
import signal
import socket
import sqlite3

import pytest
from load import lost, run  # pyright: ignore[reportMissingImports]
from small_study import served  # pyright: ignore[reportMissingImports]

from experiments import agreement, annotate


@pytest.fixture
def study(files, tmp_path):
  return [
    "--db",
    str(tmp_path / "votes.db"),
    "--prompts",
    str(files["prompts"]),
    "--answers",
    str(files["ours"]),
    str(files["theirs"]),
  ]


def test_a_server_killed_halfway_lost_nothing(tmp_path):
  good, said = run(tmp_path, annotators=6, votes=10, kills=1)
  assert good, said
  assert "0 lost, 0 double" in said[0]
  assert "60 acknowledged, 60 stored of 60" in said[2]


def test_twin_a_vote_that_was_not_stored_is_lost():
  assert lost({("anna", 1): "A", ("anna", 2): "B"}, {("anna", 1): "A", ("anna", 2): "A"}) == 1
  assert lost({("anna", 1): "A"}, {}) == 1
  assert lost({("anna", 1): "A"}, {("anna", 1): "A", ("anna", 2): "B"}) == 0


def test_links_are_printed_once_and_listen_here_alone(study):
  with served(*study, "--annotators", "anna", "ben b") as (process, links):
    assert links.keys() == {"anna", "ben b"}
    tokens = [link.split("#")[1] for link in links.values()]
    assert all(re.fullmatch(r"[\w-]{24}", token) for token in tokens)
    port = int(links["anna"].split(":")[2].split("/")[0])
    with pytest.raises(OSError):  # noqa: PT011  refused on Linux, no such address elsewhere
      socket.create_connection(("127.0.0.2", port), timeout=2)  # 0.0.0.0 would answer here
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/api/items/{tokens[0]}")  # someone puts it in the address
    assert connection.getresponse().status == 404
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)
    assert process.stdout is not None
    rest = process.stdout.read()
  assert not any(token in rest for token in tokens)
  assert rest.strip() == "stopped"
  with served("--db", study[1], "--annotators", "anna", "carl", "--new_link", "ben b") as (_, new):
    assert new.keys() == {"carl", "ben b"}  # anna's was printed before
    assert new["ben b"] != links["ben b"]


def test_a_study_has_an_annotator_at_first(study):
  with served(*study) as (_, links):
    assert list(links) == ["annotator_1"]


def test_exports(study, tmp_path, capsys):
  with served(*study):
    pass
  for kind in ("jsonl", "csv"):
    out = tmp_path / f"votes.{kind}"
    assert annotate.command(["--db", study[1], "--export", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert out.exists()


def test_a_study_is_read_by_the_agreement_command(make_store, capsys):
  store = make_store("candidates", "ours", ask=("verdict", "usefulness"), checks=0.3)
  for name, best in (("anna", "ours"), ("ben", "candidates")):
    store.add_annotator(name)
    for n in range(1, 5):
      place = store.place(store.annotators()[name], n)
      mine = "AB"[[a.system for a in place.item.answers].index(best)]
      choices = {"verdict": mine, "usefulness A": "3", "usefulness B": "4"}
      store.save(store.annotators()[name], n, 1, place.item.expected or choices, 1.0)
  assert agreement.command([str(store.path), "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert found["comparisons"][0]["win"]["value"] == 0.5  # anna's never, ben's always
  assert found["agreement"]["tie_discounted"]["value"] == 0.0
  assert found["chosen_first_shown"]["n"] == 6
  assert found["people"]["anna"] | {"median_seconds": 0} == {
    "votes": 3,
    "checks": 1,
    "passed": 1,
    "median_seconds": 0,
  }
  assert agreement.command([str(store.path)]) == 0
  assert "3 items without full agreement" in capsys.readouterr().out
  assert store.path.with_suffix(".html").read_text().startswith("<!DOCTYPE html>")


@pytest.fixture
def mistake(capsys, monkeypatch, tmp_path):
  """Runs the command and returns its one line."""
  monkeypatch.chdir(tmp_path)

  def said(*arguments: str) -> str:
    assert annotate.command(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")

  return said


def test_mistakes_are_a_line_each(mistake, study, files, tmp_path):
  assert "votes.db: no such file" in mistake()
  assert mistake(*study[:4]) == (
    "--prompts and --answers go together; without both, --db is gone on with"
  )
  assert "none.jsonl: no such file" in mistake(*study[:-1], "none.jsonl")
  assert mistake(*study, "--ask", "verdicts").startswith("--ask=verdicts: expected some of")
  assert "unrecognized arguments: --host=0.0.0.0" in mistake(*study, "--host=0.0.0.0")
  assert "is no name" in mistake(*study, "--annotators", "<b>", "--port", "0")
  assert "no such annotator" in mistake(*study, "--new_link", "zoe", "--port", "0")
  assert mistake(*study, "--port", "99999").startswith(
    "argument --port: is 99999; expected 0 to 65535"
  )
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    assert mistake(*study, "--port", port) == f"--port={port}: is taken; name another, or 0 for any"
  assert "was begun with other items" in mistake(*study, "--seed", "1")


def test_a_place_that_cannot_be_written(mistake, study, files):
  inside = files["prompts"] / "votes.db"
  assert str(files["prompts"]) in mistake("--db", str(inside), *study[2:])


def test_a_missing_extra_is_a_line(mistake, study, monkeypatch):
  import builtins

  real = builtins.__import__

  def without(name, *rest, **more):
    if name == "xwinjax.annotate":
      raise ModuleNotFoundError("No module named 'starlette'", name="starlette")
    return real(name, *rest, **more)

  monkeypatch.setattr(builtins, "__import__", without)
  assert mistake(*study).startswith(
    "starlette is missing; pip install 'xwinjax[annotate]' gives it"
  )


def test_help_says_what_there_is(capsys):
  with pytest.raises(SystemExit) as stop:
    annotate.command(["--help"])
  assert stop.value.code == 0
  assert "--answers" in capsys.readouterr().out


def test_a_study_left_while_it_was_made_is_made_again(study, tmp_path):
  with sqlite3.connect(study[1]) as c:
    c.execute("PRAGMA journal_mode=WAL")  # as a kill before the first commit leaves it
  with served(*study) as (_, links):
    assert list(links) == ["annotator_1"]
