"""Each localisation has a translation for exactly what the panel shows. `python tests/scripts/test_localizations.py`
tells what is missing or stale."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "localizations").glob("*.json"))
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import panel_words  # noqa: E402


@pytest.fixture(scope="module")
def words():
    return panel_words.shown()


def translations(file: Path) -> dict[str, str]:
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_languages_that_are_promised():
    assert {"zh_CN", "ja_JP", "ru_RU", "de_DE"} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_phrase_and_no_other(file, words):
    have = translations(file)
    assert sorted(words - set(have)) == [], "missing"
    assert sorted(set(have) - words) == [], "stale"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_translations_are_texts_that_keep_what_is_typed(file):
    """Selectors, numbers of defaults and the like stand in the translation too."""
    for phrase, translated in translations(file).items():
        assert translated.strip() == translated != ""
        typed = re.findall(r"\b(?:sigma|CFG|d\d+-d\d+(?:=0\.5)?|attn2|in08|SDXL|SD1\.5|LoRA|NAG|TPG|PAG)\b", phrase)
        assert not [t for t in typed if t not in translated], phrase


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_hosts_can_apply_it(file, words):
    """Their script leaves numbers alone and whatever holds a pictogram."""
    for phrase in translations(file):
        assert not re.fullmatch(r"[.\d]+", phrase) and phrase.isascii() and phrase == phrase.strip()


def main() -> int:
    words, wrong = panel_words.shown(), 0
    for file in FILES:
        have = set(translations(file))
        for kind, which in (("missing", words - have), ("stale", have - words)):
            for phrase in sorted(which):
                print(f"{file.stem}: {kind}: {phrase}")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
