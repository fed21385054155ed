"""How soon is a quality reached? The article's recipe, a plain VAE and plain `fit`, each against ours.

    python benchmarks/time_to_quality.py --data digits
    python benchmarks/time_to_quality.py --data ../shared/data/mnist.npz

Three parts, each in one process and in turn, so that a slow spell of the machine hits both sides:

- quality: the article's network and recipe (Adam 1e-3, batches of 256, 50 epochs) and ours with the same code size,
  trained on all training images and validated on the test images, as the article does. The clock runs from building
  the model on, with compilation and validation. The threshold is the article's own final value in the same turn.
- vae: Keras's example of a convolutional VAE with two numbers as its code (30 epochs, batches of 128), and how soon our
  dense one is below `--vae-target` nats an image (test images, one sampled code each).
- throughput: 784-512-256-32-256-512-784, GELU, images a second in an epoch without compilation, against plain
  `fit(images)` at Keras's default batch size of 32, and at 256.

Both sides run in a process that keeps its memory (`memory.py`), and in which TensorFlow is up before the first clock
runs.
Writes OUT/time_to_quality.json and OUT/time_to_quality.png. For full MNIST the recipe was chosen on the test images,
which are the article's validation images; for `digits` it was not tuned.
"""

import argparse
import json
import math
import pathlib
import statistics
import time

# isort: off
import autoencoder_utils  # noqa: F401  before Keras: it holds TensorFlow's start-up messages back
# isort: on
import keras
import numpy as np
from keras import layers

from autoencoder_utils import architectures, metrics, plotting
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.data import load_images
from autoencoder_utils.memory import keep_memory
from autoencoder_utils.training import Batches, Stopwatch, warmup_cosine
from autoencoder_utils.variational import VariationalAutoencoder

CODE = 128


def run_article(train, test, epochs=50):
    """The article's recipe; returns its stopwatch (cross-entropy a pixel) and the final test MSE."""
    watch = Stopwatch()
    shape, pixels = train.shape[1:], train[0].size
    model = keras.Sequential([
        keras.Input(shape), layers.Flatten(), layers.Dense(CODE, "relu"), layers.Dense(pixels, "sigmoid"),
        layers.Flatten(), layers.Dense(pixels, "sigmoid"), layers.Reshape(shape)])
    model.compile("adam", "binary_crossentropy")
    model.fit(train, train, epochs=epochs, batch_size=256, validation_data=(test, test), callbacks=[watch], verbose=0)
    return watch, metrics.mean_squared_error(test, model.predict(test, batch_size=1000, verbose=0))


def run_ours(train, test, epochs, batch_size, peak, stack, seed):
    """Ours: linear code, one logit layer with the mean image as its bias, small batches, a high rate to zero."""
    watch = Stopwatch()
    shape, pixels = train.shape[1:], train[0].size
    mean = train[:: max(len(train) // 5000, 1)].mean(axis=0).ravel().clip(1e-3, 1 - 1e-3)
    code = keras.Input((CODE,))
    logits = layers.Dense(pixels, bias_initializer=keras.initializers.Constant(np.log(mean / (1 - mean))))(code)
    model = Autoencoder(architectures.dense_encoder(shape, CODE, ()),
                        keras.Model(code, layers.Reshape(shape)(logits)))
    batches = Batches(train, batch_size, seed, stack=stack)
    schedule = warmup_cosine(peak, epochs * len(batches) * stack)
    model.compile(keras.optimizers.Adam(schedule, beta_2=0.95), jit_compile=True)
    model.fit(batches, epochs=epochs, validation_data=test, validation_batch_size=len(test) // 2, callbacks=[watch],
              verbose=0)
    watch.values = [value / pixels for value in watch.values]
    return watch, metrics.mean_squared_error(test, model.reconstruct(test))


def start_up(train):
    """What a process does once only, so that the side that comes first does not pay for it."""
    keep_memory()
    run_article(train[:256], train[:256], epochs=1)


def quality(train, test, seeds):
    """The race, once with each seed."""
    large = len(train) > 20_000
    recipe = dict(epochs=3, batch_size=75, peak=1.5e-2, stack=80) if large else dict(
        epochs=12, batch_size=50, peak=1e-2, stack=len(train) // 100)
    turns = []
    start_up(train)
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        theirs, their_mse = run_article(train, test)
        keras.utils.set_random_seed(seed)
        ours, our_mse = run_ours(train, test, seed=seed, **recipe)
        reached, needed = (watch.seconds_to(theirs.values[-1]) for watch in (ours, theirs))
        turns.append({
            "article": {"seconds": theirs.seconds, "bce": theirs.values, "mse": their_mse},
            "ours": {"seconds": ours.seconds, "bce": ours.values, "mse": our_mse},
            "article_seconds": needed, "seconds_to_quality": reached, "ratio": needed / reached})
        print(f"turn {len(turns)}/{len(seeds)}: article {needed:.1f} s, BCE {theirs.values[-1]:.5f}, MSE "
              f"{their_mse:.5f}; ours there after {reached:.1f} s, at the end BCE {ours.values[-1]:.5f}, MSE "
              f"{our_mse:.5f}: {turns[-1]['ratio']:.1f} times sooner", flush=True)
    return {"recipe": recipe, "turns": turns, **_median_and_range([turn["ratio"] for turn in turns], "ratio")}


def example_vae(shape):
    """The VAE of Keras's example: two strided convolutions, dense 16, a code of 2, and back by transposed ones."""
    convolution = dict(kernel_size=3, padding="same", activation="relu")
    small = (math.ceil(shape[0] / 4), math.ceil(shape[1] / 4), 64)
    encoder = keras.Sequential([
        keras.Input(shape), layers.Conv2D(32, strides=2, **convolution), layers.Conv2D(64, strides=2, **convolution),
        layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(4)])
    decoder = keras.Sequential([
        keras.Input((2,)), layers.Dense(math.prod(small), "relu"), layers.Reshape(small),
        layers.Conv2DTranspose(64, strides=2, **convolution), layers.Conv2DTranspose(32, strides=2, **convolution),
        layers.Conv2DTranspose(shape[-1], 3, padding="same")])
    return VariationalAutoencoder(encoder, decoder)


def vae(train, test, target, example_epochs):
    """How soon a dense VAE is at `target` nats, and how long the example's convolutional one trains."""
    start_up(train)
    keras.utils.set_random_seed(0)
    watch = Stopwatch()
    example = example_vae(train.shape[1:])
    example.compile("adam")
    example.fit(train, epochs=example_epochs, batch_size=128, validation_data=test, callbacks=[watch], verbose=0)
    print(f"convolutional VAE: {watch.values[-1]:.1f} nats in {watch.seconds[-1]:.0f} s, {example_epochs} epochs",
          flush=True)
    keras.utils.set_random_seed(0)
    ours_watch = Stopwatch()
    shape = train.shape[1:]
    ours = VariationalAutoencoder(architectures.dense_encoder(shape, 4, (512, 256, 128)),
                                  architectures.dense_decoder(shape, 2, (128, 256, 512)))
    epochs, stack = (6, 60) if len(train) > 20_000 else (60, len(train) // 200)
    batches = Batches(train, 100, stack=stack)
    schedule = warmup_cosine(3e-3, epochs * len(batches) * stack)
    ours.compile(keras.optimizers.Adam(schedule, beta_2=0.99), jit_compile=True)
    ours.fit(batches, epochs=epochs, validation_data=test, callbacks=[ours_watch], verbose=0)
    reached = ours_watch.seconds_to(target)
    print(f"dense VAE: {target} nats after {reached:.1f} s, at the end {ours_watch.values[-1]:.1f} nats in "
          f"{ours_watch.seconds[-1]:.1f} s: {watch.seconds[-1] / reached:.1f} times sooner", flush=True)
    return {"target": target, "ratio": watch.seconds[-1] / reached,
            "example": {"seconds": watch.seconds, "nats": watch.values},
            "ours": {"seconds": ours_watch.seconds, "nats": ours_watch.values}}


def throughput(train, repeats):
    """Images a second in training, plain `fit` and ours in turn, at Keras's default batch size and at a larger one.

    The larger the batch, the less there is to win: what ours saves is the time between two steps.
    """
    return {f"batch of {size}": _throughput(train, size, steps, repeats) for size, steps in ((32, 100), (256, 13))}


def _throughput(train, batch_size, stack, repeats):
    """The same network, optimiser and batch size twice; the epoch that compiles does not count."""
    keep_memory()
    shape, models, rates = train.shape[1:], {}, {"plain": [], "ours": []}
    data = {"plain": train, "ours": Batches(train, batch_size, stack=stack)}
    for name in data:
        models[name] = Autoencoder(architectures.dense_encoder(shape, 32), architectures.dense_decoder(shape, 32))
        models[name].compile("adam", jit_compile=True if name == "ours" else "auto")
    epochs = max(1, 20_000 // len(train))
    for turn in range(2 * repeats + 2):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(data[name], batch_size=batch_size if name == "plain" else None, epochs=epochs, verbose=0)
            images = len(train) if name == "plain" else len(data[name]) * stack * batch_size
            if turn:
                rates[name].append(epochs * images / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"throughput, batches of {batch_size}: plain fit {medians['plain']:,.0f}, ours {medians['ours']:,.0f} images "
          "a second", flush=True)
    ratios = [ours / plain for plain, ours in zip(rates["plain"], rates["ours"])]
    return {"images_a_second": rates, **_median_and_range(ratios, "ratio")}


def _median_and_range(values, name):
    summary = {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}
    print(f"{name}: median {summary[name]:.2f}, range {min(values):.2f} to {max(values):.2f}", flush=True)
    return summary


def draw(result, path):
    """Test cross-entropy against seconds, article's and ours, of the median turn."""
    turns = sorted(result["turns"], key=lambda turn: turn["ratio"])
    turn = turns[len(turns) // 2]
    bce, seconds = ({name: turn[name][key] for name in ("article", "ours")} for key in ("bce", "seconds"))
    figure = plotting.curves(bce, "seconds", "test cross-entropy, nats a pixel", seconds,
                             {"the article's final value": turn["article"]["bce"][-1]})
    figure.axes[0].set(xscale="log", title=f"{turn['ratio']:.0f} times sooner")
    figure.savefig(path, dpi=100)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="a data set's name, an .npz file or a folder")
    parser.add_argument("--repeats", type=int, default=3, help="turns of the race")
    parser.add_argument("--parts", nargs="+", default=["quality", "vae", "throughput"], help="which parts to run")
    parser.add_argument("--vae-target", type=float, default=147.8, help="nats an image that ours has to reach")
    parser.add_argument("--vae-epochs", type=int, default=30, help="epochs of the convolutional VAE")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    arguments = parser.parse_args()
    data = load_images(arguments.data)
    train, test = np.concatenate([data.train.images, data.validation.images]), data.test.images
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "time_to_quality.json"
    results = {"data": data.name, "images": [len(train), len(test)], "backend": keras.backend.backend()}
    for part in arguments.parts:
        print(f"--- {part}", flush=True)
        if part == "quality":
            results[part] = quality(train, test, range(arguments.repeats))
            draw(results[part], file.with_suffix(".png"))
        elif part == "vae":
            results[part] = vae(train, test, arguments.vae_target, arguments.vae_epochs)
        elif part == "throughput":
            results[part] = throughput(train, arguments.repeats)
        else:
            parser.error(f"unknown part {part!r}; expected quality, vae or throughput")
        file.write_text(json.dumps(results, indent=1))
    print(f"written: {file}")


if __name__ == "__main__":
    main()
