"""The variational autoencoder, with a decoder variance that is given or learned."""

import keras
import numpy as np
from keras import ops

from autoencoder_utils.autoencoders import BATCH, Autoencoder
from autoencoder_utils.data import check_images
from autoencoder_utils.losses import gaussian_kl, gaussian_loss

UNIFORM_VARIANCE = 1 / 12  # of a pixel that is anything in [0, 1]: where a learned variance starts
MEMORY = 0.95  # a learned variance is the mean squared error of about the last twenty batches


@keras.saving.register_keras_serializable("autoencoder_utils")
class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose encoder puts out a Gaussian, held close to the standard normal, so that it can be sampled.

    The loss is minus the evidence lower bound, estimated with one draw of the code an image: Kingma and Welling,
    "Auto-Encoding Variational Bayes", ICLR 2014; with beta other than 1, Higgins et al., "beta-VAE", ICLR 2017. The
    learned variance is that of Rybkin, Daniilidis and Levine, "Simple and effective VAE training with calibrated
    decoders", ICML 2021: one number for all pixels, kept at its closed-form optimum, the mean squared error.

    Args:
        encoder: Keras model, images (batch, height, width, channels) to (batch, 2 * latent_dim): z_mean and z_log_var.
        decoder: Keras model, codes (batch, latent_dim) to logits (batch, height, width, channels).
        reconstruction_loss: As for `Autoencoder`.
        beta: Weight of the divergence from the standard normal, at least 0; 1 is the evidence lower bound.
        seed: Of the noise.
        decoder_variance: Of a pixel, in squared pixel units, for the reconstruction loss "gaussian" only: a positive
            number, or "learned", for a running mean of the squared error in training (see `variance`).

    Raises:
        ValueError: an encoder whose output is not twice the decoder's input; negative beta; a variance that is not
            positive, or given to a loss that has none.
    """

    encoder_outputs = ("z_mean", "z_log_var")

    def __init__(self, encoder, decoder, reconstruction_loss="bernoulli", beta=1.0, seed=0, decoder_variance=1.0,
                 **kwargs):
        super().__init__(encoder, decoder, reconstruction_loss, **kwargs)
        if beta < 0:
            raise ValueError(f"`beta` must be at least 0. Received: beta={beta}")
        _check_variance(decoder_variance, reconstruction_loss)
        self.decoder_variance = decoder_variance
        if decoder_variance == "learned":
            start = keras.initializers.Constant(UNIFORM_VARIANCE)
            self.running_variance = self.add_weight(shape=(), initializer=start, trainable=False, name="variance")
        if reconstruction_loss == "gaussian":
            self.reconstruction_nats = lambda images, logits: gaussian_loss(images, logits, self.variance)
        self.beta, self.seed = beta, seed
        self.noise = keras.random.SeedGenerator(seed)
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl_loss")

    @property
    def variance(self):
        """The decoder's variance, in squared pixel units: the number that was given, or the one learned so far."""
        return self.running_variance if self.decoder_variance == "learned" else self.decoder_variance

    def call(self, images, training=False):
        """Images to a dictionary: logits (batch, height, width, channels), z_mean and z_log_var (batch, latent_dim)."""
        z_mean, z_log_var = ops.split(self.encoder(images, training=training), 2, axis=-1)
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.noise)
        codes = z_mean + ops.exp(0.5 * z_log_var) * epsilon  # the reparameterisation trick
        return {"logits": self.decoder(codes, training=training), "z_mean": z_mean, "z_log_var": z_log_var}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Minus the evidence lower bound (with beta on its second term), nats an image, mean over the batch."""
        target = x if y is None else y
        if training and self.decoder_variance == "learned":
            error = ops.mean(ops.square(target - ops.sigmoid(y_pred["logits"])))
            self.running_variance.assign(MEMORY * self.running_variance + (1 - MEMORY) * ops.stop_gradient(error))
        reconstruction = self.reconstruction_nats(target, y_pred["logits"])  # (batch,)
        kl = gaussian_kl(y_pred["z_mean"], y_pred["z_log_var"])  # (batch,)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(kl)
        return self._average(reconstruction + self.beta * kl, sample_weight) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics given to `compile` compare pixels with pixels."""
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def encode(self, images, batch_size=BATCH):
        """Images, float32 (n, height, width, channels) in [0, 1], to the codes' means, (n, latent_dim)."""
        return super().encode(images, batch_size)[:, : self.latent_dim]

    def sample(self, count, seed):
        """New images: codes from the standard normal, decoded.

        Args:
            count: How many.
            seed: Of the codes; the same on every backend.

        Returns:
            float32 (count, height, width, channels) in [0, 1].
        """
        return self.decode(np.random.default_rng(seed).standard_normal((count, self.latent_dim), dtype="float32"))

    def log_weights(self, images, samples, seed):
        """Logarithms of importance weights, p(x, z) / q(z | x) for codes z drawn from the encoder's Gaussian q.

        Their mean is the evidence lower bound (whatever beta is), and `metrics.importance_bound` makes tighter bounds
        of them: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.

        Args:
            images: float32 (n, height, width, channels) in [0, 1].
            samples: Codes an image, at least 1.
            seed: Of the codes; the same on every backend.

        Returns:
            float64 (n, samples), in nats.

        Raises:
            ValueError: images out of form, no samples.
        """
        images = check_images(images, self.image_shape)
        if samples < 1:
            raise ValueError(f"`samples` must be at least 1. Received: samples={samples}")
        z_mean, z_log_var = np.split(super().encode(images), 2, axis=1)  # (n, latent_dim) each
        rng, pairs, results = np.random.default_rng(seed), np.repeat(np.arange(len(images)), samples), []
        for rows in np.split(pairs, range(BATCH, len(pairs), BATCH)):  # which image each of the next codes is for
            epsilon = rng.standard_normal((len(rows), self.latent_dim), dtype="float32")
            z = z_mean[rows] + np.exp(0.5 * z_log_var[rows]) * epsilon
            nats = self.reconstruction_nats(images[rows], self.decoder(z, training=False))  # -log p(x | z)
            prior_over_posterior = 0.5 * np.sum(epsilon**2 + z_log_var[rows] - z**2, axis=1)  # log p(z) - log q(z | x)
            results.append(prior_over_posterior - ops.convert_to_numpy(nats))
        return np.concatenate(results).reshape(len(images), samples).astype("float64")

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"beta": self.beta, "seed": self.seed, "decoder_variance": self.decoder_variance}


def _check_variance(decoder_variance, reconstruction_loss):
    if isinstance(decoder_variance, str) and decoder_variance != "learned" or (
            not isinstance(decoder_variance, str) and not decoder_variance > 0):
        raise ValueError("`decoder_variance` must be a positive number or 'learned'. Received: "
                         f"decoder_variance={decoder_variance!r}")
    if decoder_variance != 1.0 and reconstruction_loss != "gaussian":
        raise ValueError("Only the reconstruction loss 'gaussian' has a `decoder_variance`. Received: "
                         f"reconstruction_loss={reconstruction_loss!r}, decoder_variance={decoder_variance!r}")
