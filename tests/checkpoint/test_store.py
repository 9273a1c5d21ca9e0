"""Checkpoints come back bit for bit, or are refused in one line."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from xwinjax.checkpoint.store import Store
from xwinjax.core.errors import UserError
from xwinjax.data import seal
from xwinjax.train.optim import OptimConfig, make_optimizer
from xwinjax.train.step import init_state

IDENTITY = {"data": "abc", "train": {"lr": 0.1, "betas": (0.9, 0.95)}, "seed": 0}


@pytest.fixture(scope="module")
def state(params):
  """A training state in which every array holds something."""
  begun = init_state(params, make_optimizer(OptimConfig(), 10))
  leaves, tree = jax.tree.flatten(begun)
  rng = np.random.default_rng(0)
  filled = [jnp.asarray(rng.normal(size=x.shape) * 9, x.dtype) for x in leaves]
  return dataclasses.replace(jax.tree.unflatten(tree, filled), step=jnp.array(4, jnp.int32))


@pytest.fixture(scope="module")
def saved(state, tmp_path_factory):
  """A folder with steps 4 and 8, made once; tests copy it."""
  folder = tmp_path_factory.mktemp("store") / "checkpoints"
  store = Store(folder, IDENTITY)
  store.save(4, state)
  store.save(8, jax.tree.map(lambda x: x + 1, state))
  store.close()
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "checkpoints")


def empty(state):
  return jax.tree.map(jnp.zeros_like, state)


def same_bits(a, b) -> bool:
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(
    x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs
  )


def refusal(folder, state, identity=None) -> str:
  with pytest.raises(UserError) as e:
    Store(folder, identity or IDENTITY).restore(empty(state))
  assert "\n" not in str(e.value)
  return str(e.value)


def test_parameters_optimizer_and_step_come_back(folder, state):
  step, restored = Store(folder, IDENTITY).restore(empty(state), step=4)
  assert step == int(restored.step) == 4
  assert same_bits(restored, state)
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  assert len(jax.tree.leaves(restored.opt_state)) > 2 * len(jax.tree.leaves(restored.params))


def test_twin_one_bit_more_is_another_state(folder, state):
  _, restored = Store(folder, IDENTITY).restore(empty(state), step=4)
  first = state.params["norm"]["scale"]
  other = {**restored.params, "norm": {"scale": jnp.nextafter(first, jnp.inf)}}
  assert not same_bits(dataclasses.replace(restored, params=other), state)


def test_the_newest_step_is_restored(folder, state):
  step, restored = Store(folder, IDENTITY).restore(empty(state))
  assert step == 8
  assert same_bits(restored, jax.tree.map(lambda x: x + 1, state))


def test_an_empty_folder_has_nothing_to_restore(tmp_path, state):
  assert Store(tmp_path / "new", IDENTITY).restore(state) is None


def test_arrays_come_back_in_the_layout_that_is_asked_for(folder, state):
  mesh = jax.make_mesh((8,), ("fsdp",))
  spread = NamedSharding(mesh, P("fsdp"))

  def place(x):
    fits = x.ndim and x.shape[0] % 8 == 0
    return jax.device_put(jnp.zeros_like(x), spread if fits else NamedSharding(mesh, P()))

  _, restored = Store(folder, IDENTITY).restore(jax.tree.map(place, state), step=4)
  assert same_bits(restored, state)
  assert restored.params["embed"]["embedding"].sharding == spread


def test_only_the_newest_are_kept(folder, state):
  store = Store(folder, IDENTITY, keep=2)
  store.save(12, state)
  store.finish()
  assert store.steps() == [8, 12]
  assert sorted(p.name for p in folder.iterdir()) == [
    "00000008",
    "00000008.json",
    "00000012",
    "00000012.json",
  ]


def test_a_newest_step_that_was_not_finished_is_ignored_and_written_again(folder, state):
  shutil.copytree(folder / "00000008", folder / "00000012")  # its manifest never came
  (folder / "00000012" / "junk").write_text("half")
  store = Store(folder, IDENTITY)
  assert store.restore(empty(state))[0] == 8
  store.save(12, state)
  store.close()
  step, restored = Store(folder, IDENTITY).restore(empty(state))
  assert step == 12
  assert same_bits(restored, state)


def test_what_a_kill_leaves_is_swept_away_and_steps_stay(folder, state):
  shutil.copytree(folder / "00000008", folder / "00000002")  # killed while it was removed
  (folder / "00000002" / "_METADATA").unlink()
  (folder / "00000012.orbax-checkpoint-tmp-3").mkdir()  # killed while it was written
  store = Store(folder, IDENTITY)
  assert store.restore(empty(state))[0] == 8
  store.sweep()
  left = sorted(p.name for p in folder.iterdir())
  assert left == ["00000004", "00000004.json", "00000008", "00000008.json"]
  assert store.restore(empty(state), step=4)[0] == 4


def test_a_changed_manifest_of_a_step_is_refused(folder, state):
  path = folder / "00000008.json"
  path.write_text(path.read_text().replace('"step": 8', '"step": 9'))
  assert "00000008.json: damaged; delete it to continue from the step before" in refusal(
    folder, state
  )


def test_a_manifest_from_before_seals_is_read(folder, state):
  path = folder / "00000008.json"
  record = json.loads(path.read_text())
  for name in ("sha256", "format", "notes"):
    del record[name]
  path.write_text(json.dumps(record))
  assert Store(folder, IDENTITY).restore(empty(state))[0] == 8


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_what_cannot_be_written_is_one_line(tmp_path, state, monkeypatch, kind):
  store = Store(tmp_path / "new", IDENTITY)

  def fail(*_):
    raise kind("RESOURCE_EXHAUSTED: No space left\n[source: line]")

  monkeypatch.setattr(store._checkpointer, "save", fail)
  with pytest.raises(UserError, match=r"cannot be written \(RESOURCE_EXHAUSTED: No space") as e:
    store.save(4, state)
  assert "\n" not in str(e.value)


def test_a_step_exists_only_once_it_is_finished(tmp_path, state, monkeypatch):
  store, waited = Store(tmp_path / "new", IDENTITY), []
  orbax, wait = store._checkpointer, store._checkpointer.wait_until_finished
  monkeypatch.setattr(orbax, "wait_until_finished", lambda: (waited.append(store.steps()), wait()))
  store.save(1, state)
  assert store.steps() == []
  waited.clear()
  store.finish()
  assert waited == [[]]  # before the step exists
  assert store.steps() == [1]
  store.save(1, empty(state))  # already there: not written again
  store.close()
  assert same_bits(Store(tmp_path / "new", IDENTITY).restore(empty(state))[1], state)


def truncate(path):
  path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
  blob = bytearray(path.read_bytes())
  blob[len(blob) // 2] ^= 1
  path.write_bytes(bytes(blob))


DAMAGES = {
  "truncated": (truncate, "bytes, not"),
  "bit flipped": (flip_a_bit, "is damaged (its sha256 is not the one written)"),
  "missing": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_by_file(damage, folder, state):
  files = sorted(p for p in (folder / "00000008").rglob("*") if p.is_file())
  act, says = DAMAGES[damage]
  for file in (files[0], max(files, key=lambda p: p.stat().st_size)):
    whole = file.read_bytes()
    act(file)
    line = refusal(folder, state)
    assert line.startswith(f"{file}: ")
    assert says in line
    assert "delete 00000008.json to continue from step 4" in line
    file.write_bytes(whole)
  assert Store(folder, IDENTITY).restore(empty(state))[0] == 8
  act(files[0])
  (folder / "00000008.json").unlink()  # the advice is good
  assert Store(folder, IDENTITY).restore(empty(state))[0] == 4


def test_twin_without_hashes_a_flipped_bit_would_not_be_noticed(folder, state, monkeypatch):
  largest = max(
    (p for p in (folder / "00000008").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
  )
  stated = seal.sha256_file(largest)
  flip_a_bit(largest)
  real = seal.sha256_file
  monkeypatch.setattr(seal, "sha256_file", lambda p: stated if p == largest else real(p))
  Store(folder, IDENTITY)._check_files(8, Store(folder, IDENTITY)._read_manifest(8)["files"], [])


def test_another_runs_checkpoint_is_refused_by_field(folder, state):
  other = {**IDENTITY, "data": "xyz", "seed": 1}
  line = refusal(folder, state, other)
  assert "belongs to another run: data was 'abc' and is 'xyz'; seed was 0 and is 1" in line


def test_another_state_is_refused_by_array(folder, state):
  norm = state.params["norm"]["scale"]
  for scale, says in (
    (jnp.zeros((3,)), "is [[16], 'float32']; this run expects [[3], 'float32']"),
    (norm.astype(jnp.bfloat16), "is [[16], 'float32']; this run expects [[16], 'bfloat16']"),
  ):
    params = {**state.params, "norm": {"scale": scale}}
    line = refusal(folder, dataclasses.replace(state, params=params))
    assert ".params['norm']['scale']" in line
    assert says in line
  fewer = {name: p for name, p in state.params.items() if name != "head"}
  assert "this run expects None" in refusal(folder, dataclasses.replace(state, params=fewer))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": 8}', '{"identity": {}, "leaves": 1}'])
def test_a_damaged_manifest_gets_a_line(content, folder, state):
  (folder / "00000008.json").write_text(content)
  line = refusal(folder, state)
  assert line == f"{folder / '00000008.json'}: damaged; delete it to continue from the step before"


def test_a_step_that_is_not_there_gets_a_line(folder, state):
  with pytest.raises(UserError, match=r"no such checkpoint; there are \[4, 8\]"):
    Store(folder, IDENTITY).restore(empty(state), step=5)
