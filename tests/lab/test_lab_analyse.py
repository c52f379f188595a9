"""The published study's CSV format, read and examined again; and this lab's own CSVs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extras.lab.report import analyse, published

MODELS, PROMPTS, SEEDS = ("base", "dmd", "pcm"), 16, (42, 1337, 2025)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of that format: NAG Time has .05 worse LSR than NAG, and .14 better SSIM."""
    rng = np.random.default_rng(0)
    wide, clip, ssim = [], [], []
    for model in MODELS:
        for prompt in range(PROMPTS):
            easy = rng.normal(0, 0.03)
            for seed in SEEDS:
                row = {
                    "model_type": model,
                    "prompt_idx": prompt,
                    "seed": seed,
                    "positive": "a photo",
                    "negative": f"n{prompt}",
                }
                levels = {
                    "original": (-0.02, 0.95),
                    "dd": (-0.04, 0.66),
                    "nag": (-0.12, 0.6),
                    "nag_timed": (-0.07, 0.74),
                }
                for key, (lsr, preserved) in levels.items():
                    if model == "base" and key == "dd":
                        row |= {"lsr_dd": np.nan, "pres_dd": np.nan}
                        continue
                    row[f"lsr_{key}"] = lsr + easy + rng.normal(0, 0.01)
                    row[f"pres_{key}"] = preserved + rng.normal(0, 0.02)
                    row[f"kid_{key}"] = len(model) * 0.001 + len(key) * 0.01
                    baseline = {"original": "original_baseline", "dd": "dd_baseline"}.get(key, "nag_baseline")
                    variant = {"original": "original_with_neg", "dd": "dd_with_neg"}.get(key, key)
                    at = {"model_type": model, "prompt_idx": prompt, "seed": seed, "negative_prompt": f"n{prompt}",
                          "positive_prompt": "a photo", "clip_positive": 0.25}  # fmt: skip
                    if key != "nag_timed":
                        clip.append({**at, "variant": baseline, "clip_negative": 0.2})
                    clip.append({**at, "variant": variant, "clip_negative": 0.2 * np.exp(row[f"lsr_{key}"])})
                    keys = {name: at[name] for name in ("model_type", "prompt_idx", "seed")}
                    kept = {"comparison": f"{key}_with_neg_vs_baseline", "ssim_score": row[f"pres_{key}"]}
                    ssim.append({**keys, "image1_path": "a", **kept})
                wide.append(row)
    place = tmp_path_factory.mktemp("published")
    pd.DataFrame(wide).to_csv(place / "metrics_results.csv", index=False)
    pd.DataFrame(clip).to_csv(place / "clip_raw_scores.csv", index=False)
    pd.DataFrame(ssim).to_csv(place / "ssim_raw_scores.csv", index=False)
    zeros = pd.DataFrame(wide)[["model_type", "prompt_idx", "seed"]].assign(clipscore=0.0)
    zeros.to_csv(place / "clipscore_results.csv", index=False)
    return place


def answers(files, *options, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert analyse.main([*map(str, files), "--csv", str(out), *options]) == 0
    return pd.read_csv(out).set_index(["id", "model_type", "outcome"]), capsys.readouterr().out


def test_the_wide_file_is_compared_pair_by_pair(folder, tmp_path, capsys):
    file = folder / "metrics_results.csv"
    found, said = answers([file], "--without", "base", "--margin", "lsr=0.03", tmp_path=tmp_path, capsys=capsys)
    raw = pd.read_csv(file)
    raw = raw[raw.model_type != "base"]
    worse, kept = found.loc[("H3", "all models", "lsr")], found.loc[("H3", "all models", "ssim")]
    assert worse.difference == pytest.approx((raw.lsr_nag_timed - raw.lsr_nag).mean())
    assert kept.difference == pytest.approx((raw.pres_nag_timed - raw.pres_nag).mean())
    assert worse.low < 0.05 < worse.high and kept.low < 0.14 < kept.high and worse.clusters == PROMPTS
    assert str(worse.held) == "False" and str(kept.held) == "True"
    assert "non-inferiority at margin 0.03: contradicted" in said and "superiority: supported" in said


def test_the_long_files_say_the_same_as_the_wide_one(folder, tmp_path, capsys):
    wide, _ = answers([folder / "metrics_results.csv"], tmp_path=tmp_path, capsys=capsys)
    files = [folder / "clip_raw_scores.csv", folder / "ssim_raw_scores.csv"]
    long, _ = answers(files, tmp_path=tmp_path, capsys=capsys)
    assert set(wide.index) == set(long.index)
    assert long.loc[wide.index, "difference"].to_numpy() == pytest.approx(wide["difference"].to_numpy(), abs=1e-9)
    assert long.loc[wide.index, "low"].to_numpy() == pytest.approx(wide["low"].to_numpy(), abs=1e-9)


def test_what_is_odd_is_said(folder, capsys):
    assert analyse.main([str(folder / "clipscore_results.csv"), str(folder / "metrics_results.csv")]) == 0
    said = capsys.readouterr().out
    assert "clipscore is 0 in all 144 rows" in said
    assert "kid_nag is one number repeated on every row of a set: 3 numbers, not 144" in said
    assert "lsr_nag is" not in said


def test_this_labs_own_csv_is_read_too(report, tmp_path, capsys):
    from extras.lab.report.results import load

    file = report.parent / "csv" / "metrics_results.csv"
    found, _ = answers([file], "--compare", "NAG scale 8:CFG negative", tmp_path=tmp_path, capsys=capsys)
    known = next(each for each in load(report.parent).answers if each.question.id == "H2")
    again = found.reset_index().set_index("outcome").loc["deleted"]
    assert (again.difference, again.low) == pytest.approx((known.difference.value, known.difference.low))


def test_a_folder_of_a_run_is_read(run_folder, capsys):
    assert analyse.main([str(run_folder)]) == 0
    assert "| H2 | student | NAG scale 8 − CFG negative |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, said",
    [("a,b\n1,2\n", "has no column 'model_type'"), ("", "cannot be read as CSV"), (None, "no such file")],
)
def test_bad_files_are_said_in_one_line(content, said, tmp_path, capsys):
    file = tmp_path / "x.csv"
    if content is not None:
        file.write_text(content)
    assert analyse.main([str(file)]) == 2
    assert said in capsys.readouterr().err


def test_bad_options_are_said(folder, capsys):
    file = str(folder / "metrics_results.csv")
    assert analyse.main([file, "--models", "sdxl"]) == 2
    assert "'sdxl' is not in these files; there are: base, dmd, pcm" in capsys.readouterr().err
    for options in (["--margin", "lsr=-1"], ["--compare", "NAG"]):
        with pytest.raises(SystemExit):
            analyse.main([file, *options])


def test_fid_of_pairs_is_odd():
    table = pd.DataFrame({"model_type": ["a", "a"], "image1_path": ["x", "y"], "fid_score": [1.0, 2.0]})
    assert any("defined for sets" in text for text in published.oddities(table))
