"""Old name of `infotext_utils`."""

from modules.infotext_utils import *  # noqa: F403
from modules.infotext_utils import paste_fields, registered_param_bindings  # noqa: F401
