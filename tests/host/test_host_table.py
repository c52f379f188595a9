"""docs/HOSTS.md says what the result files say, and these hold nothing of the machine they were made on."""

import json
import re

import pytest
import write_table
from host_results import FAILED, PASSED, SKIPPED, Results

FILES = sorted(write_table.FOLDER.glob("*.json"))


def test_the_page_is_the_files():
    assert FILES and write_table.main(["--check"]) == 0, "run: python tests/host/write_table.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_path_of_a_machine_is_in_them(file):
    text = file.read_text("utf-8")
    assert not re.search(r"(/home/|/work/|/tmp/|/root/|/mnt/|[A-Z]:\\\\)", text)
    assert {"host", "version", "model", "results"} == set(json.loads(text))


def test_a_capability_is_what_its_worst_test_is(tmp_path):
    results = Results()
    for test, outcome in (("a", PASSED), ("b", PASSED)):
        results.add("acts", test, outcome, "16 samplers")
    results.add("refiner", "c", SKIPPED, "this host has no refiner")
    results.add("styles", "d", PASSED, "")
    results.add("styles", "e", FAILED, "the pictures differ")
    file = results.write(tmp_path, "Forge", "f2.0", "SD 1")
    page = write_table.table(write_table.load([file]))
    for line in ("| acts | yes (16 samplers) |", "| refiner | – [1] |", "| styles | **no** [2] |"):
        assert line in page
    assert "1. this host has no refiner\n2. the pictures differ" in page


def test_a_later_run_replaces_what_it_ran_again_and_a_new_version_everything(tmp_path):
    first, again = Results(), Results()
    first.add("acts", "a", FAILED, "")
    first.add("styles", "b", PASSED, "")
    again.add("acts", "a", PASSED, "")
    first.write(tmp_path, "Forge", "f2.0", "SD 1")
    kept = json.loads(again.write(tmp_path, "Forge", "f2.0", "SD 1").read_text())
    assert {e["capability"]: e["outcome"] for e in kept["results"]} == {"acts": "works", "styles": "works"}
    fresh = json.loads(again.write(tmp_path, "Forge", "f2.1", "SD 1").read_text())
    assert [e["capability"] for e in fresh["results"]] == ["acts"]
