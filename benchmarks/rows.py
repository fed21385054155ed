"""The rows of the results table: each a function (data, seconds, seed) to figures, ours and the baselines beside them.

A row trains for `seconds` in all, on the training part; `sooner`, `throughput` and `race` say what they do. Recipes
were chosen on the validation part, some on MNIST's training images that are not among the digits; the test images are
only measured on, but by the article's own recipe (`sooner`). Figures are floats. `ROWS`, at the end, says which of them
stand in the table, beside which baseline and which published figure.
"""

import io
import itertools
import time
import typing

# isort: off
import autoencoder_utils  # noqa: F401  before Keras: it holds TensorFlow's start-up messages back
# isort: on
import keras
import numpy as np
import time_to_quality
from budget import train_for
from gallery import GENERATORS as GALLERY
from gallery import SAMPLES, SAMPLING, Workshop, batches, gentle
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from autoencoder_utils import architectures, corruption, metrics, tomography
from autoencoder_utils.autoencoders import Autoencoder, in_batches
from autoencoder_utils.codecs import RateDistortionAutoencoder, refine_codes
from autoencoder_utils.compression import MixtureCoder
from autoencoder_utils.judge import Judge
from autoencoder_utils.memory import make_room
from autoencoder_utils.priors import MixturePrior
from autoencoder_utils.restoration import LinearEstimator, best_strength, cycle_spin, kernel_posterior_mean
from autoencoder_utils.restorers import Pairs, correcting_network, restoring_network
from autoencoder_utils.training import JIT, restart
from autoencoder_utils.variational import VariationalAutoencoder

BATCH = 64
LARGE = 20_000  # training images from which on a recipe for many images is used


def flat(images):
    """Images (n, height, width, channels) to (n, pixels)."""
    return images.reshape(len(images), -1)


def strong(images, seed):
    """Larger variations than `gentle`."""
    return corruption.random_affine(images, seed, 15, 0.2, 0.15, 1.5, corruption.CRISP)


def code(data, seconds, seed):
    """A dense autoencoder with 32 numbers."""
    train, test = data.train.images, data.test.images
    keras.utils.set_random_seed(seed)
    model = Autoencoder(architectures.dense_encoder(data.image_shape, 32, (1024, 512)),
                        architectures.dense_decoder(data.image_shape, 32, (512, 1024)))
    train_for(seconds, model, batches(train, seed, gentle if len(train) > LARGE else strong, 128), 4e-3)
    ours, pca = model.reconstruct(test), metrics.pca_reconstruction(train, test, 32)
    mean = metrics.mean_image_reconstruction(train, test)
    return {f"{name} {measure.__name__}": measure(test, made) for name, made in
            {"ours": ours, "pca": pca, "mean": mean}.items()
            for measure in (metrics.mean_squared_error, metrics.binary_cross_entropy)}


def likelihood(data, seconds, seed):
    """A VAE of binary images, drawn anew from the greys in every epoch, and a mixture of Gaussians as its prior.

    The mixture is fitted to codes that the encoder drew of the training images and, of few, their variations, which
    counts as training. 5,000 importance samples an image; a tenth of them for the standard normal. All of MNIST would
    take an hour: there all images have 200 samples, and what 5,000 gain is measured on the first thousand.
    """
    def vary(images, seed):
        return corruption.binarise(gentle(images, seed), seed)

    train, begin = data.train.images, time.perf_counter()
    keras.utils.set_random_seed(seed)
    model = VariationalAutoencoder(architectures.dense_encoder(data.image_shape, 2 * 40, (768,)),
                                   architectures.dense_decoder(data.image_shape, 40, (768,)), seed=seed)
    train_for(0.85 * seconds, model, batches(train, seed, vary, 128), 3e-3, use_ema=True, ema_momentum=0.999)
    copies = max(1, 24_500 // len(train))  # whose draws are not those of the test images, nor of each other
    known = np.concatenate([corruption.binarise(train, [seed, 1]), *(vary(train, [seed, i])
                                                                     for i in range(2, copies + 1))])
    prior = MixturePrior(40, 40, seed).fit(model.draw_codes(known, seed))
    print(f"  trained for {time.perf_counter() - begin:.0f} s", flush=True)
    test = corruption.binarise(data.test.images, seed)

    def nats(images, samples, prior=None):
        bounds = [metrics.importance_bound(model.log_weights(some, samples, [seed, i], prior=prior))
                  for i, some in enumerate(np.array_split(images, len(images) // 200))]
        return -float(np.mean(np.concatenate(bounds)))

    first = test[:1000]
    ours = nats(first, 5000, prior)
    if len(test) > len(first):
        ours += nats(test, 200, prior) - nats(first, 200, prior)
    return {"ours nats": ours, "normal nats": nats(test, 500)}


def plane(data, seconds, seed):
    """A VAE of grey images with two numbers; one sampled code an image."""
    keras.utils.set_random_seed(seed)
    hidden = (512, 256, 128)
    model = VariationalAutoencoder(architectures.dense_encoder(data.image_shape, 4, hidden),
                                   architectures.dense_decoder(data.image_shape, 2, hidden[::-1]), seed=seed)
    vary, size = (None, 128) if len(data.train) > LARGE else (gentle, 64)
    train, test = data.train.images, data.test.images
    # In batches of 64 it ended in NaN: unclipped on all of MNIST, at a peak of 3e-3 on `digits` with one seed of three.
    train_for(seconds, model, batches(train, seed, vary, size), 2e-3, use_ema=True, global_clipnorm=1.0)
    mean = metrics.binary_cross_entropy(test, metrics.mean_image_reconstruction(train, test))
    return {"ours nats": model.evaluate(test, verbose=0, return_dict=True)["loss"],
            "mean nats": mean * float(np.prod(data.image_shape))}


def generation(data, seconds, seed):
    """Diffusion over an autoencoder's codes, and Gaussians over the same autoencoder's codes, before the judge.

    One, forty, and four for each digit, since diffusion is told the labels as well. (Fitted to variations as well,
    the forty are worse.)
    """
    judge, shop, figures = Judge(data.train, data.test), Workshop(data.train, seconds, seed), {}
    for name in ("gaussian", "mixture", "diffusion"):
        keras.utils.set_random_seed(seed)
        model = GALLERY[name](shop)
        report = judge.report(model.sample(SAMPLES, seed, **SAMPLING.get(name, {})))
        figures |= {f"{name} {key}": report[key] for key in ("ratio", "precision", "recall", "memorised_share")}
    codes, kinds = shop.autoencoder.encode(shop.images), range(len(shop.classes))
    counts = np.bincount(np.random.default_rng(seed).choice(shop.labels, SAMPLES), minlength=len(kinds))
    drawn = [MixturePrior(shop.autoencoder.latent_dim, 4, seed).fit(codes[shop.labels == kind]).sample(
        counts[kind], [seed, 1 + kind]) for kind in kinds]
    figures["labels ratio"] = judge.report(shop.autoencoder.decode(np.concatenate(drawn)))["ratio"]
    figures["diffusion / mixture"] = figures["diffusion ratio"] / figures["mixture ratio"]
    return figures


def noisy(images, seed):
    """Clipped Gaussian noise of 0.5."""
    return corruption.gaussian_noise(images, 0.5, seed)


def denoising(data, seconds, seed):
    """A U-shaped network, asked at nine shifts; the linear estimator and the kernel posterior mean."""
    train, test = data.train.images, data.test.images
    keras.utils.set_random_seed(seed)
    model = restoring_network(data.image_shape, hidden=384)
    pairs = Pairs(train, noisy, BATCH, seed, gentle)
    train_for(seconds, model, (pairs,), 5e-3, steps=54, use_ema=True,
              loss=keras.losses.BinaryCrossentropy(from_logits=True))
    spoilt, check = noisy(test, seed), data.validation.images[:100]

    def restore(images):
        return in_batches(lambda x, training: keras.ops.sigmoid(model(x, training=training)), images, 500)

    restored = cycle_spin(restore, spoilt, (-1, 0, 1))
    draws = -(-40_000 // len(train))  # of other noise than the test images': a seed [0, 0] would be the same as 0
    spoilt_train = np.concatenate([noisy(train, [seed, 1 + i]) for i in range(draws)])
    linear = LinearEstimator(spoilt_train, np.tile(train, (draws, 1, 1, 1)))
    known = train if len(train) > LARGE else np.concatenate([
        np.roll(train, (down, right), (1, 2)) for down in (-1, 0, 1) for right in (-1, 0, 1)])
    sigma = best_strength(lambda images, sigma: kernel_posterior_mean(known, images, sigma),
                          (0.8, 0.9, 1.0, 1.1, 1.2), noisy(check, [seed, 99]), check)
    kernel = kernel_posterior_mean(known, spoilt, sigma)
    return {"ours psnr": metrics.psnr(test, restored), "noisy psnr": metrics.psnr(test, spoilt),
            "linear psnr": metrics.psnr(test, linear(spoilt)), "kernel psnr": metrics.psnr(test, kernel)}


def db(images, others):
    """PSNR in decibels, of the squared error over all pixels of all images."""
    return float(-10 * np.log10(np.mean((np.asarray(images, "float64") - others) ** 2)))


def bits_at(points, quality):
    """Bits at a quality in dB, read off (bits, dB) points by a line in the logarithm; NaN beyond them."""
    bits, levels = np.array(sorted(points, key=lambda point: point[1])).T
    return float(np.exp(np.interp(quality, levels, np.log(bits), left=np.nan, right=np.nan)))


def compression(data, seconds, seed):
    """Codes of 32 numbers that were trained for rate and error, refined, coded to bytes; a thousand test images."""
    train, test = data.train.images, data.test.images[:: max(1, len(data.test) // 1000)]
    keras.utils.set_random_seed(seed)
    codec = RateDistortionAutoencoder(architectures.dense_encoder(data.image_shape, 32, (512,)),
                                      architectures.dense_decoder(data.image_shape, 32, (1024,)), 80.0, seed)
    train_for(0.97 * seconds, codec, batches(train, seed), 4e-3)
    known = train[:10_000]  # the coder's fit takes the other 3 %
    coder = MixtureCoder(np.concatenate([codec.encode(known), codec.encode(gentle(known, seed))]), 20, seed)
    pca = PCA(128, random_state=0).fit(flat(train))
    coders = [MixtureCoder(pca.transform(flat(train)), count, seed) for count in (1, 2, 5, 10)]
    check = pca.transform(flat(data.validation.images))
    linear = min(coders, key=lambda coder: np.sum(coder.bits(coder.round(check, 0.35), 0.35)))
    ours, theirs = [], {"pca": [], "plain": []}  # plain: ours as the encoder gives them
    for step, weight in ((0.8, 25.0), (1.0, 16.0), (1.4, 8.0), (2.0, 6.0), (2.6, 4.0)):
        codes = refine_codes(codec, coder, test, step, weight, iterations=60, rate=0.2, seed=seed)
        ours.append(_through(coder, codes, step, codec.decode, test))
    for step in (0.2, 0.4, 0.8, 1.4, 2.0, 2.6):
        theirs["plain"].append(_through(coder, codec.encode(test), step, codec.decode, test))
    for step in (0.1, 0.25, 0.35, 0.7, 1.4):
        theirs["pca"].append(_through(linear, pca.transform(flat(test)), step, lambda codes: pca.inverse_transform(
            codes).clip(0, 1).reshape(test.shape), test))
    theirs |= {kind: [_sheet(test, kind, quality=quality, optimize=True, method=6)
                      for quality in (0, 1, 3, 5, 8, 12, 20, 30)] for kind in ("jpeg", "webp")}
    theirs["jpeg2000"] = [_sheet(test, "jpeg2000", quality_layers=[rate], irreversible=True)
                          for rate in (60, 40, 25, 18, 12, 8)]  # times less than the raw pixels
    return {f"{name} bits at {level} dB": bits_at(points, level) for level in (22, 24)
            for name, points in {"ours": ours, **theirs}.items()}


def _through(coder, codes, step, decode, images):
    """Bits an image and dB of codes that went to bytes and back."""
    indices = coder.round(codes, step)
    message = coder.encode(indices, step)
    if not np.array_equal(coder.decode(message, len(indices), step), indices):
        raise RuntimeError("The bytes did not decode to what was encoded.")
    return 8 * len(message) / len(indices), db(decode((step * indices).astype("float32")), images)


def _sheet(images, kind, **options):
    """Bits an image and dB of all images on one sheet, forty a row, as a file of that kind."""
    count, (height, width) = len(images) // 40 * 40, images.shape[1:3]
    sheet = images[:count].reshape(-1, 40, height, width).swapaxes(1, 2).reshape(-1, 40 * width)
    sheet, file = (sheet * 255).round().astype("uint8"), io.BytesIO()
    Image.fromarray(sheet).save(file, kind, **options)
    return 8 * len(file.getvalue()) / count, db(np.asarray(Image.open(file).convert("L"), "float32") / 255, sheet / 255)


def bent(images, seed):
    """Up to 25 degrees, 40 % shear, 25 % in size, 3 pixels."""
    return corruption.random_affine(images, seed, 25, 0.4, 0.25, 3, corruption.CRISP)


def straightener(data, seconds, seed):
    """An autoencoder that is shown bent images and gives back what they were made of; its code has 64 numbers."""
    keras.utils.set_random_seed(seed)
    model = Autoencoder(architectures.dense_encoder(data.image_shape, 64, (1024, 512)),
                        architectures.dense_decoder(data.image_shape, 64, (256,)))
    pairs = Pairs(data.train.images, bent, BATCH, seed)
    train_for(seconds, model, (pairs,), 2e-3, steps=54, use_ema=True)
    return model


def probe(data, seconds, seed):
    """A linear probe, and five nearest neighbours, on a code of 64 numbers that never saw a label."""
    model = straightener(data, seconds, seed)
    pca = PCA(64, random_state=0).fit(flat(data.train.images))
    codes = {"ours": model.encode, "pca": lambda images: pca.transform(flat(images)), "pixels": flat}
    figures = {}
    for name, encode in codes.items():
        known, asked = encode(data.train.images), encode(data.test.images)
        neighbours = KNeighborsClassifier(5).fit(known, data.train.labels)
        figures[f"{name} neighbours"] = 100 * float(neighbours.score(asked, data.test.labels))
        some = slice(LARGE if name == "pixels" else None)  # 784 numbers of each of 55,000 images would take an hour
        figures[f"{name} probe"] = 100 * metrics.linear_probe(
            known[some], data.train.labels[some], asked, data.test.labels)
    return figures


def phantoms(data, seconds, seed):
    """A network that mends what iterated total variation makes of 30 directions; it sees the back-projection as well.

    Preparing its inputs counts as training; they had ten rounds. What it is compared with has the number of rounds and
    the weight that are best on other phantoms.
    """
    begin = time.perf_counter()
    count = 500 if len(data.train) <= LARGE else 1500
    scanner, images = tomography.Scanner(128, 30), tomography.random_phantoms(count + 70, 128, seed)
    train, check, test = images[:count], images[count : count + 20], images[count + 20 :]
    measured = [tomography.photon_noise(scanner.project(part), 2000, [seed, i])
                for i, part in enumerate((train, check, test))]
    weight = best_strength(scanner.total_variation, (0.02, 0.03, 0.05), measured[1], check)
    projected = [scanner.filtered_back_projection(sinograms).clip(0, 1) for sinograms in measured]
    smoothed = [scanner.total_variation(sinograms, weight).clip(0, 1) for sinograms in measured]
    train_input, _, test_input = (np.concatenate(both, axis=-1) for both in zip(smoothed, projected))
    keras.utils.set_random_seed(seed)
    model = correcting_network((128, 128, 2), (24, 48, 96), channels=1)
    pairs = Pairs(train, train_input, 4, seed, turned)
    seconds -= time.perf_counter() - begin
    train_for(seconds, model, (pairs,), 3e-3, steps=25, loss="mse", jit=JIT, use_ema=True)
    choices = list(itertools.product((0.005, 0.01, 0.02, 0.03, 0.05, 0.08), (10, 20, 40)))  # weights and rounds
    best = best_strength(lambda seen, choice: scanner.total_variation(seen, *choice), choices, measured[1], check)
    print("  total variation: weight {}, {} rounds".format(*best), flush=True)
    made = {"ours": in_batches(model, test_input, 10).clip(0, 1), "back-projection": projected[2],
            "total variation": scanner.total_variation(measured[2], *best)}
    return {f"{name} psnr": metrics.psnr(test, images) for name, images in made.items()}


def turned(images, seed):
    """One of the eight mirror images and quarter turns."""
    choice = np.random.default_rng(seed).integers(8)
    images = images[:, :: 1 - 2 * (choice & 1), :: 1 - (choice & 2)]
    return np.ascontiguousarray(images.transpose(0, 2, 1, 3) if choice & 4 else images)


HIDDEN_SIDE, LOOKS = 14, 16  # pixels along the square that is hidden; with how many places of it an image is scored


def hide(images, seed):
    """Images with a square blanked at a random place."""
    return corruption.mask_square(images, HIDDEN_SIDE, seed)[0]


def angle(images, others):
    """1 minus the cosine of the angle between images and others, as long vectors: (n,)."""
    x, y = flat(images), flat(others)
    return 1 - np.sum(x * y, axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1) + 1e-6)


def one_class(data, seconds, seed):
    """Ten masked autoencoders, each of which saw one digit: how well do they fill in what is hidden of an image?"""
    test, areas, begin = data.test, {"ours": [], "pca": [], "pca angle": []}, time.perf_counter()
    kinds = np.unique(data.train.labels)

    def network():
        return Autoencoder(architectures.dense_encoder(data.image_shape, 64, (512,)),
                           architectures.dense_decoder(data.image_shape, 64, (512,)))

    def pairs(images):
        epochs = -(-len(images) // (54 * BATCH))  # each of 54 steps, which are compiled as one
        return Pairs(np.resize(images, (epochs * 54 * BATCH, *data.image_shape)), hide, BATCH, seed, gentle)

    keras.utils.set_random_seed(seed)
    model = network()
    train_for(1e-3, model, (pairs(data.train.images),), steps=54, global_clipnorm=1.0)  # compiles, for all ten
    seconds -= time.perf_counter() - begin
    for kind in kinds:
        normal = data.train.images[data.train.labels == kind]
        keras.utils.set_random_seed(seed)
        restart(model, network())
        train_for(seconds / len(kinds), model, (pairs(normal),))
        scores = sum(angle(test.images, model.reconstruct(hide(test.images, [seed, look]))) for look in range(LOOKS))
        pca = metrics.pca_reconstruction(normal, test.images, 32)
        scores = {"ours": scores, "pca": np.square(test.images - pca).sum(axis=(1, 2, 3)),
                  "pca angle": angle(test.images, pca)}
        for name, values in scores.items():
            areas[name].append(100 * roc_auc_score(test.labels != kind, values))
    return {f"{name} auroc": float(np.mean(values)) for name, values in areas.items()} | {
        f"ours auroc of {kind}": float(value) for kind, value in zip(kinds, areas["ours"])}


def sooner(data, seconds, seed):
    """The article's recipe and ours, in turn (it takes what it takes; `seconds` play no part).

    As the article does, both train on all that are not test images, and validate on the test images, by which our
    recipe for all of MNIST was chosen as well.
    """
    train, test = np.concatenate([data.train.images, data.validation.images]), data.test.images
    (turn,) = time_to_quality.quality(train, test, [seed])["turns"]
    return {"ratio": turn["ratio"], "article seconds": turn["article_seconds"], "ours seconds":
            turn["seconds_to_quality"], "article bce": turn["article"]["bce"][-1], "ours bce": turn["ours"]["bce"][-1]}


def throughput(data, seconds, seed):
    """Images a second, 784-512-256-32 and back: plain `fit` and ours in turn (`seconds` play no part)."""
    measured = time_to_quality.throughput(data.train.images, 1)
    return {f"{name}, {batch}": float(np.median(rates)) for batch, result in measured.items()
            for name, rates in result["images_a_second"].items()}


def sizes(data, seconds, seed):
    """Test MSE of autoencoders with 2 to 128 numbers, and of PCA; the seconds are shared out evenly."""
    train, test, figures, counts = data.train.images, data.test.images, {}, (2, 4, 8, 16, 32, 64, 128)
    for count in counts:
        keras.utils.set_random_seed(seed)
        model = Autoencoder(architectures.dense_encoder(data.image_shape, count, (768,)),
                            architectures.dense_decoder(data.image_shape, count, (768,)))
        train_for(seconds / len(counts), model, batches(train, seed))
        figures[f"ours {count}"] = metrics.mean_squared_error(test, model.reconstruct(test))
        figures[f"pca {count}"] = metrics.mean_squared_error(test, metrics.pca_reconstruction(train, test, count))
    return figures


def race(data, seconds, seed):
    """Fréchet ratio of every generator after 1/9, 2/9, 4/9 and all of the seconds, each trained from the start."""
    judge, figures = Judge(data.train, data.test), {}
    for share in (1 / 9, 2 / 9, 4 / 9, 1):
        shop = Workshop(data.train, share * seconds, seed)
        for name in GALLERY:
            keras.utils.set_random_seed(seed)
            samples = GALLERY[name](shop).sample(SAMPLES, seed, **SAMPLING.get(name, {}))
            make_room()
            figures[f"{name} {share * seconds:.0f}"] = judge.report(samples)["ratio"]
            print(f"  {name}, {share * seconds:.0f} s: {figures[f'{name} {share * seconds:.0f}']:.2f}", flush=True)
    return figures


class Row(typing.NamedTuple):
    """What stands in the table: a row's name in words, its function, and lines of it."""

    title: str
    run: typing.Callable
    lines: tuple  # of Line


class Line(typing.NamedTuple):
    """One line: what is measured, our figure's key, the baselines' keys by name, what was published, and where."""

    measure: str
    ours: str
    baselines: dict
    published: str = ""
    form: str = "{:.3g}"


MSE, BCE = "mean_squared_error", "binary_cross_entropy"
ROWS = {
    "code": Row("code of 32 numbers", code, (
        Line("squared error a pixel", f"ours {MSE}", {"PCA": f"pca {MSE}", "mean image": f"mean {MSE}"}),
        Line("cross-entropy, nats a pixel", f"ours {BCE}", {"PCA": f"pca {BCE}", "mean image": f"mean {BCE}"},
             "0.09 one dense layer, 0.08 deep (Chollet 2016)"))),
    "likelihood": Row("negative log-likelihood of digits in black and white, drawn anew", likelihood, (
        Line("nats, 5,000 importance samples of each of a thousand images (200 of the others)", "ours nats",
             {"standard normal prior, 500 samples": "normal nats"},
             "86.8 VAE, 84.8 IWAE-50, 82.9 two layers (Burda et al. 2016); 78.0 NVAE (Vahdat, Kautz 2020)"),)),
    "plane": Row("VAE with two numbers, grey digits", plane, (
        Line("nats, one sample", "ours nats", {"mean image": "mean nats"},
             "147.0, on images of its training (Keras's example)", "{:.4g}"),)),
    "generation": Row("new digits", generation, (
        Line("Fréchet distance, floors: diffusion over codes", "diffusion ratio",
             {"one Gaussian": "gaussian ratio", "mixture of forty": "mixture ratio",
              "mixtures of four for each digit": "labels ratio"}),
        Line("the same, as a share of the mixture of forty's", "diffusion / mixture", {}))),
    "denoising": Row("denoising, clipped Gaussian noise of 0.5", denoising, (
        Line("PSNR, dB", "ours psnr", {"linear": "linear psnr", "kernel": "kernel psnr"}),)),
    "compression": Row("compression of digits to bytes", compression, (
        Line("bits a digit at 22 dB", "ours bits at 22 dB",
             {"ours, not refined": "plain bits at 22 dB", "PCA": "pca bits at 22 dB", "JPEG": "jpeg bits at 22 dB",
              "JPEG 2000": "jpeg2000 bits at 22 dB"}),
        Line("bits a digit at 24 dB", "ours bits at 24 dB",
             {"PCA": "pca bits at 24 dB", "JPEG": "jpeg bits at 24 dB", "JPEG 2000": "jpeg2000 bits at 24 dB",
              "WebP": "webp bits at 24 dB"},
             "73 at 23.75 dB, computed from the losses of Keras's VQ-VAE and PixelCNN on images of their training"))),
    "one-class": Row("one digit is normal, the others are not", one_class, (
        Line("AUROC, %, mean of ten", "ours auroc", {"PCA's error": "pca auroc", "PCA's angle": "pca angle auroc"},
             "94.8 Deep SVDD (Ruff et al. 2018), 97.5 OCGAN (Perera et al. 2019)", "{:.1f}"),)),
    "probe": Row("what a code of 64 numbers tells without labels", probe, (
        Line("linear probe, % right", "ours probe", {"PCA": "pca probe", "pixels (of 20,000 at most)": "pixels probe"},
             form="{:.1f}"),
        Line("five nearest neighbours, % right", "ours neighbours",
             {"PCA": "pca neighbours", "pixels": "pixels neighbours"}, form="{:.1f}"))),
    "tomography": Row("tomography, 30 directions; 500 phantoms in 3 minutes, 1,500 in 15", phantoms, (
        Line("PSNR, dB", "ours psnr", {"back-projection": "back-projection psnr", "total variation":
                                       "total variation psnr"},
             "28.0 total variation, 29.4 learned from 32,000, at other noise (Baguer et al. 2020)", "{:.1f}"),)),
    "sooner": Row("time to the article's quality", sooner, (
        Line("times sooner", "ratio", {}, form="{:.0f}"),
        Line("seconds", "ours seconds", {"the article's recipe": "article seconds"}))),
    "throughput": Row("training images a second, 784-512-256-32 and back", throughput, (
        Line("batches of 32", "ours, batch of 32", {"plain fit": "plain, batch of 32"}, form="{:,.0f}"),
        Line("batches of 256", "ours, batch of 256", {"plain fit": "plain, batch of 256"}, form="{:,.0f}"))),
    "sizes": Row("error against code size", sizes, ()),
    "race": Row("Fréchet distance against seconds", race, ()),
}
