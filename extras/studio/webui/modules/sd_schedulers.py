"""A1111's name for the table of noise schedules."""

from extras.studio.schedulers import SCHEDULERS as schedulers  # noqa: F401
