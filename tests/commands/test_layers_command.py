"""`nagtime.py layers`: the listing shows every layer under its names, and what a selection takes."""

import pytest

from extras.studio.commands import layers


def rows(capsys):
    """Lines of the table as columns, after the heading."""
    return [line.split() for line in capsys.readouterr().out.split("\n\n")[0].splitlines()[1:]]


def test_everything_is_listed_under_its_names(capsys):
    assert layers.main([]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert all(word in lines[0] for word in ("short", "place", "kind", "heads", "taken by default", "also called"))
    kinds = [kind for line in lines for kind in ("block", "self", "cross") if f" {kind} " in line]
    assert kinds[:6] == ["block", "self", "cross"] * 2 and len(kinds) == 3 * kinds.count("cross")
    assert "input_blocks.1.1.transformer_blocks.0.attn2" in text
    assert "down_blocks.0.attentions.0.transformer_blocks.0.attn2" in text
    assert "20 attention layers in 10 transformer blocks. NAG takes 10 (*)" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "kind", "taken"),
    [
        (["--select", "d0-d1,u5=0.5"], "cross", {"d0": "*", "d1": "*", "u5": "*0.5"}),
        (["--method", "tpg"], "block", {"d1": "*", "d2": "*"}),
        (["--method", "pag"], "self", {"m0": "*"}),
        (["--method", "nag-pag", "--select", "d0"], "self", {"d0": "*"}),
    ],
)
def test_a_selection_is_marked(capsys, arguments, kind, taken):
    assert layers.main(arguments) == 0
    found = {row[1]: row[0] for row in rows(capsys) if row[0].startswith("*") and row[3] == kind}
    assert found == taken


def test_unknown_layers_and_files_are_said(capsys, tmp_path):
    assert layers.main(["--select", "d9"]) == 1
    assert "d9 (in 'd9') does not exist; this model has d0-d2, m0, u0-u5" in capsys.readouterr().err
    assert layers.main(["--ckpt", str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors" in capsys.readouterr().err


def test_the_blocks_of_flux_are_listed(capsys):
    assert layers.main(["--ckpt", str(layers.ROOT / "models" / "flux" / "doodle-flux.safetensors")]) == 0
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.endswith("transformer_blocks.2.attn double_blocks.2") for line in lines) and "s3" in text
    assert "7 attention layers. NAG takes 7 (*)" in text
