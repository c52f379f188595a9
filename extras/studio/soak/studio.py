"""The Studio of a soak, a process of its own: it fails where a prompt says so, and gives account on its standard input.

`python -m extras.studio.soak.studio OUTPUTS [CHECKPOINT]` prints lines that begin with MARK: first the port, then for
every line it is given an account as JSON. No route of the Studio knows of it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

MARK = "soak> "


def main(argv: list[str]) -> int:
    out = sys.stdout
    from extras.studio import server
    from extras.studio.soak import faults

    app = server.create(Path(argv[1]) if len(argv) > 1 else None, Path(argv[0]))
    faults.install()
    faults.quiet()
    claimed = server.claim_port(0)

    def say(what: Any) -> None:
        print(MARK + json.dumps(what), file=out, flush=True)

    def listen() -> None:
        for line in sys.stdin:
            say(rss() if line.strip() == "rss" else account())
        os._exit(0)  # whoever asked is gone

    def ready() -> None:
        say(claimed.getsockname()[1])
        threading.Thread(target=listen, name="account", daemon=True).start()

    server.serve(app, claimed, ready)
    return 0


def rss() -> int:
    """Resident bytes of this process; 0 where they cannot be had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        try:
            import psutil

            return int(psutil.Process().memory_info().rss)
        except ImportError:
            return 0


def account() -> dict[str, Any]:
    """What is here while no job runs."""
    from extras.nag.taps import count_taps
    from modules import script_callbacks, shared
    from modules.call_queue import queue_lock

    with queue_lock:
        gc.collect()
        modules = list(shared.sd_model.modules())
        return {
            "taps": count_taps(shared.sd_model),
            "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules),
            "replaced": sum(name in vars(m) for m in modules for name in ("forward", "__call__")),
            "callbacks": sum(map(len, script_callbacks.callback_map.values())),
            "options": hash(repr(sorted(shared.opts.data.items(), key=lambda item: item[0]))),
            "objects": len(gc.get_objects()),
            "threads": threading.active_count(),
            "files": _files(),
            "rss": rss(),
        }


def _files() -> int:
    """Open files and sockets; 0 where that cannot be known."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
