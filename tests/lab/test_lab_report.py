"""The report of a simulated run: answers, escaping, nothing from outside, CSVs, notebook."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from extras.lab.export import export
from extras.lab.report import sheets, wording, write_report
from extras.lab.report.results import SCALES, load
from extras.lab.stats.pairs import clustered
from extras.lab.store import Store


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(run_folder):
    return load(run_folder)


def test_prompts_and_titles_are_text_and_never_markup(page, report):
    assert "script" not in {tag for tag, _ in page.tags} and "b>" not in {tag for tag, _ in page.tags}
    assert "a nerd <script>alert(1)</script>" in page.text
    assert "A simulated run <b>&amp; its report</b>" in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script" not in report.read_text(encoding="utf-8").lower()


def test_the_page_needs_nothing_from_outside_and_prints(page, report):
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        assert (attributes.get("src") or "data:").startswith("data:")
        href = attributes.get("href")
        assert href is None or href.startswith(("#", "images/"))
    text = report.read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text and "@media print" in text
    assert "default-src 'none'" in text


def test_every_link_leads_to_a_picture_or_a_part(page, report):
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert len(links) > 100
    for link in links:
        assert link[1:] in ids if link.startswith("#") else (report.parent / link).is_file()


def test_each_hypothesis_is_answered_in_a_sentence_with_its_interval(page, results):
    ids = [each.question.id for each in results.answers]
    assert [*dict.fromkeys(ids)] == ["H1", "H2", "H3", "windows"] and ids.count("windows") == 2
    for answer in results.answers:
        assert wording.interval(answer.difference, "deleted", True) in page.text
    assert "The margin, set before the run, is 20 points" in page.text
    assert "Against NAG scale 8 made weaker, until SSIM outside the target is equal: " in page.text
    assert "At equal SSIM outside the target, the best of 2 schedules is" in page.text
    assert "none: the results have no lsr" in page.text


def test_an_answer_is_what_the_frame_says(results):
    frame = clustered(results.frame)
    answer = next(each for each in results.answers if each.question.id == "H2")
    both = frame[frame.deleted.notna()].pivot_table(index=["pair", "seed"], columns="arm", values="deleted")
    assert answer.difference.value == pytest.approx((both["NAG scale 8"] - both["CFG negative"]).mean())
    assert answer.difference.rows == len(both) and answer.prompts == both.index.get_level_values("pair").nunique()
    assert answer.treated.value - answer.controlled.value == pytest.approx(answer.difference.value)


def test_what_is_absent_is_said_and_never_0(page, results):
    assert "no CLIP checkpoint was named" in page.text and "no weights for LPIPS were named" in page.text
    assert "nothing to delete" in page.text
    assert results.frame["clipscore"].isna().all() and results.frame["lpips"].isna().all()


def test_the_plan_the_versions_and_the_command_are_there(page, results):
    assert results.meta["plan"].strip() in page.text
    assert "python nagtime.py lab run simulated.yaml" in page.text
    for package in ("torch", "numpy", "scipy"):
        assert package in page.text


def test_contact_sheets_are_in_order_and_one_prompt_a_case(results):
    answer = next(each for each in results.answers if each.question.id == "H2")
    found = sheets.cases(results.frame, answer, "ssim_background", SCALES)
    by_kind = {kind: [case for case in found if case.kind == kind] for kind in sheets.KINDS}
    assert all(len(cases) == sheets.EACH for cases in by_kind.values())
    assert all(len({case.treated.name[1] for case in cases}) == sheets.EACH for cases in by_kind.values())
    rank = lambda case: (case.treated["deleted"], case.treated["ssim_background"])  # noqa: E731
    assert rank(by_kind["best"][0]) >= rank(by_kind["median"][0]) >= rank(by_kind["worst"][0])
    assert all(case.untreated["cell"] == case.treated["baseline"] for case in found)


def test_csvs_have_the_published_names_and_sane_content(report, results):
    folder = report.parent / "csv"
    tables = {path.name: pd.read_csv(path) for path in folder.glob("*.csv")}
    published = {
        "metrics_results",
        "clipscore_results",
        "fid_scores",
        "kid_scores",
        "ssim_raw_scores",
        "clip_raw_scores",
    }
    assert {f"{name}.csv" for name in published} <= set(tables)
    rows = tables["metrics_results.csv"]
    assert len(rows) == len(results.frame) and not rows.duplicated(["model_type", "arm", "prompt_idx", "seed"]).any()
    assert all((report.parent / path).is_file() for path in rows["image"])
    kid, sets = tables["kid_scores.csv"], results.frame["arm"].nunique()
    assert (
        len(kid) == len(tables["fid_scores.csv"]) == sets
        and kid.kid_score.nunique() == kid.kid_score.notna().sum() == sets - 1
    )
    assert tables["clipscore_results.csv"].clipscore.isna().all()
    ssim = tables["ssim_raw_scores.csv"]
    assert ssim.ssim_score.between(-1, 1).all() and all(
        (report.parent / path).is_file() for path in ssim["image1_path"]
    )
    cost = tables["cost.csv"].set_index("arm")
    assert cost.loc["NAG scale 8", "over_untreated"] == pytest.approx(1.5) and cost["memory_mb"].isna().all()
    assert len(tables["comparisons.csv"]) == len(results.answers)


def test_the_notebook_is_valid_and_its_cells_run(report, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    book = json.loads((report.parent / "results.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], len({cell["id"] for cell in book["cells"]})) == (4, len(book["cells"]))
    monkeypatch.chdir(report.parent)
    names: dict = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec(cell["source"], names)
    assert len(names["comparisons"]) and len(names["means"])


def test_the_same_results_give_the_same_page(run_folder, report):
    before = report.read_text(encoding="utf-8")
    assert write_report(run_folder).read_text(encoding="utf-8") == before


def test_numbers_in_words():
    assert wording.number(0.5, "deleted") == "50.0 %" and wording.number(-0.5, "deleted", True) == "−50.0"
    assert wording.number(float("nan"), "ssim") == wording.number(None, "ssim") == "–"
    assert wording.number(0.1234, "ssim", True) == "+0.123"
    assert (
        wording.p_value(0.0004) == "p < .001"
        and wording.p_value(0.04) == "p = .040"
        and wording.p_value(1) == "p = 1.000"
    )


def test_an_unfinished_run_without_a_picture_still_has_a_report(tmp_path):
    from extras.lab.store import Store

    with Store.open(tmp_path, say=lambda text: None) as store:
        store.put_meta({"plan": "name: x", "plan_json": '{"name": "x"}'})
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "There is no picture in these results yet" in text and "asks no hypothesis" in text


def test_svg_plots_hold_no_date_and_no_reference_to_elsewhere(report):
    import base64

    text = report.read_text(encoding="utf-8")
    drawn = [base64.b64decode(each).decode() for each in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text)]
    assert len(drawn) >= 4
    assert all("dc:date" not in svg and not re.search(r'href="http', svg) for svg in drawn)


def test_an_export_has_every_picture_as_csv_and_as_parquet(run_folder, tmp_path):
    written = {path.name for path in export(run_folder, tmp_path / "out")}
    assert {
        "metrics_results.csv",
        "ssim_raw_scores.csv",
        "fid_scores.csv",
        "results.parquet",
        "sets.parquet",
    } <= written
    with Store.read(run_folder) as store:
        frame, sets = store.frame(), store.sets()
    read = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert list(read.columns) == list(frame.columns) and list(read["cell"]) == list(frame["cell"])
    pd.testing.assert_series_equal(read["ssim"], frame["ssim"])
    pd.testing.assert_series_equal(pd.read_parquet(tmp_path / "out" / "sets.parquet")["value"], sets["value"])
    assert len(pd.read_csv(tmp_path / "out" / "metrics_results.csv")) == len(frame)
