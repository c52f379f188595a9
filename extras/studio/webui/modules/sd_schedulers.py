"""A1111's name for the table of noise schedules."""
from extras.studio.schedulers import SCHEDULERS as schedulers, SCHEDULERS_MAP as schedulers_map, Scheduler  # noqa: F401
