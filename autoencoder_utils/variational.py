"""The variational autoencoder, with a decoder variance that is given or learned, and one that is told classes."""

import keras
import numpy as np
from keras import ops

from autoencoder_utils.autoencoders import BATCH, Autoencoder
from autoencoder_utils.data import check_images, check_labels
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
        codes = self._draw(z_mean, z_log_var)
        return {"logits": self.decoder(codes, training=training), "z_mean": z_mean, "z_log_var": z_log_var}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Minus the evidence lower bound (with beta on its second term), nats an image, mean over the batch."""
        target = x if y is None else y
        if training and self.decoder_variance == "learned":
            error = ops.mean(ops.square(ops.subtract(target, ops.sigmoid(y_pred["logits"]))))
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

    def log_weights(self, images, samples, seed, batch_size=10 * BATCH, prior=None):
        """Logarithms of importance weights, p(x, z) / q(z | x) for codes z drawn from the encoder's Gaussian q.

        Their mean is the evidence lower bound (whatever beta is), and `metrics.importance_bound` makes tighter bounds
        of them: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.

        Args:
            images: float32 (n, height, width, channels) in [0, 1].
            samples: Codes an image, at least 1.
            seed: Of the codes; the same on every backend.
            batch_size: Codes that are decoded at a time.
            prior: A density over codes with `log_prob`, such as `priors.MixturePrior`, fitted to codes that the encoder
                drew: one that is learned after the model. None for the standard normal.

        Returns:
            float64 (n, samples), in nats.

        Raises:
            ValueError: images out of form, no samples.
        """
        images = check_images(images, self.image_shape)
        if samples < 1:
            raise ValueError(f"`samples` must be at least 1. Received: samples={samples}")
        z_mean, z_log_var = self._moments(images)
        constant = 0.5 * self.latent_dim * np.log(2 * np.pi)
        rng, pairs, results = np.random.default_rng(seed), np.repeat(np.arange(len(images)), samples), []
        for rows in np.split(pairs, range(batch_size, len(pairs), batch_size)):  # which image each next code is for
            epsilon = rng.standard_normal((len(rows), self.latent_dim), dtype="float32")
            z = z_mean[rows] + np.exp(0.5 * z_log_var[rows]) * epsilon
            nats = self.reconstruction_nats(images[rows], self.decoder(z, training=False))  # -log p(x | z)
            log_posterior = -0.5 * np.sum(epsilon**2 + z_log_var[rows], axis=1) - constant  # log q(z | x)
            log_prior = -0.5 * np.sum(z**2, axis=1) - constant if prior is None else prior.log_prob(z)
            results.append(log_prior - log_posterior - ops.convert_to_numpy(nats))
        return np.concatenate(results).reshape(len(images), samples).astype("float64")

    def draw_codes(self, images, seed):
        """One code for each of the images, drawn from the encoder's Gaussian: float32 (n, latent_dim)."""
        z_mean, z_log_var = self._moments(images)
        epsilon = np.random.default_rng(seed).standard_normal(z_mean.shape, dtype="float32")
        return z_mean + np.exp(0.5 * z_log_var) * epsilon

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"beta": self.beta, "seed": self.seed, "decoder_variance": self.decoder_variance}

    def _moments(self, images):
        return np.split(super().encode(images), 2, axis=1)  # z_mean and z_log_var, (n, latent_dim) each

    def _draw(self, z_mean, z_log_var):
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.noise)
        return z_mean + ops.exp(0.5 * z_log_var) * epsilon  # the reparameterisation trick


@keras.saving.register_keras_serializable("autoencoder_utils")
class ConditionalVariationalAutoencoder(VariationalAutoencoder):
    """A variational autoencoder that is told the class of each image, and is asked for a class when it is sampled.

    The code is z with the class beside it, as zeros and a one, so that z need not say what the class says. The encoder
    learns a shift of z_mean and z_log_var for each class. Sohn, Lee and Yan, "Learning structured output representation
    using deep conditional generative models", NIPS 2015.

    Args:
        encoder: Keras model, images (batch, height, width, channels) to (batch, 2 * z_dim): z_mean and z_log_var.
        decoder: Keras model, codes (batch, z_dim + num_classes) to logits (batch, height, width, channels). Its input
            settles how many classes there are.
        reconstruction_loss, beta, seed, decoder_variance: As for `VariationalAutoencoder`, and so are the errors.
    """

    def __init__(self, encoder, decoder, *args, **kwargs):
        super().__init__(encoder, decoder, *args, **kwargs)
        self.shift = keras.layers.Embedding(self.num_classes, encoder.output_shape[-1], "zeros")
        self.shift.build()

    @property
    def num_classes(self):
        """How many classes there are: what the decoder takes beyond z."""
        return self.latent_dim - self.encoder.output_shape[-1] // 2

    def call(self, inputs, training=False):
        """Images and labels to a dictionary, as `VariationalAutoencoder`'s."""
        moments = self.encoder(inputs["images"], training=training) + self.shift(inputs["labels"])
        z_mean, z_log_var = ops.split(moments, 2, axis=-1)
        codes = ops.concatenate([self._draw(z_mean, z_log_var), ops.one_hot(inputs["labels"], self.num_classes)], -1)
        return {"logits": self.decoder(codes, training=training), "z_mean": z_mean, "z_log_var": z_log_var}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As `VariationalAutoencoder`'s."""
        return super().compute_loss(x["images"], None, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics given to `compile` compare pixels with pixels."""
        return super().compute_metrics(x["images"], None, y_pred, sample_weight)

    def fit(self, x=None, y=None, **kwargs):
        """As `keras.Model.fit`, on images (n, height, width, channels) in [0, 1] and their labels (n,)."""
        if kwargs.get("validation_data") is not None:
            kwargs["validation_data"] = (self._inputs(*kwargs["validation_data"]),)
        return super().fit(self._inputs(x, y), **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """As `keras.Model.evaluate`, on images (n, height, width, channels) in [0, 1] and their labels (n,)."""
        return super().evaluate(x if isinstance(x, dict) else self._inputs(x, y), **kwargs)

    def encode(self, images, labels, batch_size=BATCH):
        """Images and labels to codes, (n, z_dim + num_classes): z_mean, and the class as zeros and a one."""
        labels = check_labels(labels, len(images), self.num_classes)
        means = Autoencoder.encode(self, images, batch_size) + ops.convert_to_numpy(self.shift.embeddings)[labels]
        return np.concatenate([np.split(means, 2, axis=1)[0], np.eye(self.num_classes, dtype="float32")[labels]], 1)

    def reconstruct(self, images, labels, batch_size=BATCH):
        """Images (n, height, width, channels) and labels (n,) to reconstructions, in [0, 1]."""
        return self.decode(self.encode(images, labels, batch_size), batch_size)

    def predict(self, x, labels, batch_size=BATCH, verbose=0):
        """The same as `reconstruct`."""
        return self.reconstruct(x, labels, batch_size)

    def sample(self, count, seed, labels=None):
        """New images: z from the standard normal, of the classes `labels` (count,), or of all, equally often."""
        rng, classes = np.random.default_rng(seed), self.num_classes
        z = rng.standard_normal((count, self.latent_dim - classes), dtype="float32")
        labels = check_labels(rng.integers(classes, size=count) if labels is None else labels, count, classes)
        return self.decode(np.concatenate([z, np.eye(classes)[labels]], axis=1))

    def log_weights(self, images, samples, seed, batch_size=10 * BATCH, prior=None):
        """Not offered: the bound is on the likelihood of an image given its label, which this method is not told."""
        raise NotImplementedError("A conditional model has no `log_weights`.")

    def draw_codes(self, images, seed):
        """Not offered either."""
        raise NotImplementedError("A conditional model has no `draw_codes`.")

    def _inputs(self, images, labels):
        images = check_images(images, self.image_shape)
        return {"images": images, "labels": check_labels(labels, len(images), self.num_classes)}

    def _check_fit(self):
        """Codes and images must have the shapes on one side that they have on the other."""
        moments, code = self.encoder.output_shape, self.decoder.input_shape
        if len(moments) != 2 or moments[-1] % 2 or self.num_classes < 1:
            raise ValueError("The encoder must put out z_mean and z_log_var, and the decoder take z and a number for "
                             f"each class. Received: encoder output {moments}, decoder input {code}")


def _check_variance(decoder_variance, reconstruction_loss):
    if decoder_variance != "learned" and (isinstance(decoder_variance, str) or not decoder_variance > 0):
        raise ValueError("`decoder_variance` must be a positive number or 'learned'. Received: "
                         f"decoder_variance={decoder_variance!r}")
    if decoder_variance != 1.0 and reconstruction_loss != "gaussian":
        raise ValueError("Only the reconstruction loss 'gaussian' has a `decoder_variance`. Received: "
                         f"reconstruction_loss={reconstruction_loss!r}, decoder_variance={decoder_variance!r}")
