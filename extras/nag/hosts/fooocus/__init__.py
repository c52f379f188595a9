"""Fooocus has no loader of extensions: the lines of patch.py, added to four of its files, call what stands here.

``guided`` wraps ``process_diffusion``, ``NagTask`` carries a task's settings and reports, ``restored`` reads them from
a picture's metadata. The controls are in ui/fooocus_panel.py.
"""

from .sampling import guided
from .task import CONTROLS, NagTask, last_report, logged, restored

__all__ = ["CONTROLS", "NagTask", "guided", "last_report", "logged", "restored"]
