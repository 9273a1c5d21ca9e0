"""What the server gives and takes."""

import pytest
from small_study import EVIL  # pyright: ignore[reportMissingImports]
from starlette.testclient import TestClient

from xwinjax.annotate.app import make_app
from xwinjax.annotate.store import Store

HERE = "http://127.0.0.1"


@pytest.fixture
def client(store):
  """A client that is anna; client.store is the study."""
  token = store.add_annotator("anna")
  made = TestClient(make_app(store), HERE, headers={"Authorization": f"Bearer {token}"})
  made.store = store
  return made


def post(client, label="A", **changes):
  vote = {"position": 1, "revision": 1, "choices": {"verdict": label}, "seconds": 2.5, **changes}
  return client.post("/api/votes", json={k: v for k, v in vote.items() if v is not ...})


def test_an_item_is_shown_without_the_systems_names(client):
  item = client.get("/api/items/1").json()
  assert item.keys() == {"position", "prompt", "answers", "questions", "revision", "choices"}
  systems = {a.system for i in client.store.items.values() for a in i.answers}
  names = {"ours", "theirs"}
  assert systems == names
  told = {k: v for k, v in item.items() if k != "answers"}  # the texts say their own names here
  assert not any(name in str(told) for name in names)


def test_a_vote_is_saved_and_acknowledged(client):
  answer = post(client, "tie")
  assert answer.json() == {"revision": 1, "done": 1, "total": 3, "next": 2}
  assert client.get("/api/items/1").json()["choices"] == {"verdict": "tie"}
  assert client.get("/api/progress").json() == {
    "annotator": "anna",
    "done": 1,
    "total": 3,
    "next": 2,
  }


def test_a_vote_sent_again_is_acknowledged_again_and_another_is_a_conflict(client):
  assert post(client, "A").json() == post(client, "A").json()
  assert post(client, "B").status_code == 409
  assert post(client, "B", revision=2).status_code == 200


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer x", "Basic x"])
def test_no_token_no_answer(client, header):
  client.headers.pop("authorization")
  if header:
    client.headers["authorization"] = header
  for answer in (client.get("/api/progress"), client.get("/api/items/1"), post(client)):
    assert answer.status_code == 401
    assert "link" in answer.json()["error"]
  assert client.store.progress(1)["done"] == 0


def test_annotators_see_their_own_votes_alone(client):
  post(client)
  other = client.store.add_annotator("ben")
  answer = client.get("/api/progress", headers={"Authorization": f"Bearer {other}"})
  assert answer.json()["done"] == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "0.0.0.0"])
def test_other_names_for_this_machine_are_refused(client, host):
  assert client.get("/", headers={"Host": host}).status_code == 400


def test_every_answer_has_the_policy(client):
  for path in ("/", "/page.js", "/page.css", "/page.svg", "/api/items/1", "/none", "/api/items/99"):
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(client):
  page, script = client.get("/").text, client.get("/page.js").text
  assert "http" not in page.replace('http-equiv="', "")
  assert "<style" not in page
  assert "<script>" not in page
  for way_in in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
    assert way_in not in script


def test_texts_travel_as_they_are_in_json(client):
  texts = [client.get(f"/api/items/{n}") for n in (1, 2, 3)]
  assert all(t.headers["content-type"] == "application/json" for t in texts)
  assert any(EVIL in m["content"] for t in texts for a in t.json()["answers"] for m in a)


@pytest.mark.parametrize(
  "changes",
  [
    {"position": 0},
    {"position": "1"},
    {"position": True},
    {"position": 10**30},
    {"revision": 0},
    {"seconds": -1},
    {"seconds": "1"},
    {"seconds": 10**400},
    {"choices": []},
    {"choices": {"verdict": 1}},
    {"choices": {"verdict": "C"}},
    {"seconds": ...},
    {"more": 1},
    {"position": 4},
  ],
)
def test_a_malformed_vote_is_refused_in_a_line(client, changes):
  answer = post(client, **changes)
  assert answer.status_code == 400
  assert "\n" not in answer.json()["error"]
  assert client.store.progress(1)["done"] == 0


@pytest.mark.parametrize(
  ("body", "status"),
  [
    (b"", 400),
    (b"{", 400),
    (b"\xff", 400),
    (b"[]", 400),
    (b"[" * 50_000, 400),
    (b'{"position": NaN}', 400),
    (b" " * 70_000, 413),
  ],
)
def test_a_body_that_is_no_vote_is_refused(client, body, status):
  assert client.post("/api/votes", content=body).status_code == status


def test_a_body_of_unknown_length_is_refused(client):
  assert client.post("/api/votes", content=iter([b"{}"])).status_code == 411


@pytest.mark.parametrize(
  ("method", "path"),
  [
    ("GET", "/api/votes"),
    ("POST", "/api/progress"),
    ("GET", "/page.py"),
    ("GET", "/api/items/-1"),
    ("GET", "/../store.py"),
  ],
)
def test_there_is_nothing_else(client, method, path):
  assert client.request(method, path).status_code in (404, 405)


def test_a_full_disk_is_said_and_the_vote_not_acknowledged(client, monkeypatch):
  import sqlite3

  from sqlalchemy.exc import OperationalError

  def full(*_, **__):
    raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

  monkeypatch.setattr(Store, "save", full)
  answer = post(client)
  assert answer.status_code == 503
  assert answer.json() == {"error": "not saved: database or disk is full"}
