"""The offline judge of generated images: a small classifier, in whose features samples are compared with real images.

Published Fréchet distances use Inception, a network of 100 MB trained on photographs. This one learns the classes of
the training images in seconds. Its figures compare with one another only: same data, same judge, as many images.
"""

import keras
import numpy as np
from keras import layers
from scipy.spatial.distance import cdist
from scipy.special import entr
from sklearn.metrics import pairwise_distances_argmin_min

from autoencoder_utils.autoencoders import in_batches
from autoencoder_utils.corruption import random_affine
from autoencoder_utils.data import check_images
from autoencoder_utils.training import JIT, warmup_cosine

FILTERS, FEATURES = (32, 64), 64  # of the judge's two convolutions, and of its last hidden layer
BATCH, PEAK = 64, 3e-3  # of its training
NEIGHBOURS = 3  # of precision and recall, as in the paper
CLOSE = 0.05  # share of test images that count as close to a training image


class Judge:
    """A classifier of the training images, and what it makes of samples beside images that nobody has trained on.

    A sample is judged by `report`. The Fréchet distance between training and test images, which no generator should be
    expected to beat, is the attribute `floor`; the share of test images that are classified rightly is `accuracy`.

    Args:
        train: `data.Split` with the labels of two classes at least.
        test: `data.Split` with labels, what samples are compared with: test images for a result, validation images for
            a choice.
        seed: Of the classifier's first weights, of the order of the images and of their variations.
        passes: How often training goes through the images, each time varied anew by `corruption.random_affine`; None
            makes it about 35,000 images, and three passes at least.

    Raises:
        ValueError: no labels, or those of one class only; images out of form.
    """

    def __init__(self, train, test, seed=0, passes=None):
        if train.labels is None or test.labels is None or len(np.unique(train.labels)) < 2:
            raise ValueError("The judge needs images with labels, of two classes at least. Received: "
                             f"train labels {train.labels}, test labels {test.labels}")
        self.train, self.test = train, test
        passes = max(3, round(35_000 / len(train))) if passes is None else passes
        self.network, self._classes = _train(check_images(train.images), train.labels, passes, seed)
        self.accuracy = float(np.mean(self.classify(test.images) == test.labels))
        self._test_features = self.features(test.images)
        self.floor = frechet_distance(self.features(train.images), self._test_features)

    def features(self, images):
        """Images, float32 (n, height, width, channels) in [0, 1], to the last hidden layer's values, (n, 64)."""
        return self._look(images)[0]

    def classify(self, images):
        """Images, float32 (n, height, width, channels) in [0, 1], to the likeliest labels, (n,)."""
        return self._classes[self._look(images)[1].argmax(axis=1)]

    def _look(self, images):
        """Images to features, (n, 64), and logits, (n, classes)."""
        both = in_batches(self.network, check_images(images, self.train.images.shape[1:]), 5 * BATCH)
        return both[:, :FEATURES], both[:, FEATURES:]

    def report(self, samples):
        """What there is to say about samples, float32 (n, height, width, channels) in [0, 1], as a dictionary:

        - frechet_distance to the test images, the floor, and their ratio,
        - precision and recall against the test images, of as many samples as test images: all of the fewer ones,
        - memorised_share, to be compared with that of test images, which is 0.05,
        - class_entropy of the samples' labels, in nats; that of equally frequent classes is log(classes).
        """
        features = self.features(samples)
        distance = frechet_distance(features, self._test_features)
        count = min(len(samples), len(self.test))
        few = (points[np.linspace(0, len(points) - 1, count).astype(int)] for points in (self._test_features, features))
        precision, recall = precision_and_recall(*few)
        shares = np.unique_counts(self.classify(samples)).counts / len(samples)
        return {"frechet_distance": distance, "floor": self.floor, "ratio": distance / self.floor,
                "precision": precision, "recall": recall,
                "memorised_share": memorised_share(samples, self.train.images, self.test.images),
                "class_entropy": float(entr(shares).sum())}


def _train(images, labels, passes, seed):
    """A convolutional network, images to features and logits side by side, and the classes that the logits are of."""
    classes, labels = np.unique(labels, return_inverse=True)
    draw = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(seed))  # anew for every layer
    inputs = h = keras.Input(images.shape[1:])
    for filters in FILTERS:
        h = layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu", kernel_initializer=draw)(h)
    features = layers.Dense(FEATURES, "relu", kernel_initializer=draw)(layers.Flatten()(h))
    logits = layers.Dense(len(classes), kernel_initializer=draw)(features)
    classifier = keras.Model(inputs, logits)
    size = min(BATCH, len(images))
    schedule = warmup_cosine(PEAK, passes * -(-len(images) // size))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(schedule, beta_2=0.99), loss, jit_compile=JIT)
    for number in range(passes):
        order = np.random.default_rng([seed, number]).permutation(len(images))
        varied = random_affine(images[order], [seed, number])
        classifier.fit(varied, labels[order], batch_size=size, shuffle=False, verbose=0)
    return keras.Model(inputs, layers.Concatenate()([features, logits])), classes


def frechet_distance(features, others):
    """How far apart two clouds of points are, each taken for a Gaussian: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)).

    The squared Wasserstein distance of the Gaussians with the clouds' means m and covariances C. Heusel et al., "GANs
    trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017. It is biased upwards
    for few points: compare at equal numbers only.

    Args:
        features, others: (n, features) and (m, features), two points each at least.

    Returns:
        A float, 0 for equal means and covariances.

    Raises:
        ValueError: arrays of another form.
    """
    features, others = _check_features(features, others, least=2)
    gap = features.mean(axis=0) - others.mean(axis=0)
    one, two = (np.atleast_2d(np.cov(points, rowvar=False)) for points in (features, others))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # C C' and the symmetric root C' root, root = C^(1/2), have the same eigenvalues, which the latter gives safely
    cross = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    return float(max(gap @ gap + np.trace(one) + np.trace(two) - 2 * cross, 0))


def precision_and_recall(features, generated, neighbours=NEIGHBOURS):
    """Which share of what is generated looks real, and which share of what is real could be generated.

    A point belongs to a cloud if it lies within one of the balls around the cloud's points, each of which reaches to
    its `neighbours`-th nearest fellow. Kynkäänniemi et al., "Improved precision and recall metric for assessing
    generative models", NeurIPS 2019. They depend on the numbers of points: take as many of one as of the other.

    Args:
        features: Of real images, (n, features).
        generated: Of generated images, (m, features).
        neighbours: At least 1, below n and m.

    Returns:
        (precision, recall), floats in [0, 1].

    Raises:
        ValueError: arrays of another form, too few points.
    """
    features, generated = _check_features(features, generated, least=neighbours + 1)
    if neighbours < 1:
        raise ValueError(f"`neighbours` must be at least 1. Received: neighbours={neighbours}")
    between = cdist(generated, features)  # (m, n)
    precision = np.any(between <= _radii(features, neighbours), axis=1).mean()
    recall = np.any(between.T <= _radii(generated, neighbours), axis=1).mean()
    return float(precision), float(recall)


def nearest_images(images, train_images):
    """The training image nearest to each image, by the Euclidean distance of their pixels.

    Args:
        images: float32 (n, height, width, channels) in [0, 1].
        train_images: float32 (m, height, width, channels) in [0, 1].

    Returns:
        (indices, distances): which of the training images, (n,), and how far, (n,).

    Raises:
        ValueError: images out of form.
    """
    train_images = check_images(train_images)
    images = check_images(images, train_images.shape[1:])
    pair = (array.reshape(len(array), -1) for array in (images, train_images))
    return pairwise_distances_argmin_min(*pair)


def memorised_share(samples, train_images, test_images, close=CLOSE):
    """The share of samples that are nearer to a training image than all but a few test images are.

    A generator that has learned the training images' distribution comes as near to them as fresh images do, and has a
    share of about `close`; one that copies them has a share of 1. Blurred samples are nearer to everything, so that a
    larger share asks for a look at `nearest_images`; it proves nothing.

    Args:
        samples, train_images, test_images: float32 (n, height, width, channels) in [0, 1], three different n.
        close: The share of the test images that count as near, in (0, 1); their largest distance is the limit.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: images out of form; another share.
    """
    if not 0 < close < 1:
        raise ValueError(f"`close` must lie in (0, 1). Received: close={close}")
    limit = np.quantile(nearest_images(test_images, train_images)[1], close)
    return float(np.mean(nearest_images(samples, train_images)[1] < limit))


def _radii(points, neighbours):
    """Distance of each point to its `neighbours`-th nearest fellow, (n,); the nearest of all is the point itself."""
    distances = cdist(points, points)
    distances.partition(neighbours, axis=1)  # in place: there are n * n of them
    return distances[:, neighbours]


def _check_features(features, others, least):
    features, others = np.asarray(features, "float64"), np.asarray(others, "float64")
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1] or not features.shape[1] or min(
            len(features), len(others)) < least:
        raise ValueError(f"Expected two arrays (n, features) with at least {least} rows each. Received: shapes "
                         f"{features.shape} and {others.shape}")
    if not (np.isfinite(features).all() and np.isfinite(others).all()):
        raise ValueError("Expected finite features. Received: some that are not")
    return features, others
