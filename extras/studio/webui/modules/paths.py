"""Old name of `paths_internal`; extensions import either."""

from modules.paths_internal import (  # noqa: F401
    config_states_dir,
    data_path,
    default_output_dir,
    extensions_builtin_dir,
    extensions_dir,
    models_path,
    modules_path,
    script_path,
)

paths: dict[str, str] = {}
