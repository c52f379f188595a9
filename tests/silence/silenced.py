"""A pytest plugin (`-p silenced`): the silence that $SILENCED names is in place before any test is read."""

import os

from silences import SILENCES


def pytest_configure(config):
    next(s for s in SILENCES if s.name == os.environ["SILENCED"]).put()
