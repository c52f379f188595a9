"""coverage, mutants, soak: what they say of what they measured, when they fail, and what docs/HEALTH.md keeps."""

import json
import re
from pathlib import Path

import pytest

from extras.studio.commands import coverage, health_page, mutants, soak

ROOT = Path(__file__).resolve().parents[2]


def report(missing):
    """As coverage writes it: two files of ten lines."""
    files = {
        f"extras/nag/{name}.py": {
            "summary": {"percent_covered": 100 - 10 * len(lines), "num_statements": 10}, "missing_lines": lines,
        }
        for name, lines in missing.items()
    }  # fmt: skip
    lost = sum(map(len, missing.values()))
    return {"files": files, "totals": {"percent_covered": 100 - 5 * lost, "num_statements": 20}}


@pytest.mark.parametrize(("missing", "status"), [([], 0), ([3], 0), ([3, 4], 1)])
def test_coverage_fails_below_its_limit(monkeypatch, capsys, missing, status):
    monkeypatch.setattr(coverage, "measured", lambda tests, folder: (0, report({"a": missing, "b": []})))
    assert coverage.main([]) == status and coverage.LEAST == 95
    told = capsys.readouterr().out
    assert f"{100 - 5 * len(missing):.2f} % of 20 lines" in told
    assert ("a.py" in told) == bool(missing) and "b.py" not in told


def test_coverage_hands_on_the_status_of_failing_tests(monkeypatch):
    monkeypatch.setattr(coverage, "measured", lambda tests, folder: (5, {}))
    assert coverage.main(["tests/nowhere"]) == 5


def test_coverage_measures_the_core_alone(tmp_path, monkeypatch):
    """Of a real run: the files of the core, and neither hosts nor panel."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    status, found = coverage.measured(["tests/nag/test_windows.py", "-p", "no:cacheprovider"], tmp_path)
    assert status == 0 and found["files"]["extras/nag/windows.py"]["summary"]["percent_covered"] == 100
    assert not any(name.startswith(("extras/nag/hosts/", "extras/nag/ui/")) for name in found["files"])
    assert found["files"]["extras/nag/run.py"]["missing_lines"], "files that no test imports count too"
    text = coverage.page(found, ["tests/nag/test_windows.py"])
    assert "| `extras/nag/run.py` |" in text and "windows.py` |" not in text


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("extras.nag.schedule.x_ranges__mutmut_12", "ranges"),
        ("extras.nag.maths.x__in_pieces__mutmut_3", "_in_pieces"),
        ("extras.nag.schedule.xǁResolvedǁ_cooling__mutmut_3", "Resolved._cooling"),
        ("extras.nag.schedule.xǁScheduleǁ__post_init____mutmut_40", "Schedule.__post_init__"),
    ],
)
def test_a_change_is_named_by_its_function(name, function):
    assert mutants.function_of(name) == function


@pytest.mark.parametrize("known", [True, False])
def test_mutants_fails_for_a_survivor_without_a_reason(monkeypatch, capsys, known):
    change = mutants.Change("extras/nag/maths.py", "rule", "a + b", "a - b")
    monkeypatch.setattr(mutants, "tried", lambda folder, file, processes: mutants.Found(file, 10, 9, [change]))
    monkeypatch.setattr(mutants, "explained", lambda: {change: "they are the same"} if known else {})
    assert mutants.main(["extras/nag/maths.py"]) == (0 if known else 1)
    told = capsys.readouterr().out
    assert "9 of 10 changes noticed (90.0 %)" in told and ("they are the same" if known else "NOT EXPLAINED") in told


def test_mutants_knows_its_files(capsys):
    assert mutants.main(["extras/nag/run.py"]) == 1
    assert "allowed: extras/nag/schedule.py" in capsys.readouterr().err
    for file, tests in mutants.TARGETS.items():
        assert (ROOT / file).is_file() and all((ROOT / test).is_file() for test in tests)


def test_every_explained_survivor_is_of_a_line_that_is_there():
    entries = json.loads(mutants.EXPLAINED.read_text("utf-8"))
    assert len({(e["file"], e["function"], e["was"], e["becomes"]) for e in entries}) == len(entries)
    for entry in entries:
        source = " ".join((ROOT / entry["file"]).read_text("utf-8").split())
        assert len(entry["why"]) > 20 and entry["was"] != entry["becomes"]
        assert " ".join(entry["was"].split()) in source, entry["was"]


def record(**changes):
    account = {"taps": 0, "hooks": 0, "rss": 2**29, "threads": 3, "files": 9, "objects": 100, "callbacks": 4}
    return {
        "pictures": 2003, "clients": 8, "seconds": 600.0, "distinct": 50, "kinds": {"plain": 3}, "requests": 3,
        "wrong": [], "failed": [], "slope": [0.02, -0.01, 0.05], "problems": [], "command": "python nagtime.py soak",
        "accounts": dict.fromkeys(("before", "warm", "end"), account), **changes,
    }  # fmt: skip


def test_the_soaks_words():
    told = "\n".join(soak.summary(record()))
    assert "+0.02 MB per 100 pictures, 95 % interval [-0.01, +0.05]" in told and told.endswith("passed")
    assert "NOT PASSED: a hook" in "\n".join(soak.summary(record(problems=["a hook"])))
    assert "**+0.02 MB per 100 pictures" in soak.page(record()) and "| resident memory, MB | 512 | 512 | 512 |" in (
        soak.page(record())
    )
    assert "too few pictures" in soak.slope_of(record(slope=None))


def test_a_part_of_the_page_is_replaced_and_the_rest_stays(tmp_path, monkeypatch):
    page = tmp_path / "HEALTH.md"
    page.write_text("a\n<!-- soak: x writes this -->\nold\n<!-- /soak -->\nb\n")
    monkeypatch.setattr(health_page, "PAGE", page)
    health_page.write("soak", r"new \1 \g<0>")
    assert page.read_text() == "a\n<!-- soak: x writes this -->\nnew \\1 \\g<0>\n<!-- /soak -->\nb\n"
    assert health_page.read("soak") == "new \\1 \\g<0>\n"
    with pytest.raises(ValueError, match="0 parts named coverage"):
        health_page.write("coverage", "")


def test_what_the_page_says_was_passed():
    """Coverage over its limit, no answer that differs, no hook left, every survivor explained."""
    share = re.search(r"\*\*([\d.]+) %\*\*", health_page.read("coverage"))
    assert share and float(share[1]) >= coverage.LEAST
    told = health_page.read("soak")
    assert "| **answers that differ** | **0** |" in told and "| **hooks of ours left** | **0** |" in told
    assert "| **requests that failed** | **0** |" in told
    assert "Not explained" not in health_page.read("mutants") and "of one operator" in health_page.read("mutants")
