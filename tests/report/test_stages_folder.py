"""What the three reports say of a folder whose files are damaged."""

import pytest

from xwinjax.core.errors import UserError
from xwinjax.report import chain, lima, rounds


@pytest.mark.parametrize(
  ("reader", "stage"), [(chain.Run, "sft"), (rounds.Run, "baseline/sft"), (lima.Run, "tokens")]
)
def test_a_damaged_manifest_gets_one_line(reader, stage, tmp_path):
  (tmp_path / stage).mkdir(parents=True)
  (tmp_path / stage / "manifest.json").write_text('{"stage": ')
  with pytest.raises(UserError, match=rf"{stage}/manifest.json: damaged; delete"):
    reader(tmp_path)
