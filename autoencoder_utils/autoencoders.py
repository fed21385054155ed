"""The autoencoder and its regularised kin, denoising, sparse and contractive, as Keras models."""

import keras
import numpy as np
from keras import ops

from autoencoder_utils.data import check_images
from autoencoder_utils.losses import get_reconstruction_loss
from autoencoder_utils.training import Stacked

BATCH = 200  # images at a time where nothing is trained
NUDGE = 0.01  # deviation of the pixel noise that probes a contractive encoder: small beside 1, large beside rounding


@keras.saving.register_keras_serializable("autoencoder_utils")
class Autoencoder(Stacked, keras.Model):
    """An encoder and a decoder that are trained together to give the input back.

    `fit(images)` learns to reproduce its input, `fit(inputs, targets)` to turn inputs into targets. Rumelhart, Hinton
    and Williams, "Learning internal representations by error propagation", 1986, train the first ones.

    Args:
        encoder: Keras model, images (batch, height, width, channels) to codes (batch, latent_dim).
        decoder: Keras model, codes (batch, latent_dim) to logits (batch, height, width, channels).
        reconstruction_loss: "bernoulli" (cross-entropy), "gaussian" (squared error) or "laplace" (absolute error), in
            nats an image, averaged over the batch.

    Raises:
        ValueError: encoder and decoder that don't fit together, an unknown loss; from `fit`, `evaluate`, `predict`,
            `encode` and `reconstruct`: images of another shape or outside [0, 1].
    """

    encoder_outputs = ("the code",)  # what the encoder puts out, side by side, each as long as the decoder's input

    def __init__(self, encoder, decoder, reconstruction_loss="bernoulli", **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.reconstruction_loss = reconstruction_loss
        self.reconstruction_nats = get_reconstruction_loss(reconstruction_loss)
        self._check_fit()
        self.built = True  # both halves are

    @property
    def latent_dim(self):
        """How many numbers the code has."""
        return self.decoder.input_shape[-1]

    @property
    def image_shape(self):
        """(height, width, channels) of the images that it takes."""
        return tuple(self.encoder.input_shape[1:])

    def call(self, images, training=False):
        """Images to logits, both (batch, height, width, channels)."""
        return self.decoder(self.encoder(images, training=training), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean over the batch of the reconstruction loss in nats an image, plus what layers add (regularisers)."""
        nats = self.reconstruction_nats(x if y is None else y, y_pred)  # (batch,)
        return self._average(nats, sample_weight) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics given to `compile` compare pixels with pixels: the target with the sigmoid of the logits."""
        return super().compute_metrics(x, x if y is None else y, ops.sigmoid(y_pred), sample_weight)

    def encode(self, images, batch_size=BATCH):
        """Images, float32 (n, height, width, channels) in [0, 1], to codes, float32 array (n, latent_dim)."""
        return in_batches(self.encoder, check_images(images, self.image_shape), batch_size)

    def decode(self, codes, batch_size=BATCH):
        """Codes (n, latent_dim) to pixels, float32 array (n, height, width, channels) in [0, 1]."""
        codes = np.asarray(codes, "float32")
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or len(codes) == 0:
            raise ValueError(f"Expected codes of shape (batch, {self.latent_dim}). Received: shape {codes.shape}")
        return in_batches(lambda z, training: ops.sigmoid(self.decoder(z, training=training)), codes, batch_size)

    def reconstruct(self, images, batch_size=BATCH):
        """Images to their reconstructions, both float32 (n, height, width, channels) in [0, 1]."""
        return self.decode(self.encode(images, batch_size), batch_size)

    def predict(self, x, batch_size=BATCH, verbose=0):
        """The same as `reconstruct`: images in, pixels (not logits) out; it prints nothing."""
        return self.reconstruct(x, batch_size)

    def fit(self, x=None, y=None, **kwargs):
        """As `keras.Model.fit`; arrays of images (n, height, width, channels) are checked to lie in [0, 1].

        A `PyDataset` keeps its own order; Keras would shuffle its batches with Python's global generator.
        """
        if isinstance(x, keras.utils.PyDataset):
            kwargs.setdefault("shuffle", False)
        validation = kwargs.get("validation_data")
        self._check_data(x, y, *(validation[:2] if isinstance(validation, tuple | list) else (validation,)))
        return super().fit(x, y, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """As `keras.Model.evaluate`; arrays of images (n, height, width, channels) are checked to lie in [0, 1]."""
        self._check_data(x, y)
        return super().evaluate(x, y, **kwargs)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("encoder", "decoder")}
        return {"name": self.name, "reconstruction_loss": self.reconstruction_loss, **parts}

    @classmethod
    def from_config(cls, config):
        """A new model from `get_config`."""
        load = keras.saving.deserialize_keras_object
        return cls(**{key: load(value) if isinstance(value, dict) else value for key, value in config.items()})

    def _average(self, nats, sample_weight):
        return ops.mean(nats if sample_weight is None else nats * ops.reshape(sample_weight, (-1,)))

    def _check_fit(self):
        code, numbers = self.encoder.output_shape, self.decoder.input_shape[-1] * len(self.encoder_outputs)
        if len(code) != 2 or code[-1] != numbers:
            parts = " and ".join(self.encoder_outputs)
            raise ValueError(f"The encoder must put out {parts}, {numbers} numbers, to fit the decoder. Received: "
                             f"encoder output {code}, decoder input {self.decoder.input_shape}")
        if self.decoder.output_shape[1:] != self.encoder.input_shape[1:]:
            raise ValueError(f"The decoder must put out images of the encoder's shape. Received: encoder input "
                             f"{self.encoder.input_shape}, decoder output {self.decoder.output_shape}")

    def _check_data(self, *arrays):
        for array in arrays:
            if hasattr(array, "__array__"):  # data sets and None pass
                check_images(array, self.image_shape)


@keras.saving.register_keras_serializable("autoencoder_utils")
class DenoisingAutoencoder(Autoencoder):
    """Sees a spoilt image and is trained to give back the clean one.

    Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008. The corruption is
    drawn anew for every batch, in training only: `evaluate(images)` measures clean reconstruction, and
    `evaluate(noisy_images, images)` denoising.

    Args:
        encoder, decoder, reconstruction_loss: As for `Autoencoder`.
        corruption: Keras layer that acts in training, images to images of the same shape (`keras.layers.GaussianNoise`,
            `keras.layers.Dropout`, or several in a `keras.Sequential`).
    """

    def __init__(self, encoder, decoder, corruption, reconstruction_loss="bernoulli", **kwargs):
        super().__init__(encoder, decoder, reconstruction_loss, **kwargs)
        self.corruption = corruption

    def call(self, images, training=False):
        """Images to logits, both (batch, height, width, channels), by way of spoilt images when training."""
        spoilt = self.corruption(images, training=True) if training else images
        return super().call(spoilt, training=training)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"corruption": keras.saving.serialize_keras_object(self.corruption)}


class _PenalisedAutoencoder(Autoencoder):
    """An autoencoder whose loss has a second term, `penalty`, one number an image, times `weight`."""

    def __init__(self, encoder, decoder, weight, reconstruction_loss="bernoulli", **kwargs):
        super().__init__(encoder, decoder, reconstruction_loss, **kwargs)
        if weight < 0:
            raise ValueError(f"`weight` must be at least 0. Received: weight={weight}")
        self.weight = weight
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.penalty_tracker = keras.metrics.Mean(name="penalty")

    def call(self, images, training=False):
        """Images to a dictionary: logits (batch, height, width, channels) and penalty (batch,)."""
        codes = self.encoder(images, training=training)
        return {"logits": self.decoder(codes, training=training), "penalty": self.penalty(images, codes, training)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Reconstruction loss plus `weight` times the penalty, mean over the batch, plus what layers add."""
        reconstruction = self.reconstruction_nats(x if y is None else y, y_pred["logits"])  # (batch,)
        self.reconstruction_tracker.update_state(reconstruction)
        self.penalty_tracker.update_state(y_pred["penalty"])
        return self._average(reconstruction + self.weight * y_pred["penalty"], sample_weight) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics given to `compile` compare pixels with pixels."""
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"weight": self.weight}


@keras.saving.register_keras_serializable("autoencoder_utils")
class SparseAutoencoder(_PenalisedAutoencoder):
    """Pays for every number of its code: the sum of their absolute values, so that few of them are far from 0.

    The sparse code of Olshausen and Field, "Emergence of simple-cell receptive field properties by learning a sparse
    code for natural images", Nature 381, 1996, with an encoder. Zeros need an encoder that ends in a ReLU. A decoder
    with large weights makes small codes cheap: hold its norm (`keras.constraints.UnitNorm`).

    Args:
        encoder, decoder, reconstruction_loss: As for `Autoencoder`.
        weight: Nats that a code's absolute value of 1 costs, at least 0.

    Raises:
        ValueError: as for `Autoencoder`; negative weight.
    """

    def penalty(self, images, codes, training=False):
        """Sum of the absolute values of each code, (batch,)."""
        return ops.sum(ops.abs(codes), axis=-1)


@keras.saving.register_keras_serializable("autoencoder_utils")
class ContractiveAutoencoder(_PenalisedAutoencoder):
    """Pays for every change of its code with the image: the squared Frobenius norm of the encoder's Jacobian, |J|^2.

    Rifai et al., "Contractive auto-encoders: explicit invariance during feature extraction", ICML 2011. Estimated with
    one draw v of standard normal noise an image: |f(x + e v) - f(x)|^2 / e^2 has the mean |J|^2 for small e, as v's
    covariance is the identity. A decoder with large weights makes a small Jacobian cheap: hold its norm.

    Args:
        encoder, decoder, reconstruction_loss: As for `Autoencoder`.
        weight: Nats that a squared norm of 1 costs, at least 0.
        seed: Of the noise.

    Raises:
        ValueError: as for `Autoencoder`; negative weight.
    """

    def __init__(self, encoder, decoder, weight, reconstruction_loss="bernoulli", seed=0, **kwargs):
        super().__init__(encoder, decoder, weight, reconstruction_loss, **kwargs)
        self.seed, self.noise = seed, keras.random.SeedGenerator(seed)

    def penalty(self, images, codes, training=False):
        """Estimate of the Jacobian's squared norm at each image, (batch,)."""
        nudged = ops.add(images, NUDGE * keras.random.normal(ops.shape(images), seed=self.noise))
        return ops.sum(ops.square(self.encoder(nudged, training=training) - codes), axis=-1) / NUDGE**2

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"seed": self.seed}


def in_batches(model, array, batch_size):
    """Runs a model over an array, some rows at a time; its output as an array. (`predict` would compile it.)

    Args:
        model, array, batch_size: Keras model or a like function, an array (n, ...), and rows at a time.
    """
    batches = (array[start : start + batch_size] for start in range(0, len(array), batch_size))
    return np.concatenate([ops.convert_to_numpy(model(batch, training=False)) for batch in batches])
