"""Diffusion over an autoencoder's codes: a network that learns to take noise off codes makes codes of noise."""

import math

import keras
import numpy as np
from keras import layers, ops

from autoencoder_utils.data import check_labels
from autoencoder_utils.training import JIT

WAVES = 4  # of each angle's sine and cosine: what the network is told about how noisy its input is
LABEL_DROPOUT = 0.1  # share of the labels that training hides, so that one network learns to do without as well


def residual_denoiser(latent_dim, width=256, blocks=3, num_classes=0):
    """A residual network for `CodeDiffusion`, told how noisy a code is and, if there are classes, of which it is.

    Args:
        latent_dim: Numbers in the code, at least 1.
        width: Units of each layer.
        blocks: Residual blocks of two layers each.
        num_classes: Of labels 0 to num_classes - 1; 0 for none.

    Returns:
        A model of noisy codes (batch, latent_dim), angles (batch, 1) in [0, pi / 2] and labels (batch,), where
        `num_classes` stands for "any", to directions (batch, latent_dim).

    Raises:
        ValueError: impossible sizes.
    """
    if latent_dim < 1 or width < 1 or blocks < 0 or num_classes < 0:
        raise ValueError("`latent_dim` and `width` must be at least 1, `blocks` and `num_classes` at least 0. "
                         f"Received: {latent_dim=}, {width=}, {blocks=}, {num_classes=}")
    codes = keras.Input((latent_dim,), name="noisy_codes")
    angles = keras.Input((1,), name="angles")
    labels = keras.Input((), dtype="int32", name="labels")
    waves = layers.Concatenate()([ops.sin(k * angles) for k in range(1, 2 * WAVES, 2)]
                                 + [ops.cos(k * angles) for k in range(1, 2 * WAVES, 2)])  # (batch, 2 * WAVES)
    h = layers.Dense(width)(codes) + layers.Dense(width)(waves) + layers.Embedding(num_classes + 1, width)(labels)
    for _ in range(blocks):
        inner = layers.Dense(width, "gelu")(layers.LayerNormalization()(h))
        h = h + layers.Dense(width)(inner)  # (batch, width)
    h = layers.LayerNormalization()(h)
    return keras.Model([codes, angles, labels], layers.Dense(latent_dim, name="direction")(h), name="denoiser")


@keras.saving.register_keras_serializable("autoencoder_utils")
class CodeDiffusion(keras.Model):
    """A generator: codes made of noise by a denoising network, and decoded by an autoencoder that is already trained.

    A code x and noise e make the noisy code z = x cos(a) + e sin(a), with an angle a from 0 (the code) to pi / 2
    (noise). Its direction dz/da = e cos(a) - x sin(a) is what the network learns to tell from z and a, by squared
    error: the "v" of Salimans and Ho, "Progressive distillation for fast sampling of diffusion models", ICLR 2022. To
    sample, follow the direction from noise back to the code: the differential equation of Song et al., "Score-based
    generative modeling through stochastic differential equations", ICLR 2021. Diffusion began with Ho, Jain and Abbeel,
    "Denoising diffusion probabilistic models", NeurIPS 2020, and over codes with Rombach et al., "High-resolution image
    synthesis with latent diffusion models", CVPR 2022. To average the weights, compile with `use_ema=True`.

    Args:
        autoencoder: A trained `Autoencoder` (or kin); it is frozen: its `trainable` becomes False.
        denoiser: Keras model of noisy codes, angles and labels, such as `residual_denoiser` makes.
        num_classes: Of the labels, 0 to num_classes - 1, that the denoiser knows; 0 for none.
        seed: Of the noise in training.

    Raises:
        ValueError: denoiser and autoencoder that don't fit together; from `fit`, `evaluate` and `sample`: bad images,
            codes, labels or counts.
    """

    def __init__(self, autoencoder, denoiser, num_classes=0, seed=0, **kwargs):
        super().__init__(**kwargs)
        if tuple(denoiser.output_shape[1:]) != (autoencoder.latent_dim,):
            raise ValueError(f"The denoiser must put out {autoencoder.latent_dim} numbers, as many as the autoencoder's"
                             f" codes have. Received: denoiser output {denoiser.output_shape}")
        self.autoencoder, self.denoiser, self.num_classes = autoencoder, denoiser, num_classes
        autoencoder.trainable, denoiser.jit_compile = False, JIT
        self.seed, self.noise = seed, keras.random.SeedGenerator(seed)
        size = (autoencoder.latent_dim,)
        self.code_mean = self.add_weight(shape=size, initializer="zeros", trainable=False, name="code_mean")
        self.code_scale = self.add_weight(shape=size, initializer="ones", trainable=False, name="code_scale")
        self.class_shares = self.add_weight(
            shape=(max(num_classes, 1),), initializer="ones", trainable=False, name="class_shares")
        self.built = True

    def call(self, inputs, training=False):
        """Codes (batch, latent_dim) and labels (batch,), noise added: the network's directions and the true ones."""
        codes, labels = (inputs["codes"] - self.code_mean) / self.code_scale, inputs["labels"]
        size = ops.shape(codes)[0]
        shares = keras.random.uniform((size, 1), seed=self.noise)
        angles = 0.5 * math.pi * shares  # (batch, 1)
        noise = keras.random.normal(ops.shape(codes), seed=self.noise)
        if training and self.num_classes:
            hidden = keras.random.uniform((size,), seed=self.noise) < LABEL_DROPOUT
            labels = ops.where(hidden, self.num_classes, labels)
        noisy = ops.cos(angles) * codes + ops.sin(angles) * noise  # (batch, latent_dim)
        return {"direction": self.denoiser([noisy, angles, labels], training=training),
                "target": ops.cos(angles) * noise - ops.sin(angles) * codes}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Squared error of the direction, mean over its numbers and the batch; 1 is what no skill has."""
        return ops.mean(ops.square(y_pred["direction"] - y_pred["target"]))

    def fit(self, x, y=None, **kwargs):
        """As `keras.Model.fit`, on images (n, height, width, channels), which it encodes, or codes (n, latent_dim).

        `y` are their labels (n,), if there are classes. The codes' mean and deviation, by which they are normalised,
        and the labels' shares are noted.
        """
        inputs = self._inputs(x, y)
        codes, counts = inputs["codes"], np.bincount(inputs["labels"], minlength=max(self.num_classes, 1))
        self.code_mean.assign(codes.mean(axis=0))
        self.code_scale.assign(codes.std(axis=0) + 1e-6)
        self.class_shares.assign(counts / counts.sum())
        if kwargs.get("validation_data") is not None:
            validation = kwargs["validation_data"]
            pair = validation if isinstance(validation, tuple | list) else (validation, None)
            kwargs["validation_data"] = (self._inputs(*pair),)
        history = super().fit(inputs, **kwargs)
        # On JAX, Keras has left averages and weights in the same buffers, which the next step could not take twice.
        for variable in self.optimizer.variables:
            variable.assign(ops.copy(variable))
        return history

    def evaluate(self, x, y=None, **kwargs):
        """As `keras.Model.evaluate`, on images (n, height, width, channels) or codes (n, latent_dim), and labels."""
        return super().evaluate(x if isinstance(x, dict) else self._inputs(x, y), **kwargs)

    def sample_codes(self, count, seed, labels=None, steps=20, guidance=1.0):
        """New codes, (count, latent_dim): noise is followed back in `steps` steps of Heun's method; see `sample`."""
        if count < 1 or steps < 1:
            raise ValueError(f"`count` and `steps` must be at least 1. Received: count={count}, steps={steps}")
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((count, self.autoencoder.latent_dim), dtype="float32")
        if labels is None and self.num_classes:
            shares = ops.convert_to_numpy(self.class_shares).astype("float64")
            labels = rng.choice(len(shares), count, p=shares / shares.sum())
        return self.noise_to_codes(noise, labels, steps, guidance)

    def noise_to_codes(self, noise, labels=None, steps=20, guidance=1.0, others=None, share=0.0):
        """The codes that `sample_codes` makes of this noise.

        Args:
            noise: (n, latent_dim), normal.
            labels: Classes (n,) if there are classes, else None.
            steps, guidance: See `sample`.
            others: Second classes (n,); the network's directions for both are mixed. None for none.
            share: Of the second classes in the mixture, from 0 to 1: one number, or (n, 1).

        Returns:
            float32 (n, latent_dim).

        Raises:
            ValueError: noise out of form, impossible steps or labels, other classes without `labels`.
        """
        noise, labels = self._check_walk(noise, labels, steps)
        if others is not None:
            others = check_labels(others, len(noise), self.num_classes)
        angles = np.linspace(0.5 * math.pi, 0, steps + 1, dtype="float32")
        codes = self._walk(noise, angles, labels, guidance, others, np.asarray(share, "float32"))
        return codes * ops.convert_to_numpy(self.code_scale) + ops.convert_to_numpy(self.code_mean)

    def codes_to_noise(self, codes, labels=None, steps=20):
        """The noise (n, latent_dim) of which `noise_to_codes`, with the same labels and steps, makes these codes.

        The same path, followed the other way: Song, Meng and Ermon, "Denoising diffusion implicit models", ICLR 2021.
        Takes codes (n, latent_dim), as `autoencoder.encode` puts them out; raises what `noise_to_codes` does.
        """
        codes, labels = self._check_walk(codes, labels, steps)
        codes = (codes - ops.convert_to_numpy(self.code_mean)) / ops.convert_to_numpy(self.code_scale)
        return self._walk(codes, np.linspace(0, 0.5 * math.pi, steps + 1, dtype="float32"), labels, 1.0)

    def sample(self, count, seed, labels=None, steps=20, guidance=1.0):
        """New images: codes made of noise, decoded.

        Args:
            count: How many.
            seed: Of the noise; the same on every backend.
            labels: Classes (count,) of the images; None draws them as often as they were trained on.
            steps: Of the sampler, at least 1; each asks the network twice.
            guidance: How far to go beyond the class, from what the network says without a label (0) to what it says
                with it (1) and on: Ho and Salimans, "Classifier-free diffusion guidance", 2022.

        Returns:
            float32 (count, height, width, channels) in [0, 1].

        Raises:
            ValueError: impossible count, steps or labels.
        """
        return self.autoencoder.decode(self.sample_codes(count, seed, labels, steps, guidance))

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        parts = {"autoencoder": self.autoencoder, "denoiser": self.denoiser}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {"name": self.name, "num_classes": self.num_classes, "seed": self.seed, **parts}

    @classmethod
    def from_config(cls, config):
        """A new model from `get_config`."""
        parts = {key: keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
                 for key, value in config.items()}
        return cls(**parts)

    def _check_walk(self, codes, labels, steps):
        """Codes or noise as float32 (n, latent_dim), labels as int32 (n,)."""
        codes, size = np.asarray(codes, "float32"), self.autoencoder.latent_dim
        if codes.shape[1:] != (size,) or steps < 1:
            raise ValueError(f"Expected codes or noise of shape (batch, {size}), and at least 1 step. "
                             f"Received: shape {codes.shape}, steps={steps}")
        return codes, self._check_given(labels, len(codes))

    def _walk(self, codes, angles, *condition):
        """Follows the direction from the first angle to the last: Heun's method."""
        for angle, step in zip(angles, np.diff(angles)):
            here = self._direction(codes, angle, *condition)
            there = self._direction(codes + step * here, angle + step, *condition)
            codes = codes + step * (here + there) / 2
        return codes

    def _direction(self, codes, angle, labels, guidance, others=None, share=0.0):
        """What the network says at one angle for all codes, (count, latent_dim), as an array."""
        angles = np.full((len(codes), 1), angle, "float32")

        def told(labels):
            return self.denoiser.predict_on_batch([codes, angles, labels])  # compiled: a quarter of the time

        conditional = told(labels)
        if others is not None:
            conditional = conditional + share * (told(others) - conditional)
        if guidance == 1:
            return conditional
        free = told(np.full_like(labels, self.num_classes))
        return free + np.float32(guidance) * (conditional - free)

    def _inputs(self, x, labels):
        """What `call` takes, of images or codes and labels or None."""
        x = np.asarray(x)
        latent_dim = self.autoencoder.latent_dim
        if x.ndim == 2 and (x.shape[1] != latent_dim or len(x) == 0):
            raise ValueError(f"Expected images, or codes of shape (batch, {latent_dim}). Received: shape {x.shape}")
        codes = x.astype("float32") if x.ndim == 2 else self.autoencoder.encode(x)
        return {"codes": codes, "labels": self._check_given(labels, len(codes))}

    def _check_given(self, labels, count):
        """Labels (count,) as int32, which must be given if there are classes, and only then."""
        if (labels is None) != (self.num_classes == 0):
            raise ValueError("`labels` are needed if there are classes, and only then. Received: "
                             f"num_classes={self.num_classes}, labels={'None' if labels is None else 'given'}")
        return check_labels(np.zeros(count, int) if labels is None else labels, count, max(self.num_classes, 1))
