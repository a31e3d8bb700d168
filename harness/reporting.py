# SPDX-License-Identifier: GPL-2.0
"""`harness report`: a run's folder -> report.html, and what GitHub shows of it."""

from pathlib import Path

from harness import history
from harness.annotations import annotate
from harness.cell import load_cells
from harness.errors import HarnessError
from harness.place import Place
from harness.report import write_report
from harness.reportdata import gather
from harness.reportmodel import ReportData
from harness.spec import load_specs
from harness.spot import Spot, spec_lines
from harness.summary import LIMIT, summarize


def write_reports(
    place: Place,
    folder: Path,
    *,
    kept: Path | None = None,
    summary: Path | None = None,
    annotations: bool = False,
) -> None:
    """Write a run's report.html, and what else is asked for.

    Args:
        place: the checkout whose specifications the tests come from.
        folder: of a run, or of a matrix run.
        kept: folder of the history; the run is added to it.
        summary: file to add a summary in Markdown to.
        annotations: print GitHub's workflow commands.

    Raises:
        HarnessError: the folder is not a run's, or something cannot be read or written.
    """
    cells = load_cells(folder)
    specs = spec_spots(place.source)
    data = gather(folder, cells, history=history.History(), specs=specs)
    if kept is not None:
        runs = [(c.record, c.manifest.expected) for c in data.cells if c.record and c.manifest]
        history.append(kept, runs)
        data = gather(folder, cells, history=history.load(kept), specs=specs)
    path = write_report(folder, data)
    place.progress.note(f"report: {path}")
    if summary is not None:
        _add_summary(summary, data)
    for line in annotate(data, specs=specs) if annotations else ():
        place.progress.note(line)


def _add_summary(path: Path, data: ReportData) -> None:
    """Add to the file, as GitHub wants it: other commands of the step may have, too."""
    try:
        with path.open("ab") as file:
            file.write(summarize(data, room=LIMIT - file.tell()).encode())
    except OSError as error:
        raise HarnessError(f"{path}: cannot write: {error.strerror}") from None


def spec_spots(source: Path) -> dict[str, Spot]:
    """Return where each test of a checkout is specified, by `suite:fixture.test`.

    A checkout whose specifications cannot be read has none: a report must not fail for it.
    """
    found = {}
    try:
        specs = load_specs(source / "selftests/specs")
    except HarnessError:
        return {}
    for spec in specs:
        file = str(spec.path.relative_to(source))
        for id_, line in spec_lines(spec.path.read_text()).items():
            found[f"{spec.name}:{id_}"] = Spot(file=file, line=line)
    return found
