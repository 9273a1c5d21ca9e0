"""A stage is done once; what changed since is refused by name, or done again."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.stages import manifest
from xwinjax.stages.config import plumbing


@dataclasses.dataclass(frozen=True)
class Config:
  rate: float = 0.1
  names: tuple[str, ...] = ("a",)
  path: str = plumbing("")


@pytest.fixture
def stage(tmp_path):
  """stage(config, redo=…) runs a stage that copies its input; stage.runs counts how often."""
  source = tmp_path / "input.txt"
  source.write_text("in")
  folder = tmp_path / "run" / "copy"

  def run(config=None, *, redo=False, fails=False):
    def body():
      run.runs += 1
      (folder / "out").mkdir(exist_ok=True)
      (folder / "out" / "copy.txt").write_text(source.read_text())
      if fails:
        raise KeyboardInterrupt
      return {"size": len(source.read_text()), "run": run.runs}

    return manifest.run_stage(
      folder, "copy", config or Config(), {"source": source}, ("out",), body, redo=redo
    )

  run.runs, run.folder, run.source = 0, folder, source
  run.output = folder / "out" / "copy.txt"
  return run


def refusal(stage, *args, **options) -> str:
  with pytest.raises(UserError) as e:
    stage(*args, **options)
  assert "\n" not in str(e.value)
  return str(e.value)


def test_a_done_stage_is_skipped_and_tells_its_figures(stage, capsys):
  assert stage() == {"size": 2, "run": 1}
  assert stage() == {"size": 2, "run": 1}
  assert stage(Config(path="elsewhere")) == {"size": 2, "run": 1}  # plumbing does not count
  assert stage.runs == 1
  assert "copy: done before, in" in capsys.readouterr().err


def test_a_stage_is_taken_from_another_run_that_made_the_same(stage, tmp_path, capsys):
  stage()
  ran = []

  def again(folder, rate=0.1):
    body = lambda: ran.append(1) or (folder / "out").mkdir(parents=True) or {"new": 1}
    inputs = {"source": stage.source}
    return manifest.run_stage(
      folder, "copy", Config(rate), inputs, ("out",), body, like=stage.folder
    )

  assert again(tmp_path / "same") == {"size": 2, "run": 1}
  assert (tmp_path / "same" / "out" / "copy.txt").read_text() == "in"
  assert again(tmp_path / "same") == {"size": 2, "run": 1}  # it stands on its own
  assert not ran
  assert again(tmp_path / "other", rate=0.2) == {"new": 1}  # made with other settings
  stage.source.write_text("other")
  assert again(tmp_path / "input") == {"new": 1}  # of other inputs
  assert len(ran) == 2


def test_a_damaged_stage_is_not_taken(stage, tmp_path):
  stage()
  stage.output.write_text("damaged")
  with pytest.raises(UserError, match="changed since the stage wrote it"):
    manifest.run_stage(
      tmp_path / "b", "copy", Config(), {"source": stage.source}, ("out",), dict, like=stage.folder
    )


def test_the_manifest_says_what_went_in_and_came_out(stage):
  stage()
  record = manifest.read(stage.folder)
  sha = "582967534d0f909d196b97f9e6921342777aea87b46fa52df165389db1fb8ccf"  # of the text "in"
  assert record["inputs"] == {"source": sha}
  assert record["config"] == {"rate": 0.1, "names": ["a"]}
  assert record["figures"] == {"size": 2, "run": 1}
  assert record["outputs"].keys() == {"out"}
  assert record["versions"].keys() >= {"xwinjax", "jax", "python"}
  assert record["seconds"] >= 0


def test_changed_settings_are_refused_by_field(stage):
  stage()
  line = refusal(stage, Config(rate=0.2, names=("a", "b")))
  assert line.startswith(f"{stage.folder}: made with other settings: config.names was ['a'] and is")
  assert "config.rate was 0.1 and is 0.2" in line
  assert "--redo" in line
  assert stage.runs == 1


def test_changed_input_is_refused_by_role(stage):
  stage()
  stage.source.write_text("other")
  assert "inputs.source was" in refusal(stage)


def test_redo_does_it_again(stage):
  stage()
  (stage.folder / "left.txt").write_text("of the first run")
  assert stage(Config(rate=0.2), redo=True) == {"size": 2, "run": 2}
  assert not (stage.folder / "left.txt").exists()
  assert stage(Config(rate=0.2)) == {"size": 2, "run": 2}
  assert stage(Config(rate=0.2), redo=True) == {"size": 2, "run": 2}  # nothing changed


@pytest.mark.parametrize("change", ["edit", "delete", "add"])
def test_changed_output_is_refused(change, stage):
  stage()
  if change == "edit":
    stage.output.write_text("In")
  elif change == "delete":
    stage.output.unlink()
  else:
    (stage.output.parent / "more.txt").write_text("")
  line = refusal(stage)
  file = "more.txt" if change == "add" else "copy.txt"
  said = f"{stage.folder / 'out' / file}: changed since the stage wrote it; restore it"
  assert line.startswith(said)
  (stage.folder / "manifest.json").unlink()  # as the line advises
  assert stage()["run"] == 2


def test_a_stage_that_was_killed_goes_on_with_the_same_settings_only(stage):
  with pytest.raises(KeyboardInterrupt):
    stage(fails=True)
  assert manifest.read(stage.folder) is None
  assert "begun with other settings: config.rate was 0.1" in refusal(stage, Config(rate=0.2))
  assert stage()["run"] == 2
  assert stage()["run"] == 2


@pytest.mark.parametrize("name", ["manifest.json", "settings.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"stage": "copy"}', "\xff"])
def test_a_damaged_manifest_gets_a_line(content, name, stage):
  if name == "manifest.json":
    stage()
  else:
    with pytest.raises(KeyboardInterrupt):
      stage(fails=True)
  (stage.folder / name).write_text(content, encoding="latin-1")
  line = refusal(stage)
  assert line == f"{stage.folder / name}: damaged; delete {stage.folder} to do the stage again"


def test_a_missing_input_gets_a_line(stage):
  stage.source.unlink()
  assert "no such file or folder" in refusal(stage)
  assert not stage.folder.exists()


def test_the_fingerprint_of_a_folder_is_of_names_and_contents(tmp_path):
  found = set()
  for name, text in (("a", "1"), ("a", "2"), ("b", "1")):
    folder = tmp_path / f"{name}{text}"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / name).write_text(text)
    found.add(manifest.fingerprint(folder))
    (folder / "manifest.json").write_text(json.dumps({"seconds": 1}))  # of the stage that made it
    found.add(manifest.fingerprint(folder))
  assert len(found) == 3


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
  folder = tmp_path / "run"
  with manifest.lock(folder):
    (folder / "work").write_text("")
    line = r"another run works here \(pid \d+ on .+\); wait"
    with pytest.raises(UserError, match=line), manifest.lock(folder):
      pass
  with manifest.lock(folder):
    pass


def test_a_run_that_made_nothing_leaves_nothing(tmp_path):
  with pytest.raises(UserError, match="no"), manifest.lock(tmp_path / "run"):
    raise UserError("no")
  assert not (tmp_path / "run").exists()


def test_a_file_is_hashed_once_a_process_until_it_changes(tmp_path, monkeypatch):
  read = []
  real = manifest.sha256_file
  monkeypatch.setattr(manifest, "sha256_file", lambda path: read.append(path.name) or real(path))
  (tmp_path / "model").mkdir()
  weights = tmp_path / "model" / "weights"
  weights.write_text("one")
  first = manifest.fingerprint(tmp_path / "model")
  assert manifest.fingerprint(tmp_path / "model") == first
  assert read == ["weights"]
  weights.write_text("two")
  assert manifest.fingerprint(tmp_path / "model") != first
  assert read == ["weights"] * 2


def test_what_a_kill_left_half_written_is_no_output(tmp_path):
  def write():
    (tmp_path / "s" / "model").mkdir(exist_ok=True)
    (tmp_path / "s" / "model" / "config.json").write_text("{}")
    return {}

  left = tmp_path / "s" / "model" / ".config.json.123.tmp"
  left.parent.mkdir(parents=True)
  left.write_text("{")
  manifest.run_stage(tmp_path / "s", "s", {}, {}, ("model",), write)
  record = manifest.read(tmp_path / "s")
  assert record is not None
  assert not left.exists()
  assert record["files"].keys() == {"model/config.json"}
