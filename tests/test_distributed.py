"""Two processes on this machine against this one; processes that die, that hang, that are told nonsense."""

import os
import pathlib
import subprocess
import sys

import distributed_script
import keras
import numpy as np
import pytest

from autoencoder_utils import distributed
from autoencoder_utils.training import Batches

SCRIPT = pathlib.Path(__file__).with_name("distributed_script.py")


def script(folder, text):
    path = folder / "script.py"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The script in two processes: the arrays of each, by their names, what was printed, and where the model lies."""
    folder = tmp_path_factory.mktemp("runs")
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(SCRIPT.parents[1])}
    main = [sys.executable, "-m", "autoencoder_utils.distributed", "--timeout", "100", SCRIPT, folder]
    printed = subprocess.run(main, env=environment, check=True, capture_output=True, text=True).stdout
    arrays = {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}
    return arrays, printed, folder


def start_and_end(arrays):
    weights = [array for name, array in arrays.items() if name != "loss"]
    return weights[: len(weights) // 2], weights[len(weights) // 2 :]


def test_both_processes_end_with_identical_weights(runs):
    arrays, printed, _ = runs
    assert set(arrays) == {"0_of_2", "1_of_2"}
    assert printed == "2 processes, 2 devices\n"
    for name, array in arrays["0_of_2"].items():
        np.testing.assert_array_equal(array, arrays["1_of_2"][name])


def test_two_processes_take_the_steps_that_one_takes(runs):
    """One process, this one, on whatever backend it has."""
    two = runs[0]["0_of_2"]
    start, end = start_and_end(two)
    model = distributed_script.build()
    model.set_weights(start)
    loss = distributed_script.train(model, *distributed.connect())
    for first, last, weight in zip(start, end, model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, last, atol=2e-5)
        assert np.abs(last - first).max() > 0.01  # a thousand times the rounding
    np.testing.assert_allclose(loss, two["loss"], rtol=1e-5)


def test_the_model_that_was_saved_holds_the_weights(runs):
    arrays, _, folder = runs
    model = keras.models.load_model(folder / "model.keras")
    for weight, saved in zip(model.get_weights(), start_and_end(arrays["0_of_2"])[1], strict=True):
        np.testing.assert_array_equal(weight, saved)


def test_an_error_in_one_process_ends_the_others(tmp_path):
    """At once: the way out that JAX provides for would wait for the other one, which here waits for two minutes."""
    path = script(tmp_path, """
import time
from autoencoder_utils import distributed
process, count = distributed.connect()
if process == 1:
    raise ArithmeticError("deliberate")
time.sleep(120)
""")
    with pytest.raises(RuntimeError, match=r"Process 1 of 2 ended with exit code 1[\s\S]*ArithmeticError: deliberate"):
        distributed.launch(path, timeout=100)


def test_a_process_that_is_killed_ends_the_others(tmp_path):
    number = "os.environ['KERAS_DISTRIBUTION_PROCESS_ID']"
    path = script(tmp_path, f"import os, time; {number} == '1' and os.kill(os.getpid(), 9); time.sleep(120)")
    with pytest.raises(RuntimeError, match="Process 1 of 2 was ended by signal 9, and the others were ended"):
        distributed.launch(path, timeout=100)


def test_processes_that_hang_are_ended(tmp_path):
    path = script(tmp_path, "import os, time; open(f'{os.getpid()}.pid', 'w').close(); time.sleep(600)")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(TimeoutError, match="2 processes to be done in 2 seconds"):
            distributed.launch(path, timeout=2)
    finally:
        os.chdir(here)
    pids = [int(file.stem) for file in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_the_first_process_prints_is_handed_on_and_arguments_arrive(tmp_path, capsys):
    number = "os.environ['KERAS_DISTRIBUTION_PROCESS_ID']"
    path = script(tmp_path, f"import os, sys; print('[Gloo] chatter'); print({number}, *sys.argv[1:], '\\u00e9')")
    distributed.launch(path, ["a", 2], processes=3)
    assert capsys.readouterr().out == "0 a 2 \u00e9\n"


def test_each_machine_starts_its_own_numbers(tmp_path, capsys):
    names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    values = "*(os.environ['KERAS_DISTRIBUTION_' + name] for name in sys.argv[1:]), os.environ['JAX_LOCAL_DEVICE_IDS']"
    path = script(tmp_path, f"import os, sys; print({values}, 'JAX_COORDINATOR_BIND_ADDRESS' in os.environ)")
    distributed.launch(path, names, processes=2, coordinator="10.0.0.1:1234", machines=3, machine=1)
    assert capsys.readouterr().out == "10.0.0.1:1234 6 2 0 False\n"
    distributed.launch(path, names, processes=2)
    address, *others = capsys.readouterr().out.split()
    assert address.startswith("127.0.0.1:") and others == ["2", "0", "0", "True"]


def test_the_command_line_reports_and_fails(tmp_path, capsys):
    path = script(tmp_path, "import sys; sys.exit(f'bad {sys.argv[1]}')")
    with pytest.raises(SystemExit) as caught:
        distributed.main(["--processes", "1", str(path), "--luck"])
    assert caught.value.code == 1
    assert "Process 0 of 1 ended with exit code 1" in (text := capsys.readouterr().err) and "bad --luck" in text


def test_a_script_on_its_own_is_one_process_of_one():
    assert distributed.connect() == (0, 1)


def test_connect_asks_for_jax(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax. Received: tensorflow"):
        distributed.connect()


def test_shares_make_up_the_batch_in_every_epoch():
    images = np.random.default_rng(0).random((20, 2, 2, 1), "float32")
    whole, shares = Batches(images, 6), [distributed.Share(Batches(images, 6), i, 3) for i in range(3)]
    for _ in range(2):
        assert len(shares[0]) == len(whole) == 3
        for index in range(3):
            parts = [share[index][0] for share in shares]
            assert {len(part) for part in parts} == {2}
            np.testing.assert_array_equal(np.stack(parts, axis=1).reshape(6, 2, 2, 1), whole[index][0])
        for dataset in (whole, *shares):
            dataset.on_epoch_end()


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"batch_size": 6, "stack": 2}])
def test_batches_that_do_not_divide_are_refused(options):
    images = np.zeros((20, 2, 2, 1), "float32")
    with pytest.raises(ValueError, match=r"size 2 processes can share. Received: batch_size"):
        distributed.Share(Batches(images, **options), 0, 2)


@pytest.mark.parametrize("options", [{"processes": 0}, {"machines": 2}, {"machine": 1}, {"machine": -1}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match="Expected at least one process.*Received: processes="):
        distributed.launch(SCRIPT, **options)


def test_a_script_that_does_not_exist_is_named():
    with pytest.raises(FileNotFoundError, match="No such script: 'nowhere.py'"):
        distributed.launch("nowhere.py")
