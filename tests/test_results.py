"""The results table: what is done is kept and not done again, the table says what the file says, time budgets end."""

import gc
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from notebook_store import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import budget  # noqa: E402
import results  # noqa: E402
import rows  # noqa: E402

MADE = {"figures": {"ours psnr": 20.0, "linear psnr": 17.0, "kernel psnr": 18.0}, "seconds": 1.0}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The results go to an empty folder."""
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    return results.FILE


def run(monkeypatch, answer, names=("denoising", "code"), seeds=2, again=False):
    """Runs what is missing, with `answer` in the place of the training; which (row, seed) were asked for."""
    asked = []

    def run_apart(name, source, seconds, seed):
        asked.append((name, seed))
        return answer(name, seed)

    monkeypatch.setattr(results, "run_apart", run_apart)
    results.run_missing({"digits": "digits"}, names, seeds, {"digits": 1}, again=again)
    return asked


def test_an_interrupted_run_goes_on_where_it_was(file, monkeypatch):
    def stopped(name, seed):
        if (name, seed) == ("denoising", 1):
            raise KeyboardInterrupt
        return MADE

    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, stopped)
    assert json.loads(file.read_text()) == {"digits": {"denoising": {"0": MADE}, "code": {"0": MADE}}}
    assert run(monkeypatch, lambda name, seed: MADE) == [("denoising", 1), ("code", 1)]
    assert run(monkeypatch, lambda name, seed: MADE) == []
    assert list(file.parent.glob("*.unfinished")) == []


def test_a_row_that_fails_is_left_out_and_tried_again(file, monkeypatch, capsys):
    run(monkeypatch, lambda name, seed: None if name == "code" else MADE, seeds=1)
    assert "code failed" in capsys.readouterr().out
    assert set(json.loads(file.read_text())["digits"]) == {"denoising"}
    assert run(monkeypatch, lambda name, seed: MADE, seeds=1) == [("code", 0)]


def test_the_table_has_medians_and_ranges():
    runs = {str(seed): {"figures": {"ours psnr": value, "linear psnr": 17.6, "kernel psnr": 18.5, "noisy psnr": 9.4}}
            for seed, value in enumerate((20.6, 20.9, 20.8))}
    text = results.table({"digits": {"denoising": runs}})
    assert "| PSNR, dB |  | linear 17.6; kernel 18.5 | **20.8** (20.6 to 20.9) |\n" in text
    assert "| **denoising, clipped Gaussian noise of 0.5** | | | 3 seeds |\n" in text and "tomography" not in text
    heads = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in heads}) == 1  # as many cells in every line


def test_a_figure_that_could_not_be_read_off_is_no_number_in_the_table():
    figures = {"ours bits at 22 dB": 76.0, "ours bits at 24 dB": None, "pca bits at 22 dB": 212.0}
    text = results.table({"digits": {"compression": {"0": {"figures": figures}}}})
    assert "**76**" in text and "nan" not in text and "None" not in text


def test_all_lines_find_their_figures_in_the_stored_results():
    for data, done in results.load().items():
        for name, runs in done.items():
            for line in rows.ROWS[name].lines:
                for run in runs.values():
                    assert {line.ours, *line.baselines.values()} <= set(run["figures"]), (data, name)


def test_again_does_what_another_version_has_done_and_nothing_is_lost_if_it_fails(file, monkeypatch):
    old, new = MADE | {"commit": "then"}, MADE | {"commit": "now"}
    monkeypatch.setattr(results, "commit", lambda: "now")
    results.store({"digits": {"denoising": {"0": old}, "code": {"0": new}}})
    assert run(monkeypatch, lambda name, seed: None, seeds=1, again=True) == [("denoising", 0)]
    assert results.load() == {"digits": {"denoising": {"0": old}, "code": {"0": new}}}
    assert run(monkeypatch, lambda name, seed: new, seeds=1, again=True) == [("denoising", 0)]
    assert results.load() == {"digits": {"denoising": {"0": new}, "code": {"0": new}}}
    assert run(monkeypatch, lambda name, seed: new, seeds=1, again=True) == []


@pytest.mark.parametrize("other", [["--table"], ["--seconds", "5"]])
def test_again_is_refused_where_nothing_is_kept(file, monkeypatch, other, capsys):
    monkeypatch.setattr(sys, "argv", ["results.py", "--data", "digits", "--rows", "code", "--again", *other])
    with pytest.raises(SystemExit):
        results.main()
    assert "--again" in capsys.readouterr().err


def test_the_version_is_that_of_package_and_benchmarks(tmp_path, monkeypatch):
    def git(*command):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)

    monkeypatch.setattr(results, "ROOT", tmp_path)
    assert results.commit() == ""
    (tmp_path / "benchmarks").mkdir()
    for name in ("benchmarks/rows.py", "benchmarks/results.json"):
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    version = results.commit()
    assert len(version) >= 7
    (tmp_path / "benchmarks" / "results.json").write_text("2")
    git("commit", "-qam", "figures only")
    assert results.commit() == version
    (tmp_path / "benchmarks" / "rows.py").write_text("2")
    assert results.commit() == version + "+"


def test_the_readme_has_the_table_of_the_stored_results():
    table = results.table(results.load())
    assert f"{results.START}\n{table}{results.END}" in results.README.read_text(encoding="utf-8")


def test_a_trial_changes_nothing(file, monkeypatch):
    results.store({"digits": {"code": {"0": MADE}}})
    monkeypatch.setattr(results, "README", file.parent / "README.md")  # which is not there
    monkeypatch.setattr(results, "run_apart", lambda name, source, seconds, seed: MADE)
    monkeypatch.setattr(sys, "argv", ["results.py", "--data", "digits", "--rows", "code", "--seconds", "5"])
    assert not results.main()
    assert results.load() == {"digits": {"code": {"0": MADE}}}
    monkeypatch.setattr(results, "run_apart", lambda name, source, seconds, seed: None)
    assert results.main()  # the exit status of `make results` where a row has failed


def test_a_row_that_runs_apart_brings_its_figures_and_null_for_nan(tmp_path, monkeypatch):
    script = tmp_path / "row.py"
    script.write_text("""print('FIGURES {"figures": {"bits": 76.0, "beyond": NaN}}')""")
    monkeypatch.setattr(results, "__file__", str(script))
    assert results.run_apart("compression", "digits", 1, 0) == {"figures": {"bits": 76.0, "beyond": None}}


@pytest.mark.parametrize("name", ["code", "plane"])
def test_a_row_gives_the_figures_that_its_lines_name(name):
    from autoencoder_utils.data import load_images

    figures = rows.ROWS[name].run(load_images("digits"), 0.1, 0)
    for line in rows.ROWS[name].lines:
        assert {line.ours, *line.baselines.values()} <= set(figures)
    assert all(np.isfinite(value) and isinstance(value, float) for value in figures.values())


def test_bits_are_read_off_in_the_logarithm():
    points = [(100.0, 20.0), (400.0, 24.0)]
    assert rows.bits_at(points, 22) == pytest.approx(200)
    assert np.isnan(rows.bits_at(points, 25)) and np.isnan(rows.bits_at(points, 19))


def test_the_angle_ignores_the_amount_of_ink():
    images = np.random.default_rng(0).random((3, 4, 4, 1), dtype="float32")
    assert rows.angle(images, 0.3 * images) == pytest.approx(np.zeros(3), abs=1e-5)
    one, other = np.zeros((2, 1, 2, 2, 1), "float32")
    one[0, 0, 0], other[0, 1, 1] = 1, 1
    assert rows.angle(one, other) == pytest.approx([1])


def rates_of_a_budget(monkeypatch, first):
    """The rates of a budget of 100 seconds and a peak of 0.5; the first step takes `first` seconds, the others one."""
    clock, rates = [0.0], []
    monkeypatch.setattr(budget.time, "perf_counter", lambda: clock[0])

    class Tick(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            clock[0] += 1.0 if rates else first
            rates.append(float(self.model.optimizer.learning_rate))

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = np.ones((30, 2), "float32")
    model.fit(x, x[:, :1], batch_size=1, epochs=100, verbose=0, callbacks=[Tick(), budget.Budget(100, 0.5)])
    return rates


def test_a_budget_ends_on_time_and_the_rate_falls_to_nothing(monkeypatch):
    rates = rates_of_a_budget(monkeypatch, 1.0)
    assert len(rates) == 100  # in the middle of the fourth epoch
    assert max(rates) <= 0.5 and max(rates) > 0.45 and rates[0] < 0.02 and rates[-1] < 1e-3
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))


def test_the_rate_rises_after_the_step_that_compiles(monkeypatch):
    rates = rates_of_a_budget(monkeypatch, 20.0)
    assert len(rates) == 81 and max(rates[:2]) < 0.02 and rates[1:6] == sorted(rates[1:6])
    assert rates[6] == pytest.approx(0.5 * np.cos(np.pi * 0.25 / 2) ** 2)  # half a cosine, of the whole time


def test_a_training_whose_loss_is_no_number_ends_at_once_and_says_where():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    x = np.full((8, 2), np.nan, "float32")
    with pytest.raises(FloatingPointError, match="of 60 seconds.*loss.*nan.* lower peak than 0.5"):
        budget.train_for(60, model, (x, x[:, :1]), 0.5, batch_size=8, steps=1, loss="mse")


def test_a_training_that_is_stopped_leaves_no_iterator_behind():
    """TensorFlow may take a minute to end one, and Python would ask for it amid the next training."""
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            return np.ones((8, 2), "float32"), np.ones((8, 1), "float32")

    gc.collect()
    gc.disable()
    try:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        budget.train_for(1e-3, model, (Batches(),), loss="mse")
        left = [thing for thing in gc.get_objects() if type(thing).__name__.endswith("EpochIterator")]
    finally:
        gc.enable()
    assert model.optimizer.iterations < 1000 and not left
