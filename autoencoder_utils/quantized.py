"""Vector quantisation: an autoencoder whose code is a short list of indices into a codebook."""

import keras
import numpy as np
from keras import ops

from autoencoder_utils.autoencoders import BATCH, Autoencoder

MEMORY = 0.98  # a codebook vector is the mean of what it stood for in about the last fifty batches
DEAD = 0.1  # a codebook vector that is used less than this share of the average is taken from its place


@keras.saving.register_keras_serializable("autoencoder_utils")
class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector by the nearest one of a codebook; the gradient passes as if nothing had been replaced.

    Van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", NeurIPS 2017, with the codebook of
    their appendix A.1: each of its vectors is a running mean of the vectors that it was nearest to (k-means, a batch at
    a time), so that no gradient and no optimiser touches it. One that is hardly ever nearest is put in the place of a
    random vector of the batch, as in Dhariwal et al., "Jukebox: a generative model for music", 2020: no code stays
    dead, and the first batch of all fills the codebook.

    Args:
        codebook_size: How many vectors the codebook has, at least 2.
        seed: Of the vectors that take the place of dead ones.

    Raises:
        ValueError: a codebook of fewer than two vectors.
    """

    def __init__(self, codebook_size, seed=0, **kwargs):
        super().__init__(**kwargs)
        if codebook_size < 2:
            raise ValueError(f"`codebook_size` must be at least 2. Received: codebook_size={codebook_size}")
        self.codebook_size, self.seed = codebook_size, seed
        self.draw = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        """Makes the codebook, (codebook_size, depth), and how often each of its vectors was used in a batch."""
        start = keras.initializers.RandomNormal(seed=self.seed)
        self.codebook = self.add_weight(shape=(self.codebook_size, input_shape[-1]), initializer=start,
                                        trainable=False, name="codebook")
        self.usage = self.add_weight(shape=(self.codebook_size,), initializer="zeros", trainable=False, name="usage")

    def call(self, vectors, training=False):
        """Vectors (batch, positions, depth) to the nearest of the codebook and their indices (batch, positions)."""
        if training:
            self._replace_dead(ops.stop_gradient(vectors))
        indices = self.nearest(vectors)
        quantized = self.look_up(indices)
        if training:
            self._follow(ops.stop_gradient(vectors), indices)
        return vectors + ops.stop_gradient(quantized - vectors), indices  # the straight-through estimator

    def nearest(self, vectors):
        """Index of the codebook vector nearest to each vector: (batch, positions, depth) to int32 (batch, positions).

        The least |v - e|^2 = |v|^2 - 2 v.e + |e|^2, where |v|^2 is the same for every e.
        """
        lengths = ops.sum(ops.square(self.codebook), axis=1)  # (codebook_size,)
        return ops.argmin(lengths - 2 * ops.matmul(vectors, ops.transpose(self.codebook)), axis=-1)

    def look_up(self, indices):
        """Indices (batch, positions) to codebook vectors (batch, positions, depth)."""
        return ops.take(self.codebook, indices, axis=0)

    def _follow(self, vectors, indices):
        """Moves each codebook vector, and the count of its use, towards this batch's."""
        chosen = ops.one_hot(ops.reshape(indices, (-1,)), self.codebook_size)  # (vectors, codebook_size)
        count = ops.sum(chosen, axis=0)
        total = ops.matmul(ops.transpose(chosen), ops.reshape(vectors, (-1, vectors.shape[-1])))
        self.usage.assign(MEMORY * self.usage + (1 - MEMORY) * count)
        step = (1 - MEMORY) / self.usage * count
        mean = total / ops.maximum(count, 1)[:, None]
        self.codebook.assign(self.codebook + step[:, None] * (mean - self.codebook))

    def _replace_dead(self, vectors):
        """Puts random vectors of the batch in the place of codebook vectors that are hardly used."""
        flat = ops.reshape(vectors, (-1, vectors.shape[-1]))
        codebook, usage = ops.convert_to_tensor(self.codebook), ops.convert_to_tensor(self.usage)
        average = ops.cast(ops.shape(flat)[0], "float32") / self.codebook_size
        dead = usage < DEAD * average  # (codebook_size,)
        rows = keras.random.randint((self.codebook_size,), 0, ops.shape(flat)[0], seed=self.draw)
        self.codebook.assign(ops.where(dead[:, None], ops.take(flat, rows, axis=0), codebook))
        self.usage.assign(ops.where(dead, average, usage))

    def get_config(self):
        """Everything that loading needs."""
        return super().get_config() | {"codebook_size": self.codebook_size, "seed": self.seed}


@keras.saving.register_keras_serializable("autoencoder_utils")
class Perplexity(keras.metrics.Metric):
    """How many codes are in use: the exponential of the entropy of how often each is, from 1 to the codebook's size."""

    def __init__(self, codebook_size, name="perplexity", **kwargs):
        super().__init__(name=name, **kwargs)
        self.counts = self.add_weight(shape=(codebook_size,), initializer="zeros", name="counts")

    def update_state(self, indices):
        """Counts indices of any shape."""
        self.counts.assign_add(ops.sum(ops.one_hot(ops.reshape(indices, (-1,)), self.counts.shape[0]), axis=0))

    def result(self):
        """The perplexity of all that was counted."""
        share = self.counts / ops.maximum(ops.sum(self.counts), 1)
        return ops.exp(-ops.sum(share * ops.log(ops.maximum(share, 1e-12))))


@keras.saving.register_keras_serializable("autoencoder_utils")
class VectorQuantizedAutoencoder(Autoencoder):
    """An autoencoder whose code is `positions` indices, each of one of `codebook_size` vectors.

    The encoder's numbers are cut into `positions` vectors of equal length, and each is replaced by the nearest one of a
    codebook that all positions share (see `VectorQuantizer`). The loss is the reconstruction loss plus `commitment`
    times the squared distance of the encoder's vectors from what they are replaced by, summed over the code, so that
    the encoder keeps to the codebook.

    Args:
        encoder, decoder, reconstruction_loss: As for `Autoencoder`, with a code of positions * depth numbers.
        positions: Indices an image; divides the code's size.
        codebook_size: Vectors in the codebook: an image's code has positions * log2(codebook_size) bits.
        commitment: Nats that a squared distance of 1 costs, at least 0.
        seed: Of the vectors that take the place of dead ones.

    Raises:
        ValueError: as for `Autoencoder`; a code that can't be cut into `positions` vectors; negative commitment.
    """

    def __init__(self, encoder, decoder, positions=16, codebook_size=64, reconstruction_loss="bernoulli",
                 commitment=0.25, seed=0, **kwargs):
        super().__init__(encoder, decoder, reconstruction_loss, **kwargs)
        if positions < 1 or self.latent_dim % positions:
            raise ValueError(f"`positions` must divide the code's {self.latent_dim} numbers. "
                             f"Received: positions={positions}")
        if commitment < 0:
            raise ValueError(f"`commitment` must be at least 0. Received: commitment={commitment}")
        self.positions, self.depth = positions, self.latent_dim // positions
        self.commitment, self.seed = commitment, seed
        self.quantizer = VectorQuantizer(codebook_size, seed, name="quantizer")
        self.quantizer.build((None, positions, self.depth))
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.commitment_tracker = keras.metrics.Mean(name="commitment_loss")
        self.perplexity = Perplexity(codebook_size)

    @property
    def codebook_size(self):
        """How many vectors the codebook has."""
        return self.quantizer.codebook_size

    @property
    def bits(self):
        """Bits an image: positions * log2(codebook_size)."""
        return self.positions * float(np.log2(self.codebook_size))

    def call(self, images, training=False):
        """Images to a dictionary: logits (batch, height, width, channels), vectors, quantized and indices."""
        vectors = self._vectors(images, training)
        quantized, indices = self.quantizer(vectors, training=training)
        logits = self.decoder(ops.reshape(quantized, (-1, self.latent_dim)), training=training)
        return {"logits": logits, "vectors": vectors, "quantized": quantized, "indices": indices}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Reconstruction loss plus the commitment, mean over the batch, plus what layers add."""
        reconstruction = self.reconstruction_nats(x if y is None else y, y_pred["logits"])  # (batch,)
        distances = ops.square(y_pred["vectors"] - ops.stop_gradient(y_pred["quantized"]))
        commitment = self.commitment * ops.sum(distances, axis=(1, 2))  # (batch,)
        self.reconstruction_tracker.update_state(reconstruction)
        self.commitment_tracker.update_state(commitment)
        self.perplexity.update_state(y_pred["indices"])
        return self._average(reconstruction + commitment, sample_weight) + sum(self.losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics given to `compile` compare pixels with pixels."""
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def encode(self, images, batch_size=BATCH):
        """Images, float32 (n, height, width, channels) in [0, 1], to indices, int32 (n, positions)."""
        vectors = super().encode(images, batch_size).reshape(-1, self.positions, self.depth)
        return ops.convert_to_numpy(self.quantizer.nearest(vectors)).astype("int32")

    def decode(self, codes, batch_size=BATCH):
        """Indices (n, positions) to pixels, float32 array (n, height, width, channels) in [0, 1]."""
        codes = check_indices(codes, self.positions, self.codebook_size)
        vectors = ops.convert_to_numpy(self.quantizer.look_up(codes))  # (n, positions, depth)
        return super().decode(vectors.reshape(-1, self.latent_dim), batch_size)

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return super().get_config() | {"positions": self.positions, "codebook_size": self.codebook_size,
                                       "commitment": self.commitment, "seed": self.seed}

    def _vectors(self, images, training):
        return ops.reshape(self.encoder(images, training=training), (-1, self.positions, self.depth))


def check_indices(indices, positions, codebook_size):
    """Checks that an array holds indices into a codebook, and returns it as int32.

    Args:
        indices: Array-like (n, positions), whole numbers from 0 to codebook_size - 1.
        positions: Indices an image.
        codebook_size: Vectors in the codebook.

    Returns:
        int32 array (n, positions).

    Raises:
        ValueError: another shape or type, no rows, an index that the codebook doesn't have.
    """
    indices = np.asarray(indices)
    expected = f"Expected indices of shape (n, {positions}), whole numbers from 0 to {codebook_size - 1}."
    if indices.ndim != 2 or indices.shape[1] != positions or len(indices) == 0:
        raise ValueError(f"{expected} Received: shape {indices.shape}")
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"{expected} Received: dtype {indices.dtype}")
    if indices.min() < 0 or indices.max() >= codebook_size:
        raise ValueError(f"{expected} Received: values from {indices.min()} to {indices.max()}")
    return indices.astype("int32")
