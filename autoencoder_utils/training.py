"""What training needs besides `fit`: batches, the learning-rate recipe, an epoch line, a stopwatch, a checkpoint."""

import os
import pathlib
import time
import zipfile

import keras
import numpy as np
from keras import ops

from autoencoder_utils.data import check_images

# For `compile(jit_compile=JIT)`: JAX is slow uncompiled; on TensorFlow XLA takes longer to compile than it saves in a
# minute, takes 0.2 GB, and slows convolutions down.
JIT = keras.backend.backend() == "jax"
SINGLE_STEPS = keras.backend.backend() == "torch"  # where `steps_per_execution` must be 1
STACK = 18  # steps in one call of `train_model`: an epoch of the 3,500 digits in batches of 64 is three calls


def warmup_cosine(peak, steps, warmup=0.05):
    """The learning-rate recipe: a straight line up to `peak`, then half a cosine down to 0.

    Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, without the restarts;
    the warm-up as in Goyal et al., "Accurate, large minibatch SGD", 2017.

    Args:
        peak: Highest learning rate.
        steps: Number of optimiser steps in the whole training, at least 1.
        warmup: Share of the steps that the rise takes, in [0, 1).

    Returns:
        A Keras learning-rate schedule.

    Raises:
        ValueError: no steps, a warm-up that is no such share.
    """
    if steps < 1 or not 0 <= warmup < 1:
        raise ValueError(f"`steps` must be at least 1 and `warmup` in [0, 1). Received: steps={steps}, warmup={warmup}")
    rise = round(warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        peak / max(rise, 1), steps - rise, warmup_target=peak if rise else None, warmup_steps=rise)


class Batches(keras.utils.PyDataset):
    """Batches of images, reshuffled and, if asked, varied anew in every epoch.

    What an epoch holds depends on `seed` and the epoch's number only: a training that was interrupted (`Checkpoint`)
    meets the same batches as one that ran through. The last, shorter batch is left out: the training step is compiled
    for one shape only, and over the epochs every image has its turn.

    Args:
        images: float32 (n, height, width, channels) in [0, 1].
        batch_size: Images a batch, at most n.
        seed: Of the order and of `vary`.
        vary: Function (images, seed) to images of the same shape, such as `corruption.random_affine`, or None.
        stack: Batches to hand over at a time, (stack, batch_size, height, width, channels), to a model that is
            `Stacked`; None hands over single batches.

    Raises:
        ValueError: images out of form; fewer than one batch (or stack of batches) needs.
    """

    def __init__(self, images, batch_size=64, seed=0, vary=None, stack=None):
        super().__init__()
        self.images, self.batch_size, self.seed = check_images(images), batch_size, seed
        self.vary, self.stack, self.epoch = vary, stack, 0
        if len(images) < batch_size * (stack or 1):
            raise ValueError(f"Expected at least {batch_size * (stack or 1)} images, for one batch. "
                             f"Received: {len(images)}")

    def __len__(self):
        return len(self.images) // (self.batch_size * (self.stack or 1))

    def __getitem__(self, index):
        size = self.batch_size * (self.stack or 1)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.images))
        batch = self.images[order[index * size : (index + 1) * size]]
        if self.vary is not None:
            batch = self.vary(batch, [self.seed, self.epoch, index])
        return (batch if self.stack is None else batch.reshape(self.stack, self.batch_size, *batch.shape[1:]),)

    def on_epoch_end(self):
        """Moves on to the next epoch's order."""
        self.epoch += 1


class Stacked:
    """Lets a Keras model take many optimiser steps in one compiled call: `fit(Batches(images, stack=steps))`.

    A small model loses half of its time between steps, where Keras fetches a batch and hands every weight to the
    compiled step and back. Given (stack, batch, height, width, channels), this runs the model's own training step on
    one batch after the other in the compiled function. Give `compile` no `metrics`, which Keras would set up for the
    wrong shape. The mixin of `Autoencoder` and its kin; single batches pass unchanged.
    """

    def train_step(self, *arguments):
        """As Keras calls it: (data) on TensorFlow and PyTorch, (state, data) on JAX, whose steps carry their state."""
        one_step, (batches, *others) = super().train_step, keras.utils.unpack_x_y_sample_weight(arguments[-1])
        if others != [None, None] or len(getattr(batches, "shape", ())) != 5:
            return one_step(*arguments)
        if keras.backend.backend() == "jax":
            def carry(state, batch):
                logs, state = one_step(state, (batch,))
                return state, logs

            state, logs = ops.scan(carry, arguments[0], batches)
            return {name: values[-1] for name, values in logs.items()}, state

        def step(i, done):
            one_step((batches[i],))
            return done + 1

        ops.fori_loop(0, ops.shape(batches)[0], step, 0)
        return self.get_metrics_result()


def train_model(model, images, epochs, peak, batch_size=64, seed=0, vary=None, **options):
    """The course's recipe in one call, Adam with `warmup_cosine`, many steps in one compiled call; a Keras `History`.

    Args:
        model: `Stacked`, such as every autoencoder of the course.
        images, batch_size, seed, vary: As for `Batches`: (n, height, width, channels), and so on.
        epochs, peak: How many, and the highest learning rate.
        options: Of `keras.optimizers.Adam`, whose `beta_2` is 0.99 here unless given.
    """
    steps = len(images) // batch_size
    batches = Batches(images, batch_size, seed, vary, stack=min(steps, STACK))
    schedule = warmup_cosine(peak, epochs * len(batches) * batches.stack)
    adam = keras.optimizers.Adam(schedule, **{"beta_2": 0.99} | options)
    model.compile(adam, jit_compile=JIT)
    return model.fit(batches, epochs=epochs, verbose=0)


def restart(model, fresh):
    """Lets a compiled model start anew without compiling again.

    Args:
        model: Its optimiser, which is built, forgets everything.
        fresh: Another one of the same form, whose trainable weights it takes.
    """
    for weight, new in zip(model.trainable_variables, fresh.trainable_variables, strict=True):
        weight.assign(ops.copy(new))  # on JAX two variables must not share a buffer
    for variable in model.optimizer.variables:
        if variable.name != "learning_rate":
            variable.assign(ops.zeros(variable.shape, variable.dtype))


class EpochLine(keras.callbacks.Callback):
    """Prints one line every few epochs: the losses and metrics with three significant digits, and no clock.

    Args:
        every: Print each epoch whose number this divides, and the last.
    """

    def __init__(self, every=1):
        super().__init__()
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        """Prints the line."""
        last = self.params["epochs"]
        if (epoch + 1) % self.every == 0 or epoch + 1 == last:
            texts = {name: f"{value:#.3g}".rstrip(".") for name, value in sorted((logs or {}).items())}
            values = "  ".join(f"{name} {text}" for name, text in texts.items())
            print(f"epoch {epoch + 1:>{len(str(last))}}/{last}  {values}")


class Stopwatch(keras.callbacks.Callback):
    """Notes after each epoch how long the training has run, and how good it is: time to quality.

    It runs from `Stopwatch()` on, so that building, compiling and validating count.

    Args:
        monitor: Name of the metric to follow; smaller is better.
    """

    def __init__(self, monitor="val_loss"):
        super().__init__()
        self.monitor = monitor
        self.start = time.perf_counter()
        self.seconds, self.values = [], []

    def on_epoch_end(self, epoch, logs=None):
        """Notes the time and the metric."""
        self.seconds.append(time.perf_counter() - self.start)
        self.values.append(float(logs[self.monitor]))

    def seconds_to(self, threshold):
        """Seconds until the end of the first epoch whose metric is at most `threshold`; infinity if none is."""
        return next((s for s, value in zip(self.seconds, self.values) if value <= threshold), float("inf"))


class Checkpoint(keras.callbacks.Callback):
    """Saves after each epoch all that the rest of the training depends on, so that it can go on as if nothing happened.

    That is: weights, the optimiser's moments and step count, and the random generators' states (which Keras's own
    `BackupAndRestore` leaves out). The file is replaced as a whole: an interruption while it is written leaves the
    previous one. Callbacks with a memory of their own (early stopping, say) start afresh.

        checkpoint = Checkpoint("run.npz")
        start = checkpoint.restore(model, batches)  # 0 if there is nothing to restore
        model.fit(batches, epochs=20, initial_epoch=start, callbacks=[checkpoint])

    Args:
        path: The .npz file to write.
    """

    def __init__(self, path):
        super().__init__()
        self.path = pathlib.Path(path)

    def restore(self, model, batches=None):
        """Puts a compiled model, and the `Batches` it trains on, back; returns how many epochs are done, or 0.

        Raises:
            ValueError: the file is not a checkpoint of this model.
        """
        model.optimizer.build(model.trainable_variables)
        if not self.path.exists():
            return 0
        variables = self._variables(model)
        try:
            with np.load(self.path, allow_pickle=False) as file:
                done, arrays = int(file["epochs_done"]), [file[f"v{i}"] for i in range(len(file.files) - 1)]
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{str(self.path)!r} is not a readable checkpoint. Received: {error}") from error
        if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
            raise ValueError(f"{str(self.path)!r} is a checkpoint of another model or optimiser. Expected "
                             f"{len(variables)} arrays with this model's shapes. Received: {len(arrays)} arrays")
        for variable, array in zip(variables, arrays):
            variable.assign(array)
        if batches is not None:
            batches.epoch = done
        return done

    def on_epoch_end(self, epoch, logs=None):
        """Writes the file beside the old one, then puts it in its place."""
        arrays = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(self._variables(self.model))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        try:
            with open(unfinished, "wb") as file:
                np.savez(file, epochs_done=epoch + 1, **arrays)
            os.replace(unfinished, self.path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _variables(self, model):
        return [*model.variables, *model.optimizer.variables]
