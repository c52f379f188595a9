"""The marked lines go in where they belong and come out without a trace."""

import subprocess
import sys

import pytest

from extras.nag.hosts.fooocus import patch
from extras.studio.commands import fooocus as command


def source(file, newline="\n", last="\n"):
    """A file with every anchor of it once, each indented as it might be."""
    lines = ["import os", ""]
    for number, insertion in enumerate(i for i in patch.INSERTIONS if i.file == file):
        if insertion.anchor == "return results":
            lines += ["def get_str():", "    return results", "def load_parameter_button_click(raw):"]
        lines += [f"# part {number}", "    " * (number % 3) + insertion.anchor]
    return newline.join(lines) + last


@pytest.fixture(params=["\n", "\r\n"], ids=["lf", "crlf"])
def tree(tmp_path, request):
    (tmp_path / "modules").mkdir()
    (tmp_path / "extras").mkdir()
    (tmp_path / "extras" / "censor.py").write_text("theirs")
    (tmp_path / "fooocus_version.py").write_text("version = '2.5.5'")
    for file in dict.fromkeys(i.file for i in patch.INSERTIONS):
        last = "" if file == "modules/default_pipeline.py" else request.param
        (tmp_path / file).write_bytes(source(file, request.param, last).encode())
    return tmp_path


def contents(tree):
    return {p.relative_to(tree): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def test_in_and_out_gives_the_same_bytes(tree, capsys):
    before = contents(tree)
    assert command.main(["--tree", str(tree), "--yes"]) == 0
    shown = capsys.readouterr().out
    for insertion in patch.INSERTIONS:
        for line in insertion.lines:
            assert not line or f"+{line}" in shown.replace("+        ", "+").replace("+    ", "+") or line in shown
    assert (tree / "extras/nag/run.py").is_file() and contents(tree) != before
    added = [line for file in dict.fromkeys(i.file for i in patch.INSERTIONS)
             for line in (tree / file).read_text().splitlines() if line.endswith(patch.MARK)]  # fmt: skip
    assert len(added) == sum(len(i.lines) for i in patch.INSERTIONS)
    assert command.main(["--tree", str(tree), "--yes", "--undo"]) == 0
    assert contents(tree) == before


def test_a_python_without_torch_puts_it_in_and_takes_it_out(tree):
    """The command enters no environment: the user's own Python runs it."""
    before = contents(tree)
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'numpy', 'gradio'))); import runpy; "
    for more in ([], ["--undo"]):
        code = f"{blocked}sys.argv = ['nagtime.py', 'fooocus', '--tree', {str(tree)!r}, '--yes', *{more!r}]; "
        code += "runpy.run_path('nagtime.py', run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", code], cwd=command.ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (contents(tree) == before) == bool(more)


def test_twice_is_refused_and_changes_nothing(tree, capsys):
    assert command.main(["--tree", str(tree), "--yes"]) == 0
    before = contents(tree)
    assert command.main(["--tree", str(tree), "--yes"]) == 1
    assert "--undo" in capsys.readouterr().err and contents(tree) == before


@pytest.mark.parametrize("place", sorted({i.file for i in patch.INSERTIONS}))
def test_a_tree_of_another_kind_is_refused_untouched(tree, place, capsys):
    kept = (tree / place).read_bytes()
    anchor = next(i.anchor for i in patch.INSERTIONS if i.file == place)
    (tree / place).write_bytes(kept.replace(anchor.encode(), b"something else"))
    before = contents(tree)
    assert command.main(["--tree", str(tree), "--yes"]) == 1
    told = capsys.readouterr().err
    assert place in told and anchor in told and contents(tree) == before


def test_what_is_no_fooocus_is_refused(tmp_path, capsys):
    assert command.main(["--tree", str(tmp_path), "--yes"]) == 1
    assert "not Fooocus" in capsys.readouterr().err


def test_a_file_that_is_not_text_is_refused(tree, capsys):
    (tree / "webui.py").write_bytes(b"\xff\xfe\x00")
    assert command.main(["--tree", str(tree), "--yes"]) == 1
    assert "webui.py" in capsys.readouterr().err


def test_nothing_happens_unasked(tree, capsys):
    before = contents(tree)
    done = subprocess.run(
        [sys.executable, "nagtime.py", "fooocus", "--tree", str(tree)], cwd=command.ROOT, input="", text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "--yes" in done.stderr and "+++ b/webui.py" in done.stdout
    assert contents(tree) == before
