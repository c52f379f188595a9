""".pre-commit-config.yaml: the versions of the tests' own tools, and nothing that must be cloned."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
HOOKS = [hook for repo in CONFIG["repos"] for hook in repo["hooks"]]


def test_every_package_is_pinned_and_to_the_version_of_the_tests():
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "extras/studio/requirements-test.txt").read_text(), re.M))
    wanted = [each for hook in HOOKS for each in hook.get("additional_dependencies", [])]
    assert wanted and all(re.fullmatch(r"[\w.-]+==[\w.]+", each) for each in wanted)
    ours = {each.partition("==")[0]: each.partition("==")[2] for each in wanted if each.partition("==")[0] in pins}
    assert ours == {"ruff": pins["ruff"]}


def test_hooks_are_local_and_run_what_the_test_command_runs():
    assert {repo["repo"] for repo in CONFIG["repos"]} == {"local"}
    entries = [hook["entry"] for hook in HOOKS]
    assert any("ruff check" in entry for entry in entries) and any("mypy extras/nag" in entry for entry in entries)
