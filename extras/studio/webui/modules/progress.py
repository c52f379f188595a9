"""Names that extensions import; the Studio's progress is `shared.state`."""

current_task = None
pending_tasks: dict = {}


def create_task_id(task_type: str) -> str:
    import secrets

    return f"task({task_type}-{secrets.token_hex(4)})"


def add_task_to_queue(id_job) -> None:
    pass


def start_task(id_task) -> None:
    global current_task
    current_task = id_task


def finish_task(id_task) -> None:
    global current_task
    current_task = None
