"""The variational autoencoder."""

import keras
import numpy as np
from keras import ops

from autoencoder_utils.autoencoders import BATCH, Autoencoder
from autoencoder_utils.losses import gaussian_kl


@keras.saving.register_keras_serializable("autoencoder_utils")
class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose encoder puts out a Gaussian, held close to the standard normal, so that it can be sampled.

    The loss is minus the evidence lower bound, estimated with one draw of the code an image: Kingma and Welling,
    "Auto-Encoding Variational Bayes", ICLR 2014; with beta other than 1, Higgins et al., "beta-VAE", ICLR 2017.

    Args:
        encoder: Keras model, images (batch, height, width, channels) to (batch, 2 * latent_dim): z_mean and z_log_var.
        decoder: Keras model, codes (batch, latent_dim) to logits (batch, height, width, channels).
        reconstruction_loss: As for `Autoencoder`.
        beta: Weight of the divergence from the standard normal, at least 0; 1 is the evidence lower bound.
        seed: Of the noise.

    Raises:
        ValueError: an encoder whose output is not twice the decoder's input; negative beta.
    """

    encoder_outputs = ("z_mean", "z_log_var")

    def __init__(self, encoder, decoder, reconstruction_loss="bernoulli", beta=1.0, seed=0, **kwargs):
        super().__init__(encoder, decoder, reconstruction_loss, **kwargs)
        if beta < 0:
            raise ValueError(f"`beta` must be at least 0. Received: beta={beta}")
        self.beta, self.seed = beta, seed
        self.noise = keras.random.SeedGenerator(seed)
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl_loss")

    def call(self, images, training=False):
        """Images to a dictionary: logits (batch, height, width, channels), z_mean and z_log_var (batch, latent_dim)."""
        z_mean, z_log_var = ops.split(self.encoder(images, training=training), 2, axis=-1)
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.noise)
        codes = z_mean + ops.exp(0.5 * z_log_var) * epsilon  # the reparameterisation trick
        return {"logits": self.decoder(codes, training=training), "z_mean": z_mean, "z_log_var": z_log_var}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Minus the evidence lower bound (with beta on its second term), nats an image, mean over the batch."""
        reconstruction = self.reconstruction_nats(x if y is None else y, y_pred["logits"])  # (batch,)
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

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"beta": self.beta, "seed": self.seed}
