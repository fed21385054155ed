"""Densities over codes, and the generator that an autoencoder makes with one of them: draw a code, decode it."""

import keras
import numpy as np
from keras import layers, ops
from scipy.special import log_softmax, logsumexp
from sklearn.mixture import GaussianMixture

from autoencoder_utils.autoencoders import BATCH, in_batches
from autoencoder_utils.quantized import check_indices

RIDGE = 1e-4  # added to the variances, as a share of the codes' mean variance, so that no component becomes a point


@keras.saving.register_keras_serializable("autoencoder_utils")
class MixturePrior(keras.Model):
    """A mixture of Gaussians over codes, each with a full covariance; with one component, a Gaussian.

    Fitted by expectation maximisation (scikit-learn's): Dempster, Laird and Rubin, "Maximum likelihood from incomplete
    data via the EM algorithm", Journal of the Royal Statistical Society B 39, 1977. Before it is fitted, every
    component is the standard normal.

    Args:
        latent_dim: Numbers in a code, at least 1.
        components: Gaussians in the mixture, at least 1.
        seed: Of the start of the fit (k-means).

    Raises:
        ValueError: no numbers or no components; from `fit` and `log_prob`: codes of another shape; from `fit`: fewer
            codes than components.
    """

    def __init__(self, latent_dim, components=1, seed=0, **kwargs):
        super().__init__(**kwargs)
        if latent_dim < 1 or components < 1:
            raise ValueError("`latent_dim` and `components` must be at least 1. "
                             f"Received: latent_dim={latent_dim}, components={components}")
        self.latent_dim, self.components, self.seed = latent_dim, components, seed
        identity = np.broadcast_to(np.eye(latent_dim), (components, latent_dim, latent_dim))
        self.shares = self._array("shares", np.full(components, 1 / components))
        self.means = self._array("means", np.zeros((components, latent_dim)))
        self.factors = self._array("factors", identity)  # lower triangular, covariance = factor @ factor.T
        self.built = True

    def fit(self, codes):
        """Fits the mixture to codes, (n, latent_dim), n at least `components`; returns the prior itself."""
        codes = self._check(codes, self.components)
        mixture = GaussianMixture(self.components, reg_covar=RIDGE * codes.var(axis=0).mean() + 1e-12,
                                  random_state=self.seed).fit(codes)
        self.shares.assign(mixture.weights_)
        self.means.assign(mixture.means_)
        self.factors.assign(np.linalg.cholesky(mixture.covariances_))
        return self

    def log_prob(self, codes):
        """Logarithm of the density at each code, (n, latent_dim): float64 (n,), in nats."""
        codes, (shares, means, factors) = self._check(codes), self._fitted()
        whiten = np.linalg.inv(factors)  # (components, latent_dim, latent_dim): codes of each to standard normal ones
        centres = np.einsum("kij,kj->ki", whiten, means)
        scales = np.log(np.einsum("kii->ki", whiten)).sum(axis=1) - 0.5 * self.latent_dim * np.log(2 * np.pi)

        def some(codes, training):
            standard = np.tensordot(codes, whiten, (1, 2))  # (n, components, latent_dim)
            standard -= centres  # in place, which takes half of the time
            return logsumexp(np.log(shares) + scales - 0.5 * np.einsum("nki,nki->nk", standard, standard), axis=1)

        return in_batches(some, codes, BATCH)

    def sample(self, count, seed):
        """Draws codes: float32 (count, latent_dim), the same on every backend."""
        rng, (shares, means, factors) = np.random.default_rng(seed), self._fitted()
        component = rng.choice(self.components, count, p=shares)
        standard = rng.standard_normal((count, self.latent_dim))
        return (means[component] + np.einsum("nij,nj->ni", factors[component], standard)).astype("float32")

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        return {"name": self.name, "latent_dim": self.latent_dim, "components": self.components, "seed": self.seed}

    def _array(self, name, value):
        """A weight that no optimiser touches."""
        return self.add_weight(shape=value.shape, initializer=lambda shape, dtype=None: ops.convert_to_tensor(
            value, dtype), trainable=False, name=name)

    def _fitted(self):
        """Shares, means and factors as float64 arrays."""
        weights = (self.shares, self.means, self.factors)
        shares, means, factors = (ops.convert_to_numpy(weight).astype("float64") for weight in weights)
        return shares / shares.sum(), means, factors

    def _check(self, codes, least=1):
        codes = np.asarray(codes, "float64")
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or len(codes) < least:
            raise ValueError(f"Expected at least {least} codes of shape (n, {self.latent_dim}). "
                             f"Received: shape {codes.shape}")
        return codes


@keras.saving.register_keras_serializable("autoencoder_utils")
class AutoregressivePrior(keras.Model):
    """Probabilities of lists of indices, one index after the other: p(x) = p(x_1) p(x_2 | x_1) p(x_3 | x_1, x_2) ...

    Each pair of a position and an index has a vector of its own. What comes before a position is the sum of its
    vectors, so that all positions are computed at once by one cumulative sum: the neural autoregressive distribution
    estimator of Larochelle and Murray, AISTATS 2011, here with residual layers between that sum and the logits.
    `compile` and `fit(indices)` minimise the mean of -log p(x), nats an image.

    Args:
        positions: Indices in a list, at least 1.
        codebook_size: Values that an index can have.
        units: Length of the vectors.
        depth: Residual layers.
        dropout: Share of the sum's numbers that training leaves out.
        temperature: Of `sample`: 1 draws from p, less prefers what is likely. `log_prob` is always that of p.
    """

    def __init__(self, positions, codebook_size, units=256, depth=2, dropout=0.1, temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        if positions < 1 or codebook_size < 2 or temperature <= 0:
            raise ValueError("Expected at least 1 position, 2 indices and a positive temperature. Received: "
                             f"positions={positions}, codebook_size={codebook_size}, temperature={temperature}")
        self.positions, self.codebook_size, self.units, self.depth = positions, codebook_size, units, depth
        self.dropout, self.temperature = dropout, temperature
        self.network = self._network()
        self.built = True

    def call(self, indices, training=False):
        """Indices (batch, positions) to logits (batch, positions, codebook_size); each sees the earlier indices."""
        return self.network(indices, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean over the batch of -log p(x), in nats."""
        chosen = ops.one_hot(x, self.codebook_size)
        nats = ops.sum(ops.logsumexp(y_pred, axis=-1) - ops.sum(chosen * y_pred, axis=-1), axis=-1)  # (batch,)
        return ops.mean(nats)

    def log_prob(self, codes, batch_size=BATCH):
        """Logarithm of the probability of each list of indices, (n, positions): float64 (n,), in nats."""
        codes = check_indices(codes, self.positions, self.codebook_size)
        log_p = log_softmax(self._logits(codes, batch_size).astype("float64"), axis=-1)
        return np.take_along_axis(log_p, codes[..., None], axis=-1).sum((1, 2))

    def sample(self, count, seed, batch_size=BATCH):
        """Draws lists of indices, position by position: int32 (count, positions)."""
        rng, codes = np.random.default_rng(seed), np.zeros((count, self.positions), "int32")
        for position in range(self.positions):
            logits = self._logits(codes, batch_size)[:, position] / self.temperature  # (count, codebook_size)
            codes[:, position] = np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)  # a draw from the softmax
        return codes

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        names = ("name", "positions", "codebook_size", "units", "depth", "dropout", "temperature")
        return {name: getattr(self, name) for name in names}

    def _network(self):
        """Indices (batch, positions) to logits (batch, positions, codebook_size)."""
        indices = keras.Input((self.positions,), dtype="int32", name="indices")
        pairs = indices + self.codebook_size * np.arange(self.positions, dtype="int32")  # a number for each pair
        vectors = layers.Embedding(self.positions * self.codebook_size, self.units)(pairs)  # (batch, positions, units)
        earlier = ops.pad(vectors[:, :-1], ((0, 0), (1, 0), (0, 0)))  # shifted: a position must not see itself
        h = ops.cumsum(earlier, axis=1)
        h = layers.Dropout(self.dropout)(h)
        for _ in range(self.depth):
            h = h + layers.EinsumDense("npu,uv->npv", (self.positions, self.units), activation="gelu",
                                       bias_axes="pv")(layers.LayerNormalization()(h))  # a bias for each position
        h = layers.LayerNormalization()(h)
        logits = layers.EinsumDense("npu,puk->npk", (self.positions, self.codebook_size), bias_axes="pk")(h)
        return keras.Model(indices, logits, name="network")

    def _logits(self, codes, batch_size):
        return in_batches(self.network, codes, batch_size)


@keras.saving.register_keras_serializable("autoencoder_utils")
class CodeGenerator(keras.Model):
    """An autoencoder and a prior over its codes: `sample` draws codes from the prior and decodes them.

    `fit(images)` fits the prior to the images' codes and leaves the autoencoder, which is trained already, alone.

    Args:
        autoencoder: Has `encode(images)` and `decode(codes)`.
        prior: Has `fit(codes)`, `log_prob(codes)` and `sample(count, seed)`, such as the classes above.
    """

    def __init__(self, autoencoder, prior, **kwargs):
        super().__init__(**kwargs)
        self.autoencoder, self.prior = autoencoder, prior
        self.built = True

    def call(self, images, training=False):
        """What the autoencoder makes of images."""
        return self.autoencoder(images, training=training)

    def compile(self, *args, **kwargs):
        """Compiles the prior."""
        self.prior.compile(*args, **kwargs)

    def fit(self, images, **kwargs):
        """Fits the prior to the codes of images (n, height, width, channels); arguments go to the prior's `fit`."""
        return self.prior.fit(self.autoencoder.encode(images), **kwargs)

    def evaluate(self, images):
        """Minus the mean log-probability of the images' codes, in nats."""
        return -float(np.mean(self.prior.log_prob(self.autoencoder.encode(images))))

    def predict(self, images):
        """Reconstructions of images (n, height, width, channels) by the autoencoder."""
        return self.autoencoder.reconstruct(images)

    def sample(self, count, seed):
        """New images: codes from the prior, decoded, float32 (count, height, width, channels) in [0, 1]."""
        return self.autoencoder.decode(self.prior.sample(count, seed))

    def get_config(self):
        """Everything that `keras.models.load_model` needs."""
        parts = {"autoencoder": self.autoencoder, "prior": self.prior}
        return {"name": self.name} | {key: keras.saving.serialize_keras_object(part) for key, part in parts.items()}

    @classmethod
    def from_config(cls, config):
        """A new generator from `get_config`."""
        parts = {key: keras.saving.deserialize_keras_object(config[key]) for key in ("autoencoder", "prior")}
        return cls(**parts, name=config["name"])
