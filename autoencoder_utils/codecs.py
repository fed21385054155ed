"""Autoencoders for compression: they are trained for squared error and bits. Coders of bytes are in `compression`."""

import math

import keras
import numpy as np
from keras import layers, ops
from scipy.fft import idctn

from autoencoder_utils.autoencoders import Autoencoder, in_batches
from autoencoder_utils.data import check_images
from autoencoder_utils.training import JIT, SINGLE_STEPS, warmup_cosine

CHUNK = 1000  # codes that are refined at a time: what the decoder holds for them takes some 50 MB
SIDE = 8  # pixels along each side of a place in a lapped transform, as in JPEG


@keras.saving.register_keras_serializable("autoencoder_utils")
class RateDistortionAutoencoder(Autoencoder):
    """An autoencoder whose code will be rounded and written down: it pays for squared error and for bits.

    Rounding has no slope; in training, noise that is uniform on [-1/2, 1/2] takes its place, as in Ballé, Laparra and
    Simoncelli, "End-to-end optimized image compression", ICLR 2017. The loss is weight * squared error + rate, where
    the rate is what the numbers cost in nats by a Gaussian for each, whose mean and deviation are learned. `evaluate`
    rounds; `encode` does not, so that a coder may choose the step.

    Args:
        encoder, decoder: As for `Autoencoder`.
        weight: Nats that a squared error of 1, summed over the pixels of an image, costs; above 0.
        seed: Of the noise.

    Raises:
        ValueError: as for `Autoencoder`; a weight that is not positive.
    """

    def __init__(self, encoder, decoder, weight, seed=0, **kwargs):
        super().__init__(encoder, decoder, "gaussian", **kwargs)
        if not weight > 0:
            raise ValueError(f"`weight` must be positive. Received: weight={weight}")
        self.weight, self.seed, self.noise = weight, seed, keras.random.SeedGenerator(seed)
        self.means = self.add_weight(shape=(self.latent_dim,), initializer="zeros", name="means")
        self.log_deviations = self.add_weight(shape=(self.latent_dim,), initializer="ones", name="log_deviations")
        self.error_tracker = keras.metrics.Mean(name="squared_error")
        self.rate_tracker = keras.metrics.Mean(name="rate")

    def call(self, images, training=False):
        """Images to a dictionary: codes (batch, latent_dim), with noise when training, else rounded, and logits."""
        codes = self.encoder(images, training=training)
        codes = self.blur(codes) if training else ops.round(codes)
        return {"codes": codes, "logits": self.decoder(codes, training=training)}

    def blur(self, codes):
        """Codes (batch, latent_dim) with noise that is uniform on [-1/2, 1/2]."""
        return ops.add(codes, keras.random.uniform(ops.shape(codes), -0.5, 0.5, seed=self.noise))

    def rate(self, codes):
        """What codes (batch, latent_dim) cost in nats, (batch,), if they are rounded to whole numbers."""
        standard = ops.subtract(codes, self.means) * ops.exp(-self.log_deviations)
        return ops.sum(0.5 * ops.square(standard) + self.log_deviations + 0.5 * math.log(2 * math.pi), axis=1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean over the batch of weight * squared error + rate, in nats, plus what layers add (regularisers)."""
        target, rate = x if y is None else y, self.rate(y_pred["codes"])
        error = ops.sum(ops.square(ops.subtract(target, ops.sigmoid(y_pred["logits"]))), axis=(1, 2, 3))
        self.error_tracker.update_state(error)
        self.rate_tracker.update_state(rate)
        return self._average(self.weight * error + rate, sample_weight) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics given to `compile` compare pixels with pixels."""
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        config = super().get_config() | {"weight": self.weight, "seed": self.seed}
        return {key: value for key, value in config.items() if key != "reconstruction_loss"}


def refine_codes(autoencoder, coder, images, step, weight, iterations=60, rate=0.15, seed=0):
    """Better codes than the encoder's, by gradient descent on each image's own code; the decoder stays as it is.

    What falls is weight * squared error + rate of the rounded code, with noise for rounding and the coder's density for
    the rate: Campos et al., "Content adaptive optimization for neural image compression", CVPR workshops 2019. Only who
    compresses takes more time.

    Args:
        autoencoder: A trained `Autoencoder` or kin; nothing in it changes.
        coder: A `compression.MixtureCoder` for its codes.
        images: float32 (n, height, width, channels) in [0, 1].
        step: What codes will be rounded to multiples of, above 0: one number, or one an image (n,).
        weight: Nats that a squared error of 1 costs, above 0: one number, or one an image (n,).
        iterations: Steps of Adam, with `warmup_cosine`.
        rate: Its highest learning rate.
        seed: Of the noise.

    Returns:
        Codes, not yet rounded, float32 array (n, latent_dim).

    Raises:
        ValueError: images out of form; steps or weights that are not positive, or not one an image.
    """
    images = check_images(images, autoencoder.image_shape)
    step, weight = (_one_an_image(name, value, len(images)) for name, value in (("step", step), ("weight", weight)))
    codes, chunks = autoencoder.encode(images), -(-len(images) // CHUNK)
    places = np.resize(np.arange(len(images)), (chunks, -(-len(images) // chunks)))  # equally many in each
    refiner = _Refiner(autoencoder.decoder, coder, places.shape[1], seed)
    refiner.compile(keras.optimizers.Adam(warmup_cosine(rate, iterations)), jit_compile=JIT,
                    steps_per_execution=1 if SINGLE_STEPS else iterations)
    refiner.optimizer.build(refiner.trainable_variables)
    for chunk in places:
        for variable in refiner.optimizer.variables:
            if variable.name != "learning_rate":
                variable.assign(ops.zeros(variable.shape, variable.dtype))
        refiner.codes.assign(codes[chunk])
        again = _Again((images[chunk], step[chunk], weight[chunk]), iterations)
        refiner.fit(again, shuffle=False, verbose=0)
        again.batch = None  # TensorFlow keeps the data set that Keras makes of it for ever
        codes[chunk] = ops.convert_to_numpy(refiner.codes)
    return codes


class _Again(keras.utils.PyDataset):
    """The same batch, `times` times: one epoch, and one compiled call, in place of many."""

    def __init__(self, batch, times):
        super().__init__()
        self.batch, self.times = batch, times

    def __len__(self):
        return self.times

    def __getitem__(self, index):
        return (self.batch,)


class _Refiner(keras.Model):
    """A model whose only weights are the codes of some images, (rows, latent_dim)."""

    def __init__(self, decoder, coder, rows, seed):
        super().__init__(name="refiner")
        self.decode = lambda codes: decoder(codes, training=False)  # in a function: its weights are not this model's
        inverse = np.linalg.inv(coder.factors)
        logs = np.log(coder.shares) + np.log(np.einsum("kii->ki", inverse)).sum(axis=1)
        constants = (ops.convert_to_tensor(array, "float32") for array in (inverse, coder.means, logs))
        self.inverse, self.centres, self.logs = constants
        self.noise = keras.random.SeedGenerator(seed)
        self.codes = self.add_weight(shape=(rows, decoder.input_shape[-1]), name="codes")
        self.built = True

    def call(self, inputs):
        """Codes with noise as wide as the step."""
        return self.codes + inputs[1] * keras.random.uniform(ops.shape(self.codes), -0.5, 0.5, seed=self.noise)

    def rate(self, codes):
        """-log of the mixture's density, in nats but for a constant, (rows,)."""
        centred = ops.subtract(codes[:, None], self.centres)  # (rows, components, latent_dim)
        standard = ops.einsum("kij,nkj->nki", self.inverse, centred)
        return -ops.logsumexp(self.logs - 0.5 * ops.sum(ops.square(standard), axis=2), axis=1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Sum over the images: each code is on its own."""
        error = ops.sum(ops.square(ops.subtract(x[0], ops.sigmoid(self.decode(y_pred)))), axis=(1, 2, 3))
        return ops.sum(x[2][:, 0] * error + self.rate(y_pred))


@keras.saving.register_keras_serializable("autoencoder_utils")
class LappedTransform(keras.Model):
    """A linear autoencoder of grey pictures of any size: 64 numbers for every 8 x 8 pixels, from windows of 16 x 16.

    It starts as JPEG's cosines, which look at 8 x 8 pixels only, and is trained with `fit(patches)` for one code at all
    qualities: each patch's numbers are rounded to a step of its own, drawn from a range (in the logarithm). The loss is
    the squared error in squared steps plus `weight` times the rate, the nats that the numbers cost by a logistic
    density for each channel; the rate sees noise in place of rounding. Malvar and Staelin, "The LOT: transform coding
    without blocking effects", IEEE Transactions on Acoustics, Speech and Signal Processing 37, 1989, had the windows.

    Args:
        steps: Range of the steps, above 0.
        weight: Squared steps of error that a nat is worth, above 0; fine steps trade them at 1/6.
        seed: Of steps and noise.

    Raises:
        ValueError: impossible steps or weight; from `encode`: pictures out of form, sides not divisible by 8.
    """

    def __init__(self, steps=(0.04, 0.6), weight=1 / 6, seed=0, **kwargs):
        super().__init__(**kwargs)
        if not (0 < steps[0] <= steps[1] and weight > 0):
            raise ValueError(f"`steps` must be a range above 0, `weight` positive. Received: {steps=}, {weight=}")
        self.steps, self.weight, self.seed, self.noise = steps, weight, seed, keras.random.SeedGenerator(seed)
        self.analysis = layers.Conv2D(SIDE**2, 2 * SIDE, strides=SIDE, padding="same", use_bias=False)
        self.synthesis = layers.Conv2DTranspose(1, 2 * SIDE, strides=SIDE, padding="same", use_bias=False)
        order = np.argsort(np.add.outer(range(SIDE), range(SIDE)).ravel(), kind="stable")  # from coarse to fine
        cosines = idctn(np.eye(SIDE**2).reshape(-1, SIDE, SIDE), axes=(1, 2), norm="ortho")[order]
        margin = (SIDE // 2, SIDE // 2)
        kernel = np.pad(cosines.transpose(1, 2, 0), (margin, margin, (0, 0)))[:, :, None]  # (16, 16, 1, 64)
        for layer, channels in ((self.analysis, 1), (self.synthesis, SIDE**2)):
            layer.build((None, None, None, channels))
            layer.set_weights([kernel])
        self.log_scales = self.add_weight(shape=(SIDE**2,), initializer=keras.initializers.Constant(-3.0),
                                          name="log_scales")
        self.built = True

    def call(self, images, training=False):
        """Pictures (batch, height, width, 1) to a dictionary: images, codes with noise, steps (batch, 1, 1, 1)."""
        codes = self.analysis(images - 0.5)  # (batch, height / 8, width / 8, 64)
        steps = ops.exp(keras.random.uniform((ops.shape(codes)[0], 1, 1, 1), *np.log(self.steps), seed=self.noise))
        blurred = codes + steps * keras.random.uniform(ops.shape(codes), -0.5, 0.5, seed=self.noise)
        rounded = codes + ops.stop_gradient(steps * ops.round(codes / steps) - codes)  # a slope of 1
        return {"images": 0.5 + self.synthesis(rounded), "codes": blurred, "steps": steps}

    def rate(self, codes, steps):
        """What codes (batch, rows, columns, 64), rounded to steps (batch, 1, 1, 1), cost in nats, (batch,)."""
        sharpness = ops.exp(-self.log_scales)
        distance = -ops.abs(codes) * sharpness  # in the lower tail, where nothing cancels
        half = 0.5 * ops.multiply(steps, sharpness)
        likely = ops.sigmoid(distance + half) - ops.sigmoid(distance - half)
        return -ops.sum(ops.log(likely + 1e-9), axis=(1, 2, 3))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean over the batch of squared error in squared steps + weight * rate."""
        error = ops.sum(ops.square(ops.subtract(x, y_pred["images"]) / y_pred["steps"]), axis=(1, 2, 3))
        return ops.mean(error + self.weight * self.rate(y_pred["codes"], y_pred["steps"]))

    def encode(self, pictures):
        """Pictures, float32 (n, height, width, 1) in [0, 1], to numbers, float32 (n, height / 8, width / 8, 64)."""
        pictures = check_images(pictures)
        if pictures.shape[3] != 1 or pictures.shape[1] % SIDE or pictures.shape[2] % SIDE:
            raise ValueError(f"Expected grey pictures whose sides are divisible by {SIDE}. Received: shape "
                             f"{pictures.shape}")
        return in_batches(lambda batch, training: self.analysis(batch - 0.5), pictures, 16)

    def decode(self, codes):
        """Numbers (n, rows, columns, 64) to pictures, float32 array (n, 8 rows, 8 columns, 1) in [0, 1]."""
        codes = np.asarray(codes, "float32")
        return in_batches(lambda batch, training: ops.clip(0.5 + self.synthesis(batch), 0, 1), codes, 16)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return {"name": self.name, "steps": self.steps, "weight": self.weight, "seed": self.seed}


def _one_an_image(name, value, count):
    value = np.asarray(value, "float32")
    if value.shape not in ((), (count,)) or not np.all(value > 0):
        raise ValueError(f"`{name}` must be positive, one number or one for each of {count} images. Received: {value}")
    return np.broadcast_to(value, count)[:, None].copy()
