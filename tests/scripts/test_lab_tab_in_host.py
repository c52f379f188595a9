"""The tab Lab as a host shows it: offered by on_ui_tabs, drawn by the Studio's engine."""

from __future__ import annotations

import time

PLAN = """
name: tabbed
models:
  student:
    {checkpoint: alpha, steps: 4, sampler: Euler, scheduler: SGM Uniform, width: 64, height: 64, batch: 2}
pairs: [{id: nerd, prompt: a nerd, target: glasses, subject: nerd}]
seeds: {first: 8, count: 2}
arms: [{name: NAG, role: nag, nag: {scale: 8}}]
metrics: [ssim]
"""


def test_the_hosts_list_of_tabs_has_it_and_its_button_runs_a_plan(engine, monkeypatch):
    from extras.studio import page
    from modules import script_callbacks, shared

    monkeypatch.setattr(shared, "studio", engine)
    tabs = [tab for tab in script_callbacks.ui_tabs_callback() if tab[2] == "nag_lab"]
    assert [(title, elem_id) for _, title, elem_id in tabs] == [("Lab", "nag_lab")]
    block = tabs[0][0]
    by_id = {getattr(each, "elem_id", None): each for each in block.blocks.values()}
    press = {target[0]: event.fn for event in block.fns.values() for target in event.targets}
    run, look = (press[by_id[f"nag_lab_{name}"]._id] for name in ("run", "look"))
    said, bar, *_ = run(PLAN, "")
    assert "data-nag-lab-running" in bar and said == ""
    while "data-nag-lab-running" in bar:
        time.sleep(0.2)
        said, bar, table, _, report, _ = look("")
    assert "4 pictures for 4 places in the plan: 4 drawn, 0 kept" in said
    assert "<td>1-4</td><td>2</td>" in table and report["visible"]
    ids = {getattr(each, "elem_id", None) for each in page.build(engine).blocks.values()}
    assert {"nag_lab_run", "tab_nag_lab"} <= ids
