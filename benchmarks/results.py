"""The results table of the README: every row, on the default digits and on all of MNIST, in one JSON file.

    python benchmarks/results.py                                   all rows on `digits`, three seeds, 3 minutes each
    python benchmarks/results.py --mnist path/to/mnist.npz         and on all of MNIST, 15 minutes each
    python benchmarks/results.py --rows code denoising --seeds 1

Each row and seed runs in a process of its own, so that memory comes back and a fault costs one row only. What is done
is in benchmarks/results.json and is not done again; `--again` does again what an earlier version of the package or the
benchmarks has done. So an interrupted run goes on where it was. At the end, or with `--table` alone, the table is
written between two marks in the README (START and END below), if it has them, and the two plots into .github. The rows
themselves are in rows.py.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILE, README = ROOT / "benchmarks" / "results.json", ROOT / "README.md"
SECONDS = {"digits": 180, "mnist": 900}  # of training a row
COLUMNS = {"digits": "`digits`, 3 minutes", "mnist": "all of MNIST, 15 minutes"}
PLOTS = ("sizes", "race")  # rows that make the plots, of `digits` only
TIMES = {"likelihood": 2, "race": 9}  # how many times their `seconds` rows take, where it isn't 1.2
START, END = "<!-- results -->", "<!-- end of results -->"


def load():
    """Everything that is done: data set, row, seed to figures and circumstances."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def store(results):
    """Replaces the file as a whole."""
    unfinished = FILE.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    os.replace(unfinished, FILE)


def run_one(name, source, seconds, seed):
    """One row and seed, in this process: prints its figures as a line of JSON."""
    import autoencoder_utils  # noqa: F401, I001  before Keras: it holds TensorFlow's start-up messages back
    import keras
    from autoencoder_utils.data import load_images
    from autoencoder_utils.memory import peak_memory
    from rows import ROWS

    speed, version = gigaflops(), commit()
    start = time.perf_counter()
    figures = ROWS[name].run(load_images(source), seconds, seed)
    print("FIGURES " + json.dumps({
        "figures": figures, "training_seconds": seconds, "seconds": round(time.perf_counter() - start, 1),
        "gigabytes": round(peak_memory(), 2), "backend": keras.backend.backend(), "cores": os.cpu_count(),
        "gigaflops": speed, "machine": platform.machine(), "commit": version}), flush=True)


def commit():
    """The last commit of package or benchmarks, with a plus where they have changed since; empty without git."""
    def git(*command):
        return subprocess.run(["git", *command, "--", "autoencoder_utils", "benchmarks/*.py"], cwd=ROOT, check=True,
                              capture_output=True, text=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return git("log", "-1", "--format=%h") + "+" * bool(git("diff", "--name-only", "HEAD"))
    return ""


def gigaflops():
    """How fast this machine multiplies two float32 matrices of 1,024 by 1,024 with NumPy, the best of ten."""
    import numpy as np

    matrix, seconds = np.ones((1024, 1024), "float32"), []
    for _ in range(10):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return round(2 * 1024**3 / min(seconds) / 1e9)


def run_apart(name, source, seconds, seed):
    """The same in a process of its own; its dictionary, or None if it failed."""
    command = [sys.executable, __file__, "--one", name, source, str(seconds), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        done = None
        for line in process.stdout:
            if line.startswith("FIGURES "):
                done = json.loads(line.removeprefix("FIGURES "), parse_constant=lambda name: None)  # NaN: no JSON
            else:
                print("   ", line, end="", flush=True)
    return done if process.returncode == 0 else None


def run_missing(sources, names, seeds, seconds, keep=True, again=False):
    """Runs what the file lacks, the first seed of every row first, and says how long the rest will take.

    With `again`, also what another version has run, which stands in the file until its successor is there. Returns
    whether all of them succeeded.
    """
    done, version, complete = load() if keep else {}, commit(), True

    def due(data, name, seed):
        run = done.get(data, {}).get(name, {}).get(str(seed))
        return (run is None or again and run.get("commit") != version) and (data == "digits" or name not in PLOTS)

    todo = [(data, name, seed) for data in sources for seed in range(seeds) for name in names if due(data, name, seed)]
    for number, (data, name, seed) in enumerate(todo):
        left = sum(TIMES.get(name, 1.2) * seconds[data] for data, name, _ in todo[number:])
        print(f"[{number + 1}/{len(todo)}] {data} {name} seed {seed}; about {left / 60:.0f} minutes left", flush=True)
        run = run_apart(name, sources[data], seconds[data], seed)
        if run is None:
            print(f"    {name} failed: left out; run it again with --rows {name}", flush=True)
            complete = False
            continue
        print("    " + "  ".join(f"{key} {'-' if value is None else f'{value:.4g}'}"
                                 for key, value in run["figures"].items()), flush=True)
        if not keep:
            continue
        results = load()  # anew: another run may have written meanwhile
        results.setdefault(data, {}).setdefault(name, {})[str(seed)] = run
        store(results)
    return complete


def median_and_range(runs, key, form):
    """Of one figure over the seeds, as two texts; empty where there is none."""
    values = [run["figures"][key] for run in runs.values() if run["figures"].get(key) is not None]
    if not values:
        return "", ""
    middle, low, high = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return middle, f" ({low} to {high})" if low != high else ""


def table(results):
    """The table as Markdown, and what it was made of."""
    from rows import ROWS

    columns = {data: title for data, title in COLUMNS.items() if results.get(data)}
    lines = ["| | published | " + " | ".join(f"{title}: baseline | ours" for title in columns.values()) + " |",
             "|---|---|" + "---|---|" * len(columns)]
    for name, row in ROWS.items():
        if row.lines and any(name in results[data] for data in columns):
            counts = [len(results[data].get(name, {})) for data in columns]
            seeds = ["" if not count else "1 seed" if count == 1 else f"{count} seeds" for count in counts]
            lines.append(f"| **{row.title}** | |" + "".join(f" | {text} |" for text in seeds))
        for line in row.lines:
            cells = []
            for data in columns:
                runs = results[data].get(name, {})
                baselines = {label: median_and_range(runs, key, line.form)[0] for label, key in line.baselines.items()}
                middle, spread = median_and_range(runs, line.ours, line.form)
                cells += ["; ".join(f"{label} {text}" for label, text in baselines.items() if text),
                          f"**{middle}**{spread}" if middle else ""]
            if any(cells):
                lines.append(f"| {line.measure} | {line.published} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nMedian over the seeds, of two their mean; in brackets the range, where it shows.\n"


def draw(results):
    """The two plots, of what there is: error against code size, Fréchet distance against seconds."""
    from gallery import TITLES

    import autoencoder_utils  # noqa: F401
    from autoencoder_utils import plotting

    runs = results.get("digits", {})
    if "sizes" in runs:
        figures = next(iter(runs["sizes"].values()))["figures"]
        sizes = sorted(int(key.removeprefix("ours ")) for key in figures if key.startswith("ours "))
        curves = {label: [_median(runs["sizes"], f"{key} {size}") for size in sizes]
                  for label, key in (("PCA", "pca"), ("autoencoder", "ours"))}
        places = dict.fromkeys(curves, sizes)
        figure = plotting.curves(curves, "numbers in the code", "test squared error a pixel", places)
        errors = (0.004, 0.008, 0.016, 0.032, 0.064)
        figure.axes[0].set(xscale="log", yscale="log", xticks=sizes, xticklabels=sizes, yticks=errors,
                           yticklabels=errors)
        figure.axes[0].minorticks_off()
        figure.savefig(ROOT / ".github" / "sizes.png", dpi=100)
    if "race" in runs:
        keys = [key.rsplit(" ", 1) for key in next(iter(runs["race"].values()))["figures"]]
        names, seconds = list(dict.fromkeys(name for name, _ in keys)), sorted({int(time) for _, time in keys})
        curves = {TITLES[name]: [_median(runs["race"], f"{name} {time}") for time in seconds] for name in names}
        figure = plotting.curves(curves, "seconds of training", "Fréchet distance, multiples of the floor",
                                 dict.fromkeys(curves, seconds), {"training images": 1})
        figure.axes[0].set(xscale="log", yscale="log", xticks=seconds, xticklabels=seconds)
        figure.axes[0].minorticks_off()
        figure.axes[0].legend(frameon=False, bbox_to_anchor=(1, 1), fontsize=9)
        figure.savefig(ROOT / ".github" / "race.png", dpi=100)


def _median(runs, key):
    return statistics.median(run["figures"][key] for run in runs.values())


def main():
    """The command line; returns whether a row has failed."""
    if sys.argv[1:2] == ["--one"]:
        name, source, seconds, seed = sys.argv[2:]
        run_one(name, source, float(seconds), int(seed))
        return False
    from rows import ROWS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW",
                        help="which: " + ", ".join(ROWS))
    parser.add_argument("--mnist", default="", help="path of all of MNIST as .npz, or `mnist`, which Keras downloads")
    parser.add_argument("--data", nargs="+", default=["digits", "mnist"], choices=["digits", "mnist"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="of training a row, for a trial, which is not kept")
    parser.add_argument("--again", action="store_true", help="and what an earlier version has done")
    parser.add_argument("--table", action="store_true", help="only write the table and the plots")
    arguments = parser.parse_args()
    if arguments.again and (arguments.table or arguments.seconds):
        parser.error("--again does rows again and keeps them: not with --table or --seconds, which keep none")
    sources = {data: {"digits": "digits", "mnist": arguments.mnist}[data] for data in arguments.data}
    sources = {data: source for data, source in sources.items() if source}
    complete = True
    if not arguments.table:
        seconds = {data: arguments.seconds or SECONDS[data] for data in SECONDS}
        with contextlib.suppress(KeyboardInterrupt):
            complete = run_missing(sources, arguments.rows, arguments.seeds, seconds, not arguments.seconds,
                                   arguments.again)
    if arguments.seconds:
        return not complete  # a trial changes nothing
    text, results = README.read_text(encoding="utf-8"), load()
    if results and START in text:
        before, after = text.split(START)[0], text.split(END)[1]
        README.write_text(f"{before}{START}\n{table(results)}{END}{after}", encoding="utf-8")
    draw(results)
    return not complete


if __name__ == "__main__":
    sys.exit(main())
