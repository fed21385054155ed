"""Vector quantisation, against k-means and nearest neighbours done by hand."""

import keras
import numpy as np
import pytest
from scipy.special import expit
from sklearn.cluster import KMeans

from autoencoder_utils import architectures, metrics, quantized
from autoencoder_utils.corruption import downsample
from autoencoder_utils.data import load_images
from autoencoder_utils.quantized import Perplexity, VectorQuantizedAutoencoder, VectorQuantizer
from autoencoder_utils.training import JIT, Batches, warmup_cosine

SHAPE, POSITIONS, DEPTH, SIZE = (6, 5, 1), 3, 2, 5
FEW = {"jit_compile": True} if JIT else {"run_eagerly": True}  # a few steps take less time than tracing one


def build(shape=SHAPE, positions=POSITIONS, depth=DEPTH, size=SIZE, hidden=(16,), **options):
    return VectorQuantizedAutoencoder(architectures.dense_encoder(shape, positions * depth, hidden),
                                      architectures.dense_decoder(shape, positions * depth, hidden), positions, size,
                                      **options)


def random_images(count=20, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((count, *shape), "float32")


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def quantizer_with(codebook, usage):
    layer = VectorQuantizer(len(codebook))
    layer.build((None, None, codebook.shape[1]))
    layer.codebook.assign(codebook)
    layer.usage.assign(usage)
    return layer


def nearest_by_hand(vectors, codebook):
    return np.linalg.norm(vectors[..., None, :] - codebook, axis=-1).argmin(-1)


# -- the quantiser ----------------------------------------------------------------------------------------------------

def test_each_vector_becomes_the_nearest_of_the_codebook():
    rng = np.random.default_rng(0)
    codebook, vectors = rng.normal(size=(7, 3)).astype("float32"), rng.normal(size=(10, 4, 3)).astype("float32")
    layer = quantizer_with(codebook, np.ones(7))
    result, indices = layer(vectors)
    np.testing.assert_array_equal(numpy(indices), nearest_by_hand(vectors, codebook))
    np.testing.assert_allclose(numpy(result), codebook[numpy(indices)], atol=1e-6)
    np.testing.assert_array_equal(numpy(layer.codebook), codebook)  # not training: nothing moves


def test_one_batch_moves_every_used_code_towards_the_mean_of_its_vectors():
    rng = np.random.default_rng(1)
    codebook, vectors = rng.normal(size=(6, 2)).astype("float32"), rng.normal(size=(50, 4, 2)).astype("float32")
    layer = quantizer_with(codebook, usage := rng.uniform(20, 40, 6).astype("float32"))
    _, indices = layer(vectors, training=True)
    indices, memory = numpy(indices), quantized.MEMORY
    for code in range(6):  # a running mean: of sums and of counts, then their ratio
        mine = vectors[indices == code]
        count = memory * usage[code] + (1 - memory) * len(mine)
        expected = (memory * usage[code] * codebook[code] + (1 - memory) * mine.sum(0)) / count
        np.testing.assert_allclose(numpy(layer.codebook)[code], expected, rtol=1e-4, atol=1e-6)
        assert numpy(layer.usage)[code] == pytest.approx(count, rel=1e-5)
        assert len(mine) == 0 or (numpy(layer.codebook)[code] != codebook[code]).any()


def test_dead_codes_are_put_where_vectors_are():
    vectors = np.random.default_rng(2).normal(5, 1, (40, 3, 2)).astype("float32")
    codebook = np.concatenate([np.full((1, 2), 5.0), np.full((9, 2), -100.0)]).astype("float32")
    layer = quantizer_with(codebook, np.zeros(10))
    layer(vectors, training=True)
    assert (numpy(layer.codebook) > 0).all()
    for _ in range(60):
        layer(vectors, training=True)
    assert set(nearest_by_hand(vectors, numpy(layer.codebook)).flat) == set(range(10))


def test_the_codebook_comes_close_to_k_means():
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(12, 2)) * 4)[rng.integers(12, size=600)] + 0.3 * rng.normal(size=(600, 2))
    vectors = vectors.astype("float32")
    layer = quantizer_with(np.zeros((16, 2), "float32"), np.zeros(16))
    for _ in range(300):
        layer(rng.permutation(vectors)[None, :300], training=True)
    error = np.linalg.norm(vectors - numpy(layer(vectors[None])[0])[0], axis=1)
    best = KMeans(16, n_init=10, random_state=0).fit(vectors).inertia_
    assert (error**2).sum() < 1.5 * best < 0.1 * ((vectors - vectors.mean(0)) ** 2).sum()


def test_the_gradient_passes_straight_through():
    """One step of gradient descent on an encoder's bias: the same as if the quantiser were the identity."""
    model = build(commitment=0.0)
    images = random_images()
    model.compile(keras.optimizers.SGD(0.001), **FEW)
    model.quantizer.usage.assign(np.full(SIZE, 12.0))
    codes = numpy(model(images)["quantized"]).reshape(20, -1)
    bias = model.encoder.get_layer("code").bias
    before = numpy(bias).copy()

    def loss(shift):
        logits = model.decoder(codes + shift)
        return float(np.mean(numpy(model.reconstruction_nats(images, logits)), dtype="float64"))

    slopes = [(loss(e) - loss(-e)) / 0.1 for e in 0.05 * np.eye(codes.shape[1], dtype="float32")]
    model.train_on_batch(images)
    np.testing.assert_allclose((before - numpy(bias)) / 0.001, slopes, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("counts", [[4, 4, 4, 4], [1, 2, 3, 0], [9, 0, 0, 0]])
def test_perplexity_is_that_of_the_counts(counts):
    metric = Perplexity(4)
    indices = np.repeat(np.arange(4), counts)
    for part in np.array_split(indices, 2):  # counted over batches
        metric.update_state(part)
    share = np.array([c for c in counts if c]) / sum(counts)
    assert float(metric.result()) == pytest.approx(np.prod(share**-share), rel=1e-5)


# -- the model --------------------------------------------------------------------------------------------------------

def test_the_loss_is_reconstruction_plus_commitment():
    model, images = build(commitment=0.7), random_images()
    model.compile("sgd", metrics=["mse"], **FEW)
    report = model.evaluate(images, batch_size=7, verbose=0, return_dict=True)
    vectors = numpy(model.encoder(images)).reshape(20, POSITIONS, DEPTH)
    codebook = numpy(model.quantizer.codebook)
    indices = nearest_by_hand(vectors, codebook)
    pixels = expit(numpy(model.decoder(codebook[indices].reshape(20, -1))))
    nats = -(images * np.log(pixels) + (1 - images) * np.log(1 - pixels)).sum((1, 2, 3)).mean()
    commitment = 0.7 * np.square(vectors - codebook[indices]).sum((1, 2)).mean()
    share = np.bincount(indices.ravel(), minlength=SIZE) / indices.size
    assert report["reconstruction_loss"] == pytest.approx(nats, rel=1e-4)
    assert report["commitment_loss"] == pytest.approx(commitment, rel=1e-4)
    assert report["loss"] == pytest.approx(nats + commitment, rel=1e-4)
    assert report["perplexity"] == pytest.approx(np.exp(-np.sum(share * np.log(share + 1e-30))), rel=1e-4)
    assert report["mse"] == pytest.approx(metrics.mean_squared_error(images, pixels), rel=1e-4)
    np.testing.assert_array_equal(model.encode(images), indices)
    np.testing.assert_allclose(model.decode(indices), pixels, atol=1e-6)
    np.testing.assert_allclose(model.predict(images), pixels, atol=1e-6)
    assert model.bits == pytest.approx(POSITIONS * np.log2(SIZE))


def test_learning_beats_256_prototypes_and_uses_the_whole_codebook():
    data = load_images()
    train, unseen = downsample(data.train.images[:1000], 2), downsample(data.validation.images, 2)
    keras.utils.set_random_seed(0)
    model = build((14, 14, 1), positions=8, depth=2, size=16, hidden=(64,))
    model.compile(keras.optimizers.Adam(warmup_cosine(0.01, 30 * 20)), jit_compile=JIT)
    history = model.fit(Batches(train, 50, stack=10), epochs=30, verbose=0).history
    error = metrics.mean_squared_error(unseen, model.reconstruct(unseen))
    clusters = KMeans(256, n_init=1, max_iter=20, random_state=0).fit(train.reshape(1000, -1))
    best = clusters.cluster_centers_[clusters.predict(unseen.reshape(500, -1))].reshape(unseen.shape).clip(0, 1)
    assert error < 0.9 * metrics.mean_squared_error(unseen, best)
    assert len(np.unique(model.encode(train))) == 16
    assert history["perplexity"][-1] > 8


def test_one_step_moves_every_weight_and_every_code():
    model, images = build(), random_images()
    model.compile(keras.optimizers.SGD(0.01), **FEW)
    model.train_on_batch(images)  # fills the codebook
    before, codebook = [numpy(v).copy() for v in model.trainable_variables], numpy(model.quantizer.codebook).copy()
    assert len(before) == len(model.encoder.trainable_variables) + len(model.decoder.trainable_variables)
    used = np.unique(model.encode(images))
    model.train_on_batch(images)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = numpy(variable)
        assert np.isfinite(new).all() and (new != old).any(), f"{variable.path} has no gradient"
    assert (numpy(model.quantizer.codebook) != codebook).any(axis=1)[used].all()


def test_loaded_model_is_the_same_and_trains_on(tmp_path):
    model, images = build(commitment=0.3, reconstruction_loss="gaussian"), random_images()
    model.compile(keras.optimizers.Adam(0.01), **FEW)
    model.fit(images, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(images), model.encode(images))
    np.testing.assert_array_equal(loaded.reconstruct(images), model.reconstruct(images))
    assert (loaded.commitment, loaded.reconstruction_loss, loaded.bits) == (0.3, "gaussian", model.bits)
    loaded.fit(images, verbose=0)


def test_training_is_reproduced_by_its_seed():
    images, results = random_images(), []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(0)
        model = build(seed=seed)
        model.compile(keras.optimizers.Adam(0.01), **FEW)
        model.fit(images, epochs=2, batch_size=10, verbose=0)
        results.append(numpy(model.quantizer.codebook))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)
    assert (results[0] != results[2]).any()


@pytest.mark.parametrize(("options", "message"), [
    ({"positions": 4, "depth": 2, "split": 3}, r"`positions` must divide the code's 8 numbers. Received: positions=3"),
    ({"size": 1}, "`codebook_size` must be at least 2. Received: codebook_size=1"),
    ({"commitment": -1}, "`commitment` must be at least 0. Received: commitment=-1")])
def test_impossible_models_are_refused(options, message):
    split = options.pop("split", None)
    with pytest.raises(ValueError, match=message):
        model = build(**options)
        VectorQuantizedAutoencoder(model.encoder, model.decoder, split)


@pytest.mark.parametrize(("indices", "received"), [
    (np.zeros((2, 4), int), r"shape \(2, 4\)"), (np.zeros((0, 3), int), r"shape \(0, 3\)"),
    (np.zeros((2, 3)), "dtype float64"), (np.full((2, 3), 5), "values from 5 to 5"),
    (np.full((2, 3), -1), "values from -1 to -1")])
def test_indices_that_are_none_are_refused(indices, received):
    with pytest.raises(ValueError, match=rf"shape \(n, 3\), whole numbers from 0 to 4. Received: {received}"):
        build().decode(indices)


def test_images_out_of_range_are_refused():
    with pytest.raises(ValueError, match="Pixels out of range"):
        build().encode(255 * random_images())
