"""Training that ends when its time is over: so many seconds, compilation included."""

import gc
import math
import time

import keras

from autoencoder_utils.memory import keep_memory
from autoencoder_utils.training import SINGLE_STEPS

RISE, FIRST = 0.05, 0.02  # shares: of the time in which the rate rises, and of the peak that it starts with
XLA = not SINGLE_STEPS  # which pays after half a minute where layers are dense (PyTorch has none)


class Budget(keras.callbacks.Callback):
    """Ends the training on time; the rate rises for a twentieth of it and falls with the clock, by half a cosine.

    Args:
        seconds: From `Budget(...)` on.
        peak: Highest learning rate.
    """

    def __init__(self, seconds, peak):
        super().__init__()
        self.seconds, self.peak, self.start, self.compiled = seconds, peak, time.perf_counter(), None

    def on_train_batch_begin(self, batch, logs=None):
        """Sets the rate."""
        now = time.perf_counter() - self.start
        rise = 0.0 if self.compiled is None else min((now - self.compiled) / (RISE * self.seconds), 1)
        fall = 0.5 + 0.5 * math.cos(math.pi * min(now / self.seconds, 1))
        self.model.optimizer.learning_rate = self.peak * fall * max(rise, FIRST)

    def on_train_batch_end(self, batch, logs=None):
        """Stops if the time is over.

        Raises:
            FloatingPointError: a loss is no number any more.
        """
        now = time.perf_counter() - self.start
        if not all(map(math.isfinite, logs.values())):
            raise FloatingPointError(f"After {now:.0f} of {self.seconds:.0f} seconds: {logs}. Try a lower peak than "
                                     f"{self.peak:.2g}, or `global_clipnorm`.")
        self.compiled = now if self.compiled is None else self.compiled  # the first step compiles
        self.model.stop_training = now >= self.seconds


def train_for(seconds, model, data, peak=3e-3, batch_size=None, steps=None, loss=None, jit=XLA, **options):
    """Trains a model until the seconds are over; compiles it first, unless it is (`steps` to `options` are idle then).

    Args:
        seconds: Of training.
        model: Any Keras model.
        data: What `fit` takes: (batches,), (images, labels), ...
        peak: Highest learning rate.
        batch_size: For arrays; batches have their own.
        steps: Steps an execution; None for 20 with arrays and 1 with batches, which come stacked already.
        loss: For models that have none of their own.
        jit: Whether XLA compiles: `JIT` for models that it makes no faster.
        options: Of `keras.optimizers.Adam`, whose `beta_2` is 0.99 here unless given.
    """
    keep_memory()
    if not model.compiled:
        many = 1 if SINGLE_STEPS else steps or (20 if batch_size else 1)
        given = {} if loss is None else {"loss": loss}
        adam = keras.optimizers.Adam(peak, **{"beta_2": 0.99} | options)
        model.compile(adam, jit_compile=jit, steps_per_execution=many, **given)
    model.fit(*data, batch_size=batch_size, epochs=100_000, shuffle=batch_size is not None,
              callbacks=[Budget(seconds, peak)], verbose=0)
    # Stopped amid an epoch, Keras leaves tf.data's iterator in a circle. To end one may take TensorFlow up to a minute,
    # in which its tuning thread sleeps: better here than in the first step of the next training.
    gc.collect()
