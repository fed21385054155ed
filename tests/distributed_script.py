"""What tests/test_distributed.py starts in several processes: a small autoencoder; each saves its weights."""

import random
import sys

import autoencoder_utils.distributed as distributed

# isort: off
import keras
import numpy as np

from autoencoder_utils import architectures
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.training import JIT, Batches


def build():
    encoder, decoder = (architectures.dense_encoder((6, 5, 1), 3, (16,)),
                        architectures.dense_decoder((6, 5, 1), 3, (16,)))
    model = Autoencoder(encoder, decoder)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=JIT)
    return model


def train(model, process, count):
    """The losses of the last two of three epochs; the first epoch is a `fit` of its own."""
    images = np.random.default_rng(0).random((50, 6, 5, 1), "float32")
    model.fit(distributed.Share(Batches(images, 8, seed=1), process, count), epochs=1, verbose=0)
    shares = distributed.Share(Batches(images, 8, seed=2), process, count)
    return model.fit(shares, epochs=2, verbose=0).history["loss"]


def main(folder):
    process, count = distributed.connect()
    random.seed(0)  # the weights' seeds come from it; keras.utils.set_random_seed would import TensorFlow as well
    model = build()
    start = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    loss = train(model, process, count)
    end = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    np.savez(f"{folder}/{process}_of_{count}.npz", *start, *end, loss=loss)
    keras.distribution.set_distribution(None)
    if process == 0:
        model.save(f"{folder}/model.keras")
        print(f"{count} processes, {len(keras.distribution.list_devices())} devices")


if __name__ == "__main__":
    main(*sys.argv[1:])
