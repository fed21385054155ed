"""Generators that learn from a discriminator: the generative adversarial network, and the VAE-GAN."""

import keras
import numpy as np
from keras import ops

from autoencoder_utils.autoencoders import BATCH, NUDGE, in_batches
from autoencoder_utils.data import check_images
from autoencoder_utils.training import Stacked
from autoencoder_utils.variational import VariationalAutoencoder


@keras.saving.register_keras_serializable("autoencoder_utils")
class GenerativeAdversarialNetwork(Stacked, keras.Model):
    """A generator, and a discriminator that learns to tell its images from real ones, trained against each other.

    Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, with the generator's non-saturating loss. The
    discriminator pays for the squared length of its gradient at real images, which calms the game down: "R1" of
    Mescheder, Geiger and Nowozin, "Which training methods for GANs do actually converge?", ICML 2018. To average the
    weights, compile with `use_ema=True`.

    Args:
        generator: Keras model, standard normal codes (batch, latent_dim) to logits (batch, height, width, channels): a
            decoder.
        discriminator: Keras model, images (batch, height, width, channels) to one number, (batch, 1), large for real
            ones: an encoder with a code of 1.
        gradient_penalty: What a squared length of 2 costs, in nats (the paper's gamma), at least 0.
        seed: Of all noise in training.

    Raises:
        ValueError: generator and discriminator that don't fit together; a negative penalty; images of another shape or
            outside [0, 1].
    """

    def __init__(self, generator, discriminator, gradient_penalty=0.03, seed=0, **kwargs):
        super().__init__(**kwargs)
        _check(discriminator, generator, gradient_penalty)
        self.generator, self.discriminator = generator, discriminator
        self.gradient_penalty, self.seed, self.noise = gradient_penalty, seed, keras.random.SeedGenerator(seed)
        self.discriminator_tracker = keras.metrics.Mean(name="discriminator_loss")
        self.generator_tracker = keras.metrics.Mean(name="generator_loss")
        self.built = True  # both halves are

    @property
    def latent_dim(self):
        """How many numbers the generator makes an image of."""
        return self.generator.input_shape[-1]

    def call(self, images, training=False):
        """Images to the discriminator's opinions of them and of as many fakes: see `opinions`."""
        codes = keras.random.normal((ops.shape(images)[0], self.latent_dim), seed=self.noise)
        fakes = ops.sigmoid(self.generator(codes, training=training))
        return opinions(self, images, fakes, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The discriminator's loss plus the generator's, as `adversarial_losses` gives them, mean over the batch."""
        return sum(adversarial_losses(self, y_pred))

    def fit(self, x=None, **kwargs):
        """As `keras.Model.fit`, on images (n, height, width, channels) in [0, 1] or a `PyDataset` of their batches."""
        if isinstance(x, keras.utils.PyDataset):
            kwargs.setdefault("shuffle", False)
        else:
            x = check_images(x, self.discriminator.input_shape[1:])
        history = super().fit(x, **kwargs)
        # On JAX, Keras has left averages and weights in the same buffers, which the next step could not take twice.
        for variable in self.optimizer.variables:
            variable.assign(ops.copy(variable))
        return history

    def evaluate(self, x=None, **kwargs):
        """As `keras.Model.evaluate`, on images (n, height, width, channels) in [0, 1]."""
        return super().evaluate(check_images(x, self.discriminator.input_shape[1:]), **kwargs)

    def sample(self, count, seed):
        """New images: standard normal codes, put through the generator.

        Args:
            count: How many.
            seed: Of the codes; the same on every backend.

        Returns:
            float32 (count, height, width, channels) in [0, 1].

        Raises:
            ValueError: a count below 1.
        """
        if count < 1:
            raise ValueError(f"`count` must be at least 1. Received: count={count}")
        codes = np.random.default_rng(seed).standard_normal((count, self.latent_dim), dtype="float32")
        return in_batches(lambda z, training: ops.sigmoid(self.generator(z, training=training)), codes, BATCH)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {"name": self.name, "gradient_penalty": self.gradient_penalty, "seed": self.seed, **parts}

    @classmethod
    def from_config(cls, config):
        """A new model from `get_config`."""
        parts = {key: keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
                 for key, value in config.items()}
        return cls(**parts)


@keras.saving.register_keras_serializable("autoencoder_utils")
class AdversarialVariationalAutoencoder(VariationalAutoencoder):
    """A VAE-GAN: a variational autoencoder whose decoder must also pass a discriminator.

    Larsen, Sønderby, Larochelle and Winther, "Autoencoding beyond pixels using a learned similarity metric", ICML 2016.
    They measure the reconstruction in the discriminator's features; this one, more simply, in pixels. The discriminator
    sees one fake for each image: by turns a reconstruction and an image made of a standard normal code.

    Args:
        encoder, decoder, reconstruction_loss, beta, decoder_variance: As for `VariationalAutoencoder`.
        discriminator, gradient_penalty: As for `GenerativeAdversarialNetwork`.
        adversarial_weight: Nats of reconstruction that one nat of the discriminator's opinion is worth, at least 0.
        seed: Of all noise in training.

    Raises:
        ValueError: as for both; a negative weight.
    """

    def __init__(self, encoder, decoder, discriminator, adversarial_weight=10.0, gradient_penalty=0.03, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        _check(discriminator, decoder, gradient_penalty)
        if adversarial_weight < 0:
            raise ValueError(f"`adversarial_weight` must be at least 0. Received: {adversarial_weight=}")
        self.discriminator, self.adversarial_weight = discriminator, adversarial_weight
        self.gradient_penalty = gradient_penalty
        self.discriminator_tracker = keras.metrics.Mean(name="discriminator_loss")
        self.generator_tracker = keras.metrics.Mean(name="generator_loss")

    def call(self, images, training=False):
        """Images to what a `VariationalAutoencoder` says of them, and the discriminator's opinions: see `opinions`."""
        outputs = super().call(images, training=training)
        codes = keras.random.normal(ops.shape(outputs["z_mean"]), seed=self.noise)
        dreams = self.decoder(codes, training=training)
        odd = ops.reshape(ops.arange(ops.shape(images)[0]) % 2 == 1, (-1, 1, 1, 1))
        fakes = ops.sigmoid(ops.where(odd, dreams, outputs["logits"]))
        return outputs | opinions(self, images, fakes, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Minus the evidence lower bound, the discriminator's loss, and the weight times the generator's."""
        discriminator, generator = adversarial_losses(self, y_pred)
        elbo = super().compute_loss(x, y, y_pred, sample_weight, training)
        return elbo + discriminator + self.adversarial_weight * generator

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "adversarial_weight": self.adversarial_weight, "gradient_penalty": self.gradient_penalty}


def opinions(model, images, fakes, training):
    """What the model's discriminator, large for real, says of images, of as many fakes, and close beside the images.

    Args:
        model: Has `discriminator` and `noise`.
        images, fakes: (batch, height, width, channels) in [0, 1].
        training: Passed on to the discriminator.

    Returns:
        A dictionary of four, (batch, 1) each: "real"; "fake"; "fixed", which is "fake" again, but of fakes that are
        held fixed: no gradient passes through them to whatever made them; and "slope", an estimate of the squared
        length of the gradient at the images, |D(x + e v) - D(x)|^2 / e^2 for standard normal noise v and a small e.
    """
    nudged = ops.add(images, NUDGE * keras.random.normal(ops.shape(images), seed=model.noise))
    shown = ops.concatenate([images, fakes, ops.stop_gradient(fakes), nudged])
    real, fake, fixed, beside = ops.split(model.discriminator(shown, training=training), 4)
    return {"real": real, "fake": fake, "fixed": fixed, "slope": ops.square(beside - real) / NUDGE**2}


def adversarial_losses(model, said):
    """The two losses, mean over the batch: the discriminator's, and the generator's, whose value is 0.

    The generator's is softplus(-D(fake)), which only the generator must learn from. Hence the same, of the fixed fakes,
    is taken off: the gradients for the discriminator cancel, and the gradient for the generator stays.

    Args:
        model: Has `gradient_penalty`; its `discriminator_tracker` and `generator_tracker` note the losses.
        said: What `opinions` returns, four of (batch, 1).

    Returns:
        Two numbers.
    """
    discriminator = ops.mean(ops.softplus(-said["real"]) + ops.softplus(said["fixed"]))
    generator = ops.mean(ops.softplus(-said["fake"]))
    model.discriminator_tracker.update_state(discriminator)
    model.generator_tracker.update_state(generator)
    penalty = 0.5 * model.gradient_penalty * ops.mean(said["slope"])
    return discriminator + penalty, generator - ops.mean(ops.softplus(-said["fixed"]))


def _check(discriminator, generator, gradient_penalty):
    if discriminator.output_shape[1:] != (1,) or discriminator.input_shape[1:] != generator.output_shape[1:]:
        raise ValueError("The discriminator must take the generator's images and put out one number. Received: "
                         f"generator output {generator.output_shape}, discriminator {discriminator.input_shape} to "
                         f"{discriminator.output_shape}")
    if gradient_penalty < 0:
        raise ValueError(f"`gradient_penalty` must be at least 0. Received: gradient_penalty={gradient_penalty}")
