"""What a machine is good at: measured once and kept; measured again where that is damaged."""

import json

import pytest

from xwinjax.core import machine


def test_the_faster_form_is_chosen_and_an_even_race_goes_to_float32():
  assert machine.Rates(float32=100e9, rounded=400e9).dtype == "mixed"
  assert machine.Rates(float32=297e9, rounded=173e9).dtype == "float32"  # a machine with AMX flags
  assert machine.Rates(float32=100e9, rounded=110e9).dtype == "float32"


def test_a_measurement_is_positive_and_kept(rates_here, tmp_path, monkeypatch):
  rates = rates_here()
  assert rates.float32 > 1e8
  assert rates.rounded > 1e8
  (kept,) = (tmp_path / "machine").glob("*.json")
  assert json.loads(kept.read_text())["float32"] == rates.float32
  rates_here.cache_clear()
  monkeypatch.setattr(machine, "measure", lambda: pytest.fail("measured again"))
  assert rates_here() == rates


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"float32": NaN, "rounded": 1}', '{"float32"'])
def test_a_damaged_record_is_measured_again(rates_here, tmp_path, monkeypatch, damaged):
  monkeypatch.setattr(machine, "measure", lambda: machine.Rates(3e9, 4e9))
  rates_here()
  (kept,) = (tmp_path / "machine").glob("*.json")
  kept.write_text(damaged)
  rates_here.cache_clear()
  monkeypatch.setattr(machine, "measure", lambda: machine.Rates(5e9, 6e9))
  assert rates_here() == machine.Rates(5e9, 6e9)


def test_a_cache_that_cannot_be_written_only_costs_time(rates_here, tmp_path, monkeypatch):
  (tmp_path / "machine").write_text("a file where the folder should be")
  monkeypatch.setattr(machine, "measure", lambda: machine.Rates(3e9, 4e9))
  assert rates_here().rounded == 4e9


def test_other_cores_are_another_machine(rates_here, tmp_path, monkeypatch):
  monkeypatch.setattr(machine, "measure", lambda: machine.Rates(3e9, 4e9))
  for cores in (1, 2):
    monkeypatch.setattr(machine.system, "cores", lambda cores=cores: cores)
    rates_here.cache_clear()
    rates_here()
  assert len(list((tmp_path / "machine").glob("*.json"))) == 2
