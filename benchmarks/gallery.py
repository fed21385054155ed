"""Every generator of the course with the same seconds of training, before the same judge.

    python benchmarks/gallery.py --data digits --seconds 60 --seeds 3 --out benchmarks/results/gallery

Each generator is one short function below: it builds its model, trains it until its time is over (compilation counts),
and returns it with the number of its parameters; its `sample(count, seed)` does the rest. To add one, write such a
function and put its name into GENERATORS. Those over codes share one autoencoder, so that they can be compared on the
same codes: it has half of the time, they have the other half.

Writes for each generator OUT/NAME.npz (array x, 5,000 samples of the first seed, float32 (n, height, width, channels)
in [0, 1]), the table as OUT/gallery.json and OUT/gallery.md (median and range over the seeds), and OUT/gallery.png. The
judge (autoencoder_utils/judge.py) is trained once, on the training images; samples are compared with the test images.
No recipe was chosen by these figures. The size of the code was, by chapter 5's; guidance on MNIST's training images
that are not among the digits.
"""

import argparse
import functools
import json
import pathlib
import statistics
import time

# isort: off
import autoencoder_utils  # noqa: F401  before Keras: it holds TensorFlow's start-up messages back
# isort: on
import keras
import numpy as np
from budget import train_for

from autoencoder_utils import architectures, plotting
from autoencoder_utils.adversarial import AdversarialVariationalAutoencoder, GenerativeAdversarialNetwork
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.corruption import CRISP, random_affine
from autoencoder_utils.data import load_images
from autoencoder_utils.diffusion import CodeDiffusion, residual_denoiser
from autoencoder_utils.judge import Judge
from autoencoder_utils.priors import AutoregressivePrior, CodeGenerator, MixturePrior
from autoencoder_utils.quantized import VectorQuantizedAutoencoder
from autoencoder_utils.training import JIT, Batches
from autoencoder_utils.variational import VariationalAutoencoder

SAMPLES, SHOWN = 5000, 16
CODE = 24  # numbers in the code of the autoencoder that the mixture and diffusion share
HIDDEN, FILTERS = (768,), (176, 32)  # dense and convolutional decoders, with about as many weights
COLUMNS = {"seconds": "seconds", "parameters": "parameters", "frechet_distance": "Fréchet distance",
           "ratio": "ratio to the floor", "precision": "precision", "recall": "recall",
           "memorised_share": "memorised share", "class_entropy": "class entropy"}
SAMPLING = {"diffusion": {"guidance": 1.1}}  # options of `sample`


def gentle(images, seed):
    """Variations of the images that autoencoders are trained on."""
    return random_affine(images, seed, rotation=10, shear=0.15, scale=0.1, shift=1, contrast=CRISP)


def slight(images, seed):
    """Smaller ones, for what learns how images are distributed."""
    return random_affine(images, seed, rotation=5, shear=0.08, scale=0.06, shift=0.5, contrast=CRISP)


def batches(images, seed, vary=gentle, size=64):
    """Training images in batches, varied and stacked, as `train_for` wants them."""
    return (Batches(images, size, seed, vary, stack=max(1, min(3456, len(images)) // size)),)


class Workshop:
    """What the generators of one seed are made from: images, seconds, and an autoencoder for those over codes."""

    def __init__(self, split, seconds, seed):
        self.images, self.seconds, self.seed, self.shape = split.images, seconds, seed, split.images.shape[1:]
        self.classes, self.labels = np.unique(split.labels, return_inverse=True)

    def batches(self, size=64, vary=gentle):
        """The training images, in batches."""
        return batches(self.images, self.seed, vary, size)

    def codes(self, autoencoder):
        """Codes of the training images and of slight variations, 28,000 or at least one of each, and their labels."""
        count = max(1, 28_000 // len(self.images))
        codes = [autoencoder.encode(slight(self.images, [self.seed, i])) for i in range(count)]
        return np.concatenate([autoencoder.encode(self.images), *codes]), np.tile(self.labels, count + 1)

    def halves(self, latent_dim, statistics=1):
        """Dense encoder and decoder."""
        return (architectures.dense_encoder(self.shape, statistics * latent_dim, HIDDEN),
                architectures.dense_decoder(self.shape, latent_dim, HIDDEN))

    @property
    def autoencoder(self):
        """The autoencoder, trained when it is first asked for."""
        return self._trained[0]

    @property
    def autoencoder_seconds(self):
        """How long its training took, about half of the time."""
        return self._trained[1]

    @functools.cached_property
    def _trained(self):
        start = time.perf_counter()
        keras.utils.set_random_seed(self.seed)
        model = Autoencoder(*self.halves(CODE))
        train_for(self.seconds / 2, model, self.batches())
        return model, time.perf_counter() - start


def mixture_on_codes(shop, components=40):
    """Forty Gaussians."""
    model = CodeGenerator(shop.autoencoder, MixturePrior(shop.autoencoder.latent_dim, components, shop.seed))
    model.fit(shop.images)
    return model


def gaussian_on_codes(shop):
    """A single Gaussian: the guess that has no model of where codes lie."""
    return mixture_on_codes(shop, components=1)


def diffusion_on_codes(shop):
    """The codes of the images and of variations, denoised; it is told their labels."""
    begin, classes = time.perf_counter(), len(shop.classes)
    model = CodeDiffusion(shop.autoencoder, residual_denoiser(CODE, num_classes=classes), classes, shop.seed)
    codes = shop.codes(shop.autoencoder)
    seconds = shop.seconds / 2 - (time.perf_counter() - begin)
    train_for(seconds, model, codes, 2e-3, batch_size=256, jit=JIT, use_ema=True, ema_momentum=0.998)
    return model


def vae(shop):
    """A variational autoencoder, sampled from its standard normal."""
    model = VariationalAutoencoder(*shop.halves(16, statistics=2), seed=shop.seed)
    train_for(shop.seconds, model, shop.batches(), peak=2e-3)
    return model


def quantized(shop):
    """Half of the time for the autoencoder, half for the prior over its indices."""
    autoencoder = VectorQuantizedAutoencoder(*shop.halves(48), positions=12, codebook_size=64, seed=shop.seed)
    train_for(shop.seconds / 2, autoencoder, shop.batches())
    begin, codes = time.perf_counter(), shop.codes(autoencoder)[:1]
    prior = AutoregressivePrior(12, 64, units=128, temperature=0.85)
    train_for(shop.seconds / 2 - (time.perf_counter() - begin), prior, codes, 2e-3, batch_size=128, jit=JIT)
    return CodeGenerator(autoencoder, prior)


def discriminator(shop):
    """Images to one number."""
    return architectures.dense_encoder(shop.shape, 1, (256,), activation=keras.layers.LeakyReLU(0.2))


def gan(shop):
    """A generative adversarial network."""
    model = GenerativeAdversarialNetwork(architectures.convolutional_decoder(shop.shape, 64, FILTERS),
                                         discriminator(shop), seed=shop.seed)
    train_for(shop.seconds, model, shop.batches(32, slight), 4e-3, jit=JIT, beta_1=0.0, use_ema=True)
    return model


def vae_gan(shop):
    """A VAE whose decoder must also pass a discriminator."""
    encoder, _ = shop.halves(16, statistics=2)
    model = AdversarialVariationalAutoencoder(encoder, architectures.convolutional_decoder(shop.shape, 16, FILTERS),
                                              discriminator(shop), adversarial_weight=60.0, seed=shop.seed)
    train_for(shop.seconds, model, shop.batches(32, slight), 2e-3, jit=JIT, beta_1=0.5, use_ema=True)
    return model


GENERATORS = {"vae": vae, "vae-gan": vae_gan, "quantized": quantized, "gan": gan, "gaussian": gaussian_on_codes,
              "mixture": mixture_on_codes, "diffusion": diffusion_on_codes}
TITLES = {"vae": "VAE", "vae-gan": "VAE-GAN", "quantized": "vector-quantised", "gan": "GAN", "gaussian":
          "codes: one Gaussian", "mixture": "codes: mixture of forty", "diffusion": "codes: diffusion"}
ON_CODES = {"gaussian", "mixture", "diffusion"}  # whose seconds include the autoencoder's


def run(name, shop, judge):
    """Trains a generator and judges its samples; returns them, and its row of the table."""
    earlier = shop.autoencoder_seconds if name in ON_CODES else 0.0
    keras.utils.set_random_seed(shop.seed)
    start = time.perf_counter()
    model = GENERATORS[name](shop)
    seconds = earlier + time.perf_counter() - start
    samples = model.sample(SAMPLES, shop.seed, **SAMPLING.get(name, {}))
    row = {"seconds": seconds, "parameters": model.count_params(), **judge.report(samples)}
    print(f"{name:<12} seed {shop.seed}  " + "  ".join(f"{key} {row[key]:.4g}" for key in COLUMNS), flush=True)
    return samples, row


def summary(rows):
    """Median and range of each column over the seeds."""
    columns = {key: [row[key] for row in rows] for key in COLUMNS}
    return {key: {"median": statistics.median(values), "range": [min(values), max(values)]}
            for key, values in columns.items()}


def training_row(judge):
    """The training images' own row: what a perfect generator would have, but for the memorised share."""
    row = judge.report(judge.train.images)
    return {key: {"median": row[key], "range": [row[key]] * 2} for key in COLUMNS if key in row}


def markdown(table, judge, data):
    """The table as Markdown."""
    def cell(key, column):
        form = "{:,.0f}" if key == "parameters" else "{:.3g}"
        median, low, high = (form.format(value) for value in (column["median"], *column["range"]))
        return median if low == high else f"{median} ({low} to {high})"

    lines = [f"Judge on {data.name}: {100 * judge.accuracy:.1f} % of {len(data.test):,} test images right; floor (the "
             f"training images' Fréchet distance) {judge.floor:.3g}.", "",
             "| generator | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---|" * len(COLUMNS)]
    for name, row in table.items():
        cells = (cell(key, row[key]) if key in row else "" for key in COLUMNS)
        lines.append(f"| {TITLES.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="a data set's name, an .npz file or a folder, with labels")
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each generator")
    parser.add_argument("--seeds", type=int, default=1, help="how many times, with the seeds 0, 1, ...")
    parser.add_argument("--generators", nargs="+", default=list(GENERATORS), choices=list(GENERATORS), metavar="NAME",
                        help="which: " + ", ".join(GENERATORS))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results/gallery"))
    arguments = parser.parse_args()
    data = load_images(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(data.train, data.test)
    print(f"judge: accuracy {judge.accuracy:.4f}, floor {judge.floor:.4g}", flush=True)
    rows, pictures = {name: [] for name in arguments.generators}, {"test images": data.test.images[:SHOWN]}
    for seed in range(arguments.seeds):
        shop = Workshop(data.train, arguments.seconds, seed)
        for name in arguments.generators:
            samples, row = run(name, shop, judge)
            rows[name].append(row)
            if seed == 0:
                np.savez_compressed(arguments.out / f"{name}.npz", x=samples)
                pictures[TITLES[name]] = samples[:SHOWN]
    table = {"training images": training_row(judge), **{name: summary(rows[name]) for name in rows}}
    results = {"data": data.name, "seconds": arguments.seconds, "backend": keras.backend.backend(),
               "judge": {"accuracy": judge.accuracy, "floor": judge.floor}, "rows": rows, "table": table}
    (arguments.out / "gallery.json").write_text(json.dumps(results, indent=1))
    (arguments.out / "gallery.md").write_text(text := markdown(table, judge, data))
    plotting.image_rows(pictures, scale=0.6).savefig(arguments.out / "gallery.png", dpi=100)
    print(f"{text}written: {arguments.out}")


if __name__ == "__main__":
    main()
