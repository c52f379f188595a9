"""Script arguments: the panel's list or one typed object; unknown and bad fields are named."""

import pytest

from extras.nag import FIELDS, Settings, SettingsError
from extras.nag.ui.arguments import check_count, parse_arguments


def test_the_typed_object_means_enabled():
    request = parse_arguments([{"negative": "glasses", "scale": 3}, "ignored", 99])
    assert request.settings == Settings(enabled=True, negative="glasses", scale=3.0)
    assert request.negatives == ("glasses",)
    assert parse_arguments([{"enabled": False, "negative": "glasses"}]) is None


def test_positional_values_follow_the_table():
    values = [True, "glasses", 4, 2, 0.25, 0.1, 0.9, "steps", 2, 0.1, 0.3, "m0", "skip", "first", True]
    values += [FIELDS[name].default for name in list(FIELDS)[len(values) :]]
    assert len(values) == len(FIELDS)
    request = parse_arguments(values)
    assert list(request.settings.to_dict().values()) == values
    assert parse_arguments(values[:3]).settings == Settings(enabled=True, negative="glasses", scale=4.0)
    assert parse_arguments([]) is None and parse_arguments([False, "glasses", "nonsense"]) is None


@pytest.mark.parametrize(
    ("given", "field", "allowed"),
    [
        ({"scal": 3}, "scal", "one of the fields"),
        ({"scale": 99}, "scale", "1 to 20"),
        ({"scale": "high"}, "scale", "number"),
        ({"start": 0.5, "end": 0.2}, "end", "above start"),
        ({"unit": "meters"}, "unit", "noise | steps | sigma"),
        ({"negative": 5}, "negative", "text"),
        ({"negative": []}, "negative", "list of 1 to"),
        ({"negative": ["a", 5]}, "negative", "list of 1 to"),
        ({"negative": "x" * 10_001}, "negative", "10000 characters"),
        ({"ramp_steps": 1.5}, "ramp_steps", "whole number"),
        ({"enabled": "yes"}, "enabled", "true | false"),
    ],
)
def test_what_is_wrong_is_named(given, field, allowed):
    with pytest.raises(SettingsError) as error:
        parse_arguments([given])
    assert error.value.field == field and allowed in error.value.allowed


@pytest.mark.parametrize("first", [None, "yes", 3, [], [{"negative": "x"}]])
def test_a_first_argument_of_the_wrong_kind(first):
    with pytest.raises(SettingsError) as error:
        parse_arguments([first, "glasses"])
    assert error.value.field == "enabled"


def test_several_mistakes_are_told_at_once():
    with pytest.raises(SettingsError) as error:
        parse_arguments([{"scale": 0, "tau": 0, "wrong": 1}])
    assert [e[0] for e in error.value.errors] == ["scale", "tau", "wrong"]


def test_one_negative_or_one_per_image():
    check_count(parse_arguments([{"negative": "a"}]), 5)
    check_count(parse_arguments([{"negative": ["a", "b"]}]), 2)
    with pytest.raises(SettingsError, match="one per image"):
        check_count(parse_arguments([{"negative": ["a", "b"]}]), 3)
