"""What a user can mend: one message, no traceback."""

from __future__ import annotations


class LabError(Exception):
    """Trouble with a plan, a host, a disk or a database. The message says where, what, and what to do."""


class PlanError(LabError):
    """A plan that cannot be run. ``problems``: one line each, ``file:line: field: what is wrong``."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n".join(problems))
