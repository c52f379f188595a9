"""Texts into a picture's metadata and back, by the host's own quoting and reading."""

import json
from types import SimpleNamespace

import pytest
from front_helpers import script_of
from hypothesis import given
from hypothesis import strategies as st

from extras.nag import FIELDS
from extras.nag.ui.arguments import parse_arguments
from extras.nag.ui.infotext import PerImage, Reader, write_settings

NASTY = [
    "64x64", "x", "a, b: c", "1,2", '"', '""', '"a"', '"a', 'a"', '"a, b"', "\\", "a\\", "NAG scale: 5", "(a:1.1)",
    "日本", "🤓, 👓", "a  b", " a", "a ", "\n", "a\nb", "\ta", "a\rb", "a\x85b", "\u2028", '["a"]', '[""]', "[]",
    "NAG negative", "None", "True", "Steps: 5", "Negative prompt: x", "a\x00b", "}{", "null", "#", "\ufeffa", "e\u0301",
]  # fmt: skip
texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from(',:"\\ \nax[]164\t\r\x7f🤓:{}'), max_size=12),
    st.text(max_size=40),
)


@pytest.fixture(scope="module", autouse=True)
def studio():
    from extras.studio import bootstrap

    bootstrap.install()


def line_of(params):
    """The host's line of settings, as hosts write it."""
    from modules import infotext_utils

    values = {"Steps": 4, "Sampler": "Euler", "Size": "64x64", **params}
    parts = [k if k == v else f"{k}: {infotext_utils.quote(v)}" for k, v in values.items()]
    return "a nerd\nNegative prompt: hat\n" + ", ".join(parts)


def there_and_back(options):
    from modules import infotext_utils

    job = SimpleNamespace(extra_generation_params={}, batch_size=1)
    write_settings(parse_arguments([options]), job)
    line = line_of(job.extra_generation_params)
    assert line.count("\n") == 2
    params = infotext_utils.parse_generation_parameters(line)
    assert params["Prompt"] == "a nerd" and params["Size-1"] == "64"
    return {name: Reader(name)(params) for name in FIELDS}


@given(texts, texts)
def test_any_text_comes_back(negative, layers):
    read = there_and_back({"negative": negative, "layers": layers})
    assert (read["negative"], read["layers"]) == (negative, layers)


scales = st.floats(1, 20).map(lambda x: round(x, 6))


@given(scales, st.integers(0, 100), st.booleans(), st.sampled_from(FIELDS["hires"].choices))
def test_numbers_switches_and_choices_come_back(scale, ramp, switch, choice):
    given_values = {"scale": scale, "ramp_steps": ramp, "skip_uncond": switch, "hires": choice}
    read = there_and_back(given_values)
    assert {name: read[name] for name in given_values} == given_values


@pytest.mark.parametrize("text", ["glasses", "glasses, (hat:1.2)", "a: b", "two\nlines", "d0-d3,!m0"])
def test_usual_texts_are_written_as_they_are(text):
    job = SimpleNamespace(extra_generation_params={}, batch_size=1)
    write_settings(parse_arguments([{"negative": text}]), job)
    assert job.extra_generation_params["NAG negative"] == text


def test_half_a_character_is_refused():
    """It could not be saved: the host would lose the picture."""
    from extras.nag import SettingsError

    for given_value in ("\ud83e", ["a", "\ud83e"]):
        with pytest.raises(SettingsError, match="negative"):
            parse_arguments([{"negative": given_value}])


def test_a_text_per_image_by_place_in_batch_or_job():
    """Hosts number pictures within their batch, and some within the job; and write the mapping as JSON."""
    job = SimpleNamespace(batch_size=2, iteration=0)
    texts = PerImage(job, ["a", "b", "c", "64x64"])
    assert [texts[0], texts[1]] == ["a", "b"]
    job.iteration = 1
    assert [texts[0], texts[1], texts[2], texts[3]] == ["c", '["64x64"]', "c", '["64x64"]']
    assert json.loads(json.dumps({"NAG negative": texts}))["NAG negative"][:3] == ["a", "b", "c"]


def test_send_to_finds_the_controls_by_name(engine):
    """Hosts copy the controls of one tab to the other's where the names are equal and asked for."""
    txt2img, img2img = (script_of(engine, tab) for tab in ("txt2img", "img2img"))
    names = txt2img.paste_field_names
    there = [control for control, name in img2img.infotext_fields if name in names]
    here = [control for control, name in txt2img.infotext_fields if name in names]
    assert len(here) == len(there) == len(FIELDS)
    assert [c.elem_id.replace("txt2img", "img2img") for c in here] == [c.elem_id for c in there]


def test_the_apis_infotext_field_takes_every_option(engine):
    """Also start and end in sigma, which come with their range."""
    from modules import infotext_utils

    options = {"negative": "64x64", "unit": "sigma", "start": 9, "end": 0.5, "ramp_steps": 2, "skip_uncond": True}
    job = SimpleNamespace(extra_generation_params={}, batch_size=1)
    write_settings(parse_arguments([options]), job)
    params = infotext_utils.parse_generation_parameters(line_of(job.extra_generation_params))
    for control, read in script_of(engine).infotext_fields:
        value, wanted = read(params), type(control.value)
        got = value if isinstance(value, wanted) else wanted(value)  # as the hosts' API does
        assert got == options.get(read.field.name, True if read.field.name == "enabled" else read.field.default)
