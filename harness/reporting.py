# SPDX-License-Identifier: GPL-2.0
"""`harness report`: a run's folder -> report.html, and what GitHub shows of it."""

from pathlib import Path

from harness import history
from harness.cell import load_cells
from harness.errors import HarnessError
from harness.place import Place
from harness.report import write_report
from harness.reportdata import gather
from harness.spec import load_specs
from harness.spot import Spot, spec_lines


def write_reports(place: Place, folder: Path, *, kept: Path | None = None) -> None:
    """Write a run's report.html.

    Args:
        place: the checkout whose specifications the tests come from.
        folder: of a run, or of a matrix run.
        kept: folder of the history; the run is added to it.

    Raises:
        HarnessError: the folder is not a run's, or something cannot be read or written.
    """
    cells = load_cells(folder)
    earlier = history.History()
    data = gather(folder, cells, history=earlier, specs=spec_spots(place.source))
    if kept is not None:
        history.append(
            kept,
            [
                (cell.record, cell.manifest.expected)
                for cell in data.cells
                if cell.record and cell.manifest
            ],
        )
        data = gather(folder, cells, history=history.load(kept), specs=spec_spots(place.source))
    path = write_report(folder, data)
    place.progress.console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


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
