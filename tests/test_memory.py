"""Room for the next model: what a trained and deleted model leaves behind."""

import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest

from autoencoder_utils import memory
from autoencoder_utils.architectures import dense_decoder, dense_encoder
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.training import train_model

IMAGES = np.random.default_rng(0).random((64, 28, 28, 1), dtype="float32")


def trained(width):
    model = Autoencoder(dense_encoder((28, 28, 1), 8, (width,)), dense_decoder((28, 28, 1), 8, (width,)))
    train_model(model, IMAGES, epochs=1, peak=1e-3, batch_size=32)
    return model


def resident():
    """Megabytes that this process holds now."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1e3


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
@pytest.mark.parametrize("call", ["work()", "thread = threading.Thread(target=work); thread.start(); thread.join()"])
def test_kept_memory_is_not_fetched_again(call):
    code = f"""
import resource, threading
import numpy as np
from autoencoder_utils.memory import keep_memory
def work():
    for _ in range(100):
        blocks = [np.ones(500_000) for _ in range(3)]  # 4 MB each
        del blocks
def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    {call}
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
without = fetched()
keep_memory()
print(without, fetched())"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    without, kept = map(int, process.stdout.split())
    assert kept < without / 20


def test_nothing_holds_a_model_that_was_trained_and_deleted():
    model = trained(16)
    alive = [weakref.ref(model.encoder), weakref.ref(model.optimizer), weakref.ref(model.trainable_variables[0])]
    del model
    memory.make_room()
    assert [reference() for reference in alive] == [None] * 3


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow that keeps trained models")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_trained_models_do_not_pile_up():
    trained(1024)
    memory.make_room()
    before = resident()
    for _ in range(4):  # 1.6 million weights, with Adam's 20 MB each
        trained(1024)
        memory.make_room()
    assert resident() - before < 4 * 10


def test_models_that_are_still_there_go_on_training():
    model = trained(16)
    first = model.evaluate(IMAGES, verbose=0)
    memory.make_room()
    train_model(model, IMAGES, epochs=30, peak=1e-2, batch_size=32)
    assert model.evaluate(IMAGES, verbose=0) < first


def test_peak_memory_counts_what_was_held_and_given_back():
    code = ("import numpy as np; from autoencoder_utils.memory import peak_memory; before = peak_memory(); "
            "block = np.ones(50_000_000); del block; print(before, peak_memory())")
    # Linux hands a process's peak on to what it becomes: so the shell, not this large process, starts Python.
    shell = subprocess.run(["sh", "-c", f"{sys.executable} -c '{code}'; true"], capture_output=True, text=True)
    before, after = map(float, shell.stdout.split())
    assert before + 0.39 <= after < before + 0.45  # the block: 0.4 GB
    assert memory.peak_memory(children=True) >= after
