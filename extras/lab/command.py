"""The `lab` command: check, run, report, analyse, export, search."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .errors import LabError, PlanError

OUTPUTS = Path("outputs") / "lab"
ENGINES = ("inprocess", "webui", "ray")


def main(argv: list[str]) -> int:
    """0; 1 where something failed, with what was done kept; 2 for a plan or options that cannot be."""
    options = _parser().parse_args(argv)
    try:
        return int(options.work(options) or 0)
    except PlanError as error:
        print(f"nagtime lab: the plan cannot be run:\n{error}", file=sys.stderr)
        return 2
    except LabError as error:
        print(f"nagtime lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nnagtime lab: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nagtime.py lab", description="Experiments: draw, measure, analyse, report.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="read a plan, say what it would draw and what it needs; draws nothing")
    check.add_argument("plan", type=Path)
    check.add_argument("--url", action="append", metavar="URL", help="of a WebUI: has it what the plan names?")
    check.set_defaults(work=_check)

    run = commands.add_parser("run", help="draw and measure a plan, then write its report; killed, it goes on")
    run.add_argument("plan", type=Path)
    run.add_argument("--out", type=Path, metavar="FOLDER", help=f"default: {OUTPUTS}/<name of the plan>")
    run.add_argument("--no-report", action="store_true", help="only draw and measure")
    run.add_argument("--live", type=Path, metavar="FILE", help="keep there, as JSON, what a page shows of the run")
    _add_engine(run)
    run.set_defaults(work=_run)

    report = commands.add_parser("report", help="write the report of a run again, from its results")
    report.add_argument("folder", type=Path)
    report.set_defaults(work=_report)

    analyse = commands.add_parser("analyse", help="statistics of results, or of CSV files in the published format")
    analyse.add_argument("rest", nargs=argparse.REMAINDER, metavar="FOLDER or FILES")
    analyse.set_defaults(work=_analyse)

    export = commands.add_parser("export", help="CSV under the published names, and Parquet")
    export.add_argument("folder", type=Path)
    export.add_argument("--out", type=Path, metavar="FOLDER", help="default: csv/ in the run's folder")
    export.set_defaults(work=_export)

    search = commands.add_parser("search", help="find the schedules on the frontier, within a budget of pictures")
    search.add_argument("plan", type=Path, help="models, pairs, seeds, metrics; its `search` says what to vary")
    search.add_argument("--model", help="of the plan (default: its first)")
    search.add_argument("--budget", type=int, default=400, metavar="PICTURES", help="default 400")
    search.add_argument("--preset", metavar="NAME", help="name of the preset that is written")
    search.add_argument("--out", type=Path, metavar="FOLDER")
    _add_engine(search)
    search.set_defaults(work=_search)
    _add_compare(commands)
    return parser


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser("engines", help="draw one small plan with each engine: how fast, and the same pixels?")
    parser.add_argument("plan", type=Path, nargs="?", help="default: 40 pictures of the small models")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"a new one; default: {OUTPUTS}/engines-<time>")
    parser.add_argument("--url", action="append", metavar="URL", help="of a WebUI or Studio, each an engine of its own")
    parser.add_argument("--workers", type=int, metavar="N", help="of engine ray (default: one a GPU, else one a core)")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="workers of ray to kill while they draw")
    parser.set_defaults(work=_compare)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=ENGINES, help="default: the plan's")
    parser.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="of a WebUI with --api, for engine webui; may be given several times",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="of engine ray (default: one a GPU, else one a core)")
    parser.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster (default: one on this machine)")


def _check(options: Any) -> int:
    from . import check, plan

    found = check.check(plan.load(options.plan), options.url)
    print("\n".join(found.lines))
    for problem in found.problems:
        print(f"nagtime lab: {options.plan}: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


def _run(options: Any) -> int:
    from . import plan
    from .live import View

    view = View(options.out or OUTPUTS, options.live)
    try:
        wanted = plan.load(options.plan)
        view.folder = folder = options.out or OUTPUTS / wanted.name
        outcome = _drawn(options, wanted, folder, view)
        print(outcome.summary())
        for error in outcome.errors[:10]:
            print(f"  failed: {error}", file=sys.stderr)
        report = None if options.no_report else _written(folder)
    except LabError as error:
        view.end(str(error), "error")
        raise
    if report is not None:
        print(f"report: {report}")
    view.end("; ".join([outcome.summary(), *outcome.errors[:3]]), "error" if outcome.errors else "note", report)
    return 1 if outcome.failed else 0


def _drawn(options: Any, wanted: Any, folder: Path, view: Any) -> Any:
    from . import runner
    from .progress import Line, Progress

    engine = make_engine(options.engine or wanted.engine, options.url, options.workers, options.address)
    text, line = options.plan.read_text(encoding="utf-8"), Line()

    def show(progress: Progress) -> None:
        line(progress)
        view.show(progress)

    def between(store: Any) -> None:
        if options.live:
            view.between(store, wanted)

    try:
        return runner.run(wanted, text, folder, engine, show=show, between=between, command=runner.command_line())
    finally:
        engine.close()


def _report(options: Any) -> int:
    print(_written(options.folder))
    return 0


def _written(folder: Path) -> Path:
    from .report import write_report

    return Path(write_report(folder))


def _analyse(options: Any) -> int:
    from .report import analyse

    return int(analyse.main(options.rest) or 0)


def _export(options: Any) -> int:
    from .export import export

    for path in export(options.folder, options.out or options.folder / "csv"):
        print(path)
    return 0


def _search(options: Any) -> int:
    from . import plan, search
    from .progress import Line

    wanted = plan.load(options.plan)
    engine = make_engine(options.engine or wanted.engine, options.url, options.workers, options.address)
    folder = options.out or OUTPUTS / f"{wanted.name}-search"
    try:
        found = search.search(wanted, folder, engine, options.model, options.budget, options.preset, show=Line())
    finally:
        engine.close()
    print(found.text())
    return 0


def _compare(options: Any) -> int:
    import time

    from . import plan
    from .engines import compare

    path = options.plan or compare.PLAN
    out = options.out or OUTPUTS / time.strftime("engines-%Y%m%d-%H%M%S")
    if out.exists():
        raise LabError(f"{out} is there already; name a new folder, or what is kept there would count as drawn at once")
    kinds: list[tuple[str, Any]] = [("inprocess", lambda: make_engine("inprocess", None, None, None))]
    kinds.append(("ray", lambda: make_engine("ray", None, options.workers, None)))
    for number, url in enumerate(options.url or [], 1):
        kinds.append((f"webui-{number}", lambda url=url: make_engine("webui", [url], None, None)))
    found = compare.compare(plan.load(path), path.read_text(encoding="utf-8"), out, kinds, options.kill)
    print(compare.table(found))
    return 1 if any(each.failed for each in found) else 0


def make_engine(name: str, urls: list[str] | None, workers: int | None, address: str | None) -> Any:
    """The engine of that name. LabError where it cannot be had."""
    if name == "webui":
        from .engines.webui import WebUI

        return WebUI(urls or ["http://127.0.0.1:7860"])
    if urls:
        raise LabError(f"--url is for --engine webui, and the engine is {name}")
    if name == "ray":
        from .engines.ray import Ray

        return Ray(workers, address)
    from .engines.inprocess import InProcess

    return InProcess()
