"""A plan that cannot be run says why, with the line; one that can is spread out as it says."""

from __future__ import annotations

import json

import pytest
from lab_fake import PLAN, ROOT, Fake

from extras.lab import plan
from extras.lab.cells import expand, groups
from extras.lab.errors import PlanError


def asks(**changes):
    """A name and a hypothesis, changed."""
    asked = {
        "id": "H",
        "question": "q",
        "treatment": "NAG scale 4",
        "control": "untreated",
        "outcome": "ssim",
        **changes,
    }
    return f"hypotheses: [{json.dumps(asked)}]\nname: fake"


def load(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return plan.load(path)


def spread(tmp_path, text):
    return expand(load(tmp_path, text), Fake().checkpoint, Fake().versions())


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("seeds:", "sedes:", 8, ["sedes", "no such field", "seeds"]),
        ("count: 5", "count: 0", 8, ["seeds.count", "0 is not possible", "greater than or equal to 1"]),
        ("steps: 4,", "steps: four,", 4, ["models.few.steps", "'four'", "integer"]),
        ("steps: 4,", "stepps: 4,", 4, ["models.few.stepps", "no such field", "scheduler"]),
        ("nag: {alpha: 0.65}", "nag: {alpha: 7}", 12, ["arms[0].nag.alpha", "7 is not possible", "number from 0 to 1"]),
        ("nag: {alpha: 0.65}", "nag: {alfa: 1}", 12, ["arms[0].nag.alfa", "one of the fields"]),
        ("sweep: {scale: [4, 8]}", "sweep: {scale: [4, 80]}", 13, ["80", "number from 1 to 20"]),
        ("sweep: {scale: [4, 8]}", "sweep: {sale: [4, 8]}", 13, ["arms[0].sweep.sale", "no factor", "scale"]),
        ("sweep: {scale: [4, 8]}", "sweep: {scale: []}", 13, ["sweep.scale", "empty"]),
        ("role: nag-time", "role: nagtime", 15, ["arms[1].role", "'nagtime'", "nag-time"]),
        ("[0.17, 0.5]", "[0.5, 0.17]", 17, ["end", "above start"]),
        ("  - {id: king", "  - {id: nerd", 5, ["pairs", "'nerd'", "twice"]),
        ("name: NAG Time", "name: untreated", 14, ["untreated", "choose another name"]),
        ("role: nag-time", "models: [many]", 14, ["'many'", "few"]),
        ("role: nag\n", "handoff: {model: few, stps: 1}\n", 11, ["stps", "no such field", "steps"]),
        ("prompt: a king", "prompt: a king: x", 7, ["not YAML"]),
        ("name: fake", "name: fake\nname: again", 3, ["name", "twice"]),
        ("name: fake", "name: ../fake", 2, ["name", "../fake"]),
        ("{first: 100, count: 5}", "[3, 4, 3]", 8, ["seeds", "twice"]),
        ("{first: 100, count: 5}", "[3, -4]", 8, ["seeds", "-4 is not possible"]),
        ("role: nag\n", "handoff: {steps: 1}\n", 11, ["arms[0].handoff", "model", "lora"]),
        ("sweep: {scale: [4, 8]}", "sweep: {cfg: [4, 0]}", 13, ["sweep.cfg", "0 is not possible"]),
        ("name: fake", "metrics: [deletd]\nname: fake", 2, ["metrics[0]", "'deletd'", "deleted"]),
        ("name: fake", "margin: {deletd: 0.1}\nname: fake", 2, ["margin.deletd", "'deletd' is no metric"]),
        ("name: fake", "search: {outcome: q}\nname: fake", 2, ["search.outcome", "'q'"]),
        ("name: fake", asks(treatment="NAG scale 5"), 2, ["hypotheses[0].treatment", "NAG scale 4"]),
        ("name: fake", asks(treatment="nag"), 2, ["hypotheses[0].treatment", "NAG scale 4, NAG scale 8", "name one"]),
        ("name: fake", asks(outcome="deletd"), 2, ["hypotheses[0].outcome", "'deletd'"]),
        ("name: fake", asks(models=["lots"]), 2, ["hypotheses[0].models", "'lots'", "few"]),
        ("name: fake", asks(preservation="sim"), 2, ["hypotheses[0].preservation", "'sim'", "ssim"]),
    ],
)
def test_a_bad_plan_names_line_field_and_what_is_allowed(tmp_path, old, new, line, told):
    assert PLAN.count(old) >= 1
    with pytest.raises(PlanError) as caught:
        load(tmp_path, PLAN.replace(old, new, 1))
    text = str(caught.value)
    assert f"p.yaml:{line}: " in text, text
    assert all(word in text for word in told), text


def test_all_problems_are_told_at_once(tmp_path):
    with pytest.raises(PlanError) as caught:
        load(tmp_path, PLAN.replace("steps: 4", "steps: 0").replace("count: 5", "count: many"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "3\n", "a: [1,\n", "\t: x"])
def test_what_is_no_plan_is_a_sentence(tmp_path, text):
    with pytest.raises(PlanError, match=r"p\.yaml"):
        load(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PlanError, match="cannot be read"):
        plan.load(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "plans").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_that_come_along_can_be_run(path):
    wanted = plan.load(path)
    assert len(wanted.pairs) >= 16 and wanted.seeds.count >= (3 if path.stem == "nag-time-sdxl" else 20)
    few = wanted.model_copy(update={"seeds": wanted.seeds.at_most(1), "pairs": wanted.pairs[:1]})
    found = expand(few, Fake().checkpoint, Fake().versions())
    named = {row.arm for row in found.arms} | {row.role for row in found.arms} | {row.family for row in found.arms}
    for hypothesis in wanted.hypotheses:
        assert {hypothesis.treatment, hypothesis.control} <= named
    cells = [place.cell for place in found.places]
    assert len(set(cells)) == len(cells), "two arms are the same picture"


def test_the_studys_plan_has_the_studys_settings():
    """github.com/llevera/nag-time: nag-time.ipynb, diversity-handoff.ipynb."""
    wanted = plan.load(ROOT / "plans" / "nag-time-sdxl.yaml")
    given = {name: (model.steps, model.cfg) for name, model in wanted.models.items()}
    assert given == {
        "base": (30, 7), "dmd2": (4, 1.5), "turbo": (4, 1), "lightning": (4, 1), "lcm": (4, 1.5), "hyper": (8, 5),
        "pcm": (4, 1),
    }  # fmt: skip
    assert wanted.seeds.values == [42, 1337, 2025] and len({pair.prompt for pair in wanted.pairs}) == 6
    arms = {arm.role: arm for arm in wanted.arms}
    for role, window in (("nag", (0, 0.5)), ("nag-time", (0.17, 0.5))):
        nag = arms[role].nag
        assert (nag["scale"], nag["tau"], nag["alpha"], nag["start"], nag["end"]) == (3, 2.5, 0.5, *window)
    begun = {m: (arm.handoff.steps, arm.handoff.cfg) for arm in wanted.arms if arm.handoff for m in arm.models}
    assert begun == dict.fromkeys(["dmd2", "turbo", "lightning", "lcm", "hyper", "pcm"], (1, 7))
    for arm in wanted.arms:
        assert not (arm.handoff and arm.handoff.lora) or arm.handoff.lora in wanted.models[arm.models[0]].append


def test_seeds_may_be_a_list(tmp_path):
    found = spread(tmp_path, PLAN.replace("{first: 100, count: 5}", "[42, 7, 1337]"))
    assert sorted({p.seed for p in found.places}) == [7, 42, 1337]
    assert load(tmp_path, PLAN).seeds.at_most(2).values == [100, 101]


def test_windows_of_the_same_steps_are_one_picture(tmp_path):
    found = spread(tmp_path, PLAN)
    assert len(found.places) == 2 * 5 * 5 and len(found.cells) == 2 * 5 * 4
    by_arm = {}
    for place in found.places:
        by_arm.setdefault(place.arm, []).append(place.cell)
    assert by_arm["NAG Time 0.17-0.5"] == by_arm["NAG Time 0.2-0.51"]
    assert set(by_arm["NAG Time 0.17-0.5"]).isdisjoint(by_arm["NAG scale 8"])
    assert {found.cells[c].guided for c in by_arm["NAG Time 0.17-0.5"]} == {(2, 3)}


def test_what_does_nothing_is_the_untreated_picture(tmp_path):
    text = PLAN.replace("scale: [4, 8]", "alpha: [0.0]")
    found = spread(tmp_path, text)
    plain = {(p.pair, p.seed): p.cell for p in found.places if p.arm == "untreated"}
    assert all(plain[p.pair, p.seed] == p.cell == p.baseline for p in found.places if p.arm == "NAG alpha 0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("batch: 2", "batch: 1"),
        ("steps: 4", "steps: 5"),
        ("prompt: a nerd", "prompt: the nerd"),
        ("target: glasses", "target: hat"),
        ("SGM Uniform", "Simple"),
        ("width: 64", "width: 128"),
        ("arms:", "options: {eta_noise_seed_delta: 1}\narms:"),
    ],
)
def test_another_address_for_all_that_decides_a_pixel(tmp_path, old, new):
    before, after = (set(spread(tmp_path, text).cells) for text in (PLAN, PLAN.replace(old, new)))
    assert before - after, "nothing changed"
    pair_only = old.startswith(("prompt", "target"))
    assert bool(before & after) == pair_only


def test_versions_and_files_are_part_of_the_address(tmp_path):
    wanted, fake = load(tmp_path, PLAN), Fake()
    first = set(expand(wanted, fake.checkpoint, {"torch": "1"}).cells)
    assert first.isdisjoint(expand(wanted, fake.checkpoint, {"torch": "2"}).cells)
    fake.checkpoint = lambda name: type(Fake().checkpoint(name))(name, "1" * 64)
    assert first.isdisjoint(expand(wanted, fake.checkpoint, {"torch": "1"}).cells)


def test_a_group_is_one_block_of_seeds_of_one_arm(tmp_path):
    found = spread(tmp_path, PLAN)
    together = list(groups(list(found.cells.values())))
    assert sum(map(len, together)) == len(found.cells)
    for group in together:
        assert len({cell.spec["seed"] // 2 for cell in group}) == 1 and len({cell.group for cell in group}) == 1
    first = [group[0].spec["seed"] // 2 for group in together]
    assert first == sorted(first), "seeds come before arms: a run that is stopped is balanced"


def test_handoff_and_cfg_are_arms_of_their_own(tmp_path):
    text = PLAN.replace("  few:", "  base: {checkpoint: b, steps: 4}\n  few:").replace(
        "arms:",
        "arms:\n  - {name: H, models: [few], cfg_negative: target, handoff: {model: base, steps: 1, cfg: 4}}\n"
        "  - {name: C, models: [few], cfg_negative: target, sweep: {cfg: [2, 3]}}",
    )
    found = spread(tmp_path, text)
    cells = {p.arm: found.cells[p.cell] for p in found.places if p.model == "few"}
    assert cells["H"].nag["handoff_checkpoint"] == "b" and not cells["H"].nag["nag"]
    assert cells["H"].spec["negative_prompt"] == cells["C cfg 2"].spec["negative_prompt"] == "crown"
    assert cells["C cfg 2"].nag is None and cells["C cfg 2"].spec["cfg"] == 2
    loras = spread(tmp_path, text.replace("handoff: {model: base,", "handoff: {lora: few-lora,"))
    lora = next(loras.cells[p.cell] for p in loras.places if p.arm == "H")
    assert (lora.nag["handoff_lora"], lora.nag["handoff_checkpoint"]) == ("few-lora", "") and lora.id != cells["H"].id
    assert cells["untreated"].spec["negative_prompt"] == "" and cells["NAG scale 4"].spec["negative_prompt"] == ""


def test_a_new_option_changes_no_address(tmp_path, monkeypatch):
    from extras.lab import cells
    from extras.lab import plan as plans
    from extras.nag.fields import FIELDS

    before = set(spread(tmp_path, PLAN).cells)
    settings = plans.settings_of
    monkeypatch.setitem(cells.FIELDS, "new", FIELDS["adaptive"])
    monkeypatch.setattr(
        cells, "settings_of", lambda *a: (s := settings(*a)) and {**s, "new": FIELDS["adaptive"].default}
    )
    monkeypatch.setattr(
        cells.Settings, "parse", lambda values: cells.Settings(**{k: values[k] for k in ("start", "end")})
    )
    assert set(spread(tmp_path, PLAN).cells) == before
