"""Hooks for pytest: order and cores of tests, and what nbval needs to run the notebooks, for which it looks here."""

import os
import re
from collections import defaultdict

from autoencoder_utils.memory import keep_memory, peak_memory

if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and hasattr(os, "sched_setaffinity"):
    # Each of `-n 2` has half of the cores, for itself and its kernels: two that share them all take half as long again.
    cores, count = sorted(os.sched_getaffinity(0)), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: count] or cores)

TOLERANCE = 0.02  # relative; training differs in the 5th digit between processors, and rounding can turn a last digit
SENSITIVE = 0.1  # in cells with that tag: figures that move by 2 to 6 % with the processor or the number of its cores
NUMBER = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?|\d+(?= %)")  # decimal numbers, and whole numbers of per cent
seconds = defaultdict(float)
keep_memory()  # as the chapters do


def pytest_collection_modifyitems(items):
    """The longest files first; slow outputs get time, and decimal numbers in a text output may differ a little."""
    # JupyterLab's browser runs a chapter, beside which other tests fit; the last chapters take longer than the first.
    items.sort(key=lambda item: (item.path.name == "test_lab.py", item.path.name * (item.path.suffix == ".ipynb")),
               reverse=True)
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            item.output_timeout = 60  # nbval's own 5 seconds are short for two busy cores
            sensitive = "sensitive" in item.cell.metadata.get("tags", ())
            item.compare_outputs = _tolerant(item.compare_outputs, SENSITIVE if sensitive else TOLERANCE)


def _tolerant(compare, tolerance):
    def compare_outputs(test, ref, skip_compare=None):
        # Standard error is no part of the stored form (tests/test_notebooks.py); HTML comes with a text twin.
        skip = ("metadata", "traceback", "text/latex", "prompt_number", "output_type", "name", "execution_count",
                "application/vnd.jupyter.widget-view+json", "image/png", "image/jpeg", "text/html")
        for new, old in zip(test, ref):
            for new_part, old_part in ((new, old), (new.get("data", {}), old.get("data", {}))):
                for key in new_part:
                    if isinstance(new_part[key], str) and isinstance(old_part.get(key), str) and key not in skip:
                        new_part[key] = snap(new_part[key], old_part[key], tolerance)
        return compare(test, ref, skip_compare or skip)

    return compare_outputs


def snap(new, old, tolerance=TOLERANCE):
    """Returns `old` if `new` differs from it only in decimal numbers, each within the tolerance; else `new`."""
    if NUMBER.split(new) != NUMBER.split(old):
        return new
    pairs = zip(map(float, NUMBER.findall(new)), map(float, NUMBER.findall(old)))
    return old if all(abs(a - b) <= tolerance * max(abs(a), abs(b)) for a, b in pairs) else new


def pytest_runtest_logreport(report):
    """Adds up the time of each notebook."""
    if report.nodeid.split("::")[0].endswith(".ipynb"):
        seconds[report.nodeid.split("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter):
    """Prints what each notebook took, and the memory of the largest kernel."""
    if seconds:
        for name, duration in seconds.items():
            terminalreporter.write_line(f"{name}: {duration / 60:.1f} minutes")
        terminalreporter.write_line(f"largest kernel: {peak_memory(children=True):.2f} GB")
