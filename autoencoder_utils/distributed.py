"""Data-parallel training past one process: the same script in several, which share every batch and agree on every step.

On Keras's JAX backend. Each process works on its part of a batch, and the gradients are averaged over all of them,
through gloo on CPUs and NCCL on GPUs, so that all hold the same weights at any time: Goyal et al., "Accurate, large
minibatch SGD: training ImageNet in 1 hour", 2017. In the script:

    process, count = distributed.connect()
    model = ...
    model.fit(distributed.Share(Batches(images, 64), process, count), epochs=10)
    keras.distribution.set_distribution(None)  # saving would wait for the others
    if process == 0:
        model.save("model.keras")

It is started by `distributed.launch("script.py", processes=2)`, or at the command line, on each of two machines, by

    python -m autoencoder_utils.distributed --coordinator 10.0.0.1:1234 --machines 2 --machine 0 script.py
"""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import keras

ADDRESSES, COUNT, PROCESS = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))


def connect():
    """Joins the processes that `launch` has started. Call it before anything is computed, best after the imports.

    Models built afterwards are spread over all processes; they need the same seed in each. In a script that was started
    by hand it does nothing, so that the same script is its own baseline.

    Returns:
        (process, count): this process's number, from 0 on, and how many there are; (0, 1) for a script on its own.

    Raises:
        ValueError: launched, but not on the JAX backend.
    """
    if COUNT not in os.environ:
        return 0, 1
    if keras.backend.backend() != "jax":
        raise ValueError("Several processes need the environment variable KERAS_BACKEND=jax. Received: "
                         f"{keras.backend.backend()}")
    sys.excepthook = _fail_at_once
    keras.distribution.initialize()  # reads the variables that `launch` sets
    # Keras can divide a tf.data.Dataset only; `Share` divides ours.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return int(os.environ[PROCESS]), int(os.environ[COUNT])


def _fail_at_once(kind, error, trace):
    """Ends the process after an error. Python's ordinary way out would wait for the others, which wait for this one."""
    sys.__excepthook__(kind, error, trace)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class Share(keras.utils.PyDataset):
    """One process's part of each batch: every `count`-th image from the `process`-th on.

    The parts make up the whole batch, so that all processes together take the very steps that one takes alone. (Each
    prepares the whole batch: what `Batches` varies costs as much as it does alone.)

    Args:
        batches: `training.Batches` without `stack`, the same in every process.
        process, count: As `connect` gives them; `count` divides the batch size.

    Raises:
        ValueError: batches that are stacked or that don't divide by `count`.
    """

    def __init__(self, batches, process, count):
        super().__init__()
        if batches.stack is not None or batches.batch_size % count:
            raise ValueError(f"Expected batches, not stacked, whose size {count} processes can share. Received: "
                             f"batch_size={batches.batch_size}, stack={batches.stack}")
        self.batches, self.process, self.count = batches, process, count

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return tuple(part[self.process :: self.count] for part in self.batches[index])

    def on_epoch_end(self):
        """Moves on to the next epoch's order."""
        self.batches.on_epoch_end()


def launch(script, arguments=(), processes=2, coordinator=None, machines=1, machine=0, timeout=None):
    """Starts a script in several processes, prints what the first of them prints, and waits until all are done.

    When one fails, the others, which would wait for it for ever, are ended. With several machines call this on each;
    when one of those fails, JAX ends the processes of the others, in two minutes at most. On GPUs each process has one.

    Args:
        script: Path of a Python file that calls `connect`.
        arguments: Its arguments.
        processes: How many on each machine, at least 1.
        coordinator: "address:port" of machine 0, the port free; None takes a free one that only this machine can reach.
        machines, machine: How many take part, and this one's number, from 0 on.
        timeout: Seconds after which all are ended; None waits without end.

    Raises:
        ValueError: impossible numbers, several machines without a coordinator.
        FileNotFoundError: no such script.
        RuntimeError: a process failed; the message has the end of what it wrote to stderr.
        TimeoutError: not done in time.
    """
    if processes < 1 or not 0 <= machine < machines or (machines > 1 and coordinator is None):
        raise ValueError("Expected at least one process, a machine's number below that of machines, and a coordinator "
                         f"if there are several. Received: {processes=}, {machines=}, {machine=}, {coordinator=}")
    if not pathlib.Path(script).is_file():
        raise FileNotFoundError(f"No such script: {str(script)!r}")
    shared, running = _environment(coordinator, processes * machines), []
    command = [sys.executable, "-u", str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        texts = [(pathlib.Path(folder, f"{i}.out"), pathlib.Path(folder, f"{i}.err")) for i in range(processes)]
        try:
            for i, (out, err) in enumerate(texts):
                own = {PROCESS: str(machine * processes + i), "JAX_LOCAL_DEVICE_IDS": str(i)}
                with open(out, "wb") as stdout, open(err, "wb") as stderr:
                    running.append(subprocess.Popen(command, env=shared | own, stdin=subprocess.DEVNULL, stdout=stdout,
                                                    stderr=stderr))
            _wait(running, texts, timeout)
        finally:
            for process in running:
                process.kill()  # does nothing to one that has ended; JAX would catch a gentler signal
                process.wait()


def _environment(coordinator, count):
    """This process's variables, and those by which `connect` and JAX find the other processes."""
    root = str(pathlib.Path(__file__).resolve().parents[1])  # a script need not lie where the package does
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    added = {"PYTHONPATH": path, "KERAS_BACKEND": "jax", "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
    if coordinator is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
        added["JAX_COORDINATOR_BIND_ADDRESS"] = coordinator
    return os.environ | added | {ADDRESSES: coordinator, COUNT: str(count)}


def _wait(running, texts, timeout):
    """Until all processes have ended well; raises as soon as one has not, or the time is over."""
    start = time.monotonic()
    with open(texts[0][0], errors="replace") as output:
        while True:
            codes = [process.poll() for process in running]
            print(*(line for line in output if not line.startswith("[Gloo]")), sep="", end="", flush=True)
            if any(codes):
                raise RuntimeError(_report(codes, texts))
            if None not in codes:
                return
            if timeout is not None and time.monotonic() - start > timeout:
                raise TimeoutError(f"Expected {len(running)} processes to be done in {timeout} seconds: all were ended")
            time.sleep(0.05)


def _report(codes, texts):
    """Which processes failed, with the last lines that they wrote."""
    parts = []
    for i, (code, (_, err)) in enumerate(zip(codes, texts)):
        if code:
            end = "\n".join(err.read_text(errors="replace").splitlines()[-20:])
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            parts.append(f"Process {i} of {len(codes)} {how}, and the others were ended. It wrote last:\n{end}")
    return "\n".join(parts)


def main(arguments=None):
    """The command line of `launch`; a failure is written to stderr, and the exit code is 1.

    Args:
        arguments: Texts; None takes those that Python was started with.
    """
    parser = argparse.ArgumentParser(prog="python -m autoencoder_utils.distributed",
                                     description="Starts a script in several processes that train one model.")
    parser.add_argument("script", help="a Python file that calls connect()")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")
    parser.add_argument("--processes", type=int, default=2, help="on each machine; on GPUs, as many as it has")
    parser.add_argument("--coordinator", help="address:port of machine 0, if there are several machines")
    parser.add_argument("--machines", type=int, default=1, help="how many machines")
    parser.add_argument("--machine", type=int, default=0, help="this one's number, from 0 on")
    parser.add_argument("--timeout", type=float, help="seconds after which all processes are ended")
    try:
        launch(**vars(parser.parse_args(arguments)))
    except (ValueError, OSError, RuntimeError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
