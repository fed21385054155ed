"""The learning-rate recipe, batches, stacked steps, checkpoints and the callbacks that report."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoencoder_utils import architectures, training
from autoencoder_utils.autoencoders import Autoencoder
from autoencoder_utils.corruption import gaussian_noise
from autoencoder_utils.training import Batches, Checkpoint, EpochLine, Stopwatch, warmup_cosine
from autoencoder_utils.variational import VariationalAutoencoder

SHAPE = (6, 5, 1)


def random_images(count=32, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), "float32")


def numbered(count):
    """Images that tell their number in every pixel."""
    return np.broadcast_to((np.arange(count, dtype="float32") / 1000).reshape(-1, 1, 1, 1), (count, *SHAPE))


def numbers_of(images):
    return np.rint(images[..., 0, 0, 0] * 1000).astype(int)


def build(cls=Autoencoder, seed=0, hidden=(8,), optimizer=None):
    keras.utils.set_random_seed(seed)
    size = 6 if issubclass(cls, VariationalAutoencoder) else 3
    model = cls(architectures.dense_encoder(SHAPE, size, hidden), architectures.dense_decoder(SHAPE, 3, hidden))
    model.compile(optimizer or keras.optimizers.Adam(0.01), jit_compile="auto")
    return model


def state(model):
    """Everything that the rest of the training depends on."""
    return [keras.ops.convert_to_numpy(v).copy() for v in (*model.variables, *model.optimizer.variables)]


# -- the learning-rate recipe -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.05), (37, 0.3), (20, 0.0), (20, 0.05), (1, 0.05), (2, 0.5)])
def test_recipe_is_a_line_and_half_a_cosine(steps, warmup):
    peak, rise = 0.02, round(warmup * steps)
    step = np.unique(np.linspace(0, steps, 12).round().tolist() + [rise])
    line = peak / max(rise, 1) + (peak - peak / max(rise, 1)) * step / max(rise, 1)
    cosine = peak * 0.5 * (1 + np.cos(np.pi * (step - rise) / (steps - rise)))
    schedule = warmup_cosine(peak, steps, warmup)
    rates = [float(schedule(i)) for i in step]
    np.testing.assert_allclose(rates, np.where(step < rise, line, cosine), rtol=1e-4, atol=1e-7)
    assert rates[0] > 0 and max(rates) == pytest.approx(peak, rel=1e-4) and rates[-1] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("steps", [0, -3])
def test_recipe_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match=rf"`steps` must be at least 1.*Received: steps={steps}"):
        warmup_cosine(0.1, steps)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5])
def test_recipe_with_an_impossible_warm_up_is_refused(warmup):
    with pytest.raises(ValueError, match=rf"`warmup`.*Received: .*warmup={warmup}"):
        warmup_cosine(0.1, 10, warmup)


# -- batches ----------------------------------------------------------------------------------------------------------

def epoch_of(batches):
    return np.concatenate([numbers_of(batches[i][0]).ravel() for i in range(len(batches))])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 8), st.integers(0, 1000))
def test_every_epoch_is_a_part_of_a_permutation(size, stack, length, rest, seed):
    count = size * stack * length + rest % (size * stack)
    batches = Batches(numbered(count), size, seed, stack=stack)
    assert len(batches) == length
    seen = epoch_of(batches)
    assert len(seen) == size * stack * length and len(set(seen)) == len(seen) and set(seen) <= set(range(count))
    assert batches[0][0].shape == (stack, size, *SHAPE)
    unstacked = Batches(numbered(count), size, seed)
    np.testing.assert_array_equal(epoch_of(unstacked)[: len(seen)], seen)  # stacking changes nothing in the order


def test_epochs_differ_and_depend_on_the_seed_only():
    one, same, other = (Batches(numbered(60), 10, seed) for seed in (1, 1, 2))
    orders = []
    for _ in range(3):
        assert sorted(epoch_of(one)) == list(range(60))
        np.testing.assert_array_equal(epoch_of(one), epoch_of(same))
        assert (epoch_of(one) != epoch_of(other)).any()
        orders.append(tuple(epoch_of(one)))
        for batches in (one, same, other):
            batches.on_epoch_end()
    assert len(set(orders)) == 3 and tuple(range(60)) not in orders


def test_every_image_has_its_turn_over_the_epochs():
    batches, seen = Batches(numbered(13), 10), set()
    for _ in range(20):
        seen |= set(epoch_of(batches))
        batches.on_epoch_end()
    assert seen == set(range(13))


def test_vary_gets_another_seed_for_every_batch():
    seeds = []

    def vary(images, seed):
        seeds.append(tuple(seed))
        return 1 - images

    for training_seed in (0, 1):
        batches = Batches(numbered(40), 10, training_seed, vary)
        plain = Batches(numbered(40), 10, training_seed)
        for _ in range(3):
            for i in range(4):
                np.testing.assert_array_equal(batches[i][0], 1 - plain[i][0])
            batches.on_epoch_end()
            plain.on_epoch_end()
    assert len(set(seeds)) == len(seeds) == 24
    assert len({np.random.default_rng(seed).random() for seed in seeds}) == 24


class Recording(Batches):
    """Batches that note which epoch and which index they were asked for."""

    def __getitem__(self, index):
        self.__dict__.setdefault("asked", []).append((self.epoch, index))
        return super().__getitem__(index)


def test_fit_takes_the_batches_of_one_epoch_after_another_in_their_order():
    images = random_images()
    fitted, batches = build(optimizer=keras.optimizers.SGD(0.01)), Recording(images, 8, seed=3)
    fitted.fit(batches, epochs=3, verbose=0)
    taken = batches.asked[-12:]  # before that, Keras may look at a batch or two to learn their shape
    first = taken[0][0]  # Keras calls `on_epoch_end` before the first epoch, too
    assert taken == [(first + epoch, index) for epoch in range(3) for index in range(4)]
    stepped = build(optimizer=keras.optimizers.SGD(0.01))
    for batches.epoch, index in taken:
        stepped.train_on_batch(batches[index][0])
    for one, other in zip(fitted.get_weights(), stepped.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("size", "stack", "needed"), [(33, None, 33), (8, 5, 40)])
def test_too_few_images_for_one_batch_are_refused(size, stack, needed):
    with pytest.raises(ValueError, match=rf"Expected at least {needed} images.*Received: 32"):
        Batches(random_images(), size, stack=stack)


@pytest.mark.parametrize("bad", [lambda x: x * 255, lambda x: (x * 255).astype("uint8"), lambda x: x[..., 0]])
def test_images_out_of_form_are_refused(bad):
    with pytest.raises(ValueError, match=r"Expected images.*floats in \[0, 1\]. Received"):
        build().fit(Batches(bad(random_images()), 8), verbose=0)


# -- stacked steps ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cls", [Autoencoder, VariationalAutoencoder])
def test_stacked_steps_end_where_single_steps_do(cls):
    images = random_images(48)
    single, stacked = build(cls), build(cls)
    start = single.get_weights()
    single.fit(Batches(images, 8), epochs=2, verbose=0)
    stacked.fit(Batches(images, 8, stack=3), epochs=2, verbose=0)
    for begin, one, other in zip(start, single.get_weights(), stacked.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert abs(one - begin).max() > 1e-2
    assert int(stacked.optimizer.iterations) == int(single.optimizer.iterations) == 12


# -- checkpoints ------------------------------------------------------------------------------------------------------

EPOCHS, IMAGES = 4, random_images(32)


class Interruption(Exception):
    """What stops a training in its midst."""


class InterruptAt(keras.callbacks.Callback):
    """Raises after a batch of an epoch, both counted from 0."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.place, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            raise Interruption


def run(path=None, seed=0, callback=None):
    """Trains a variational autoencoder from where a checkpoint left it, and returns it and the epoch it began with."""
    model = build(VariationalAutoencoder, seed, optimizer=keras.optimizers.Adam(warmup_cosine(0.01, 4 * EPOCHS)))
    batches = Batches(IMAGES, 8, seed=5, vary=lambda images, seed: gaussian_noise(images, 0.1, seed))
    if path is None:
        model.fit(batches, epochs=EPOCHS, verbose=0)
        return model, 0
    checkpoint = Checkpoint(path)
    start = checkpoint.restore(model, batches)
    callbacks = [checkpoint] + ([callback] if callback else [])
    try:
        model.fit(batches, epochs=EPOCHS, initial_epoch=start, callbacks=callbacks, verbose=0)
    except Interruption:
        pass
    return model, start


def test_interrupted_training_ends_as_if_it_had_run_through(tmp_path):
    path = tmp_path / "deep" / "run.npz"
    through, _ = run()
    stopped, start = run(path, callback=InterruptAt(2, 1))
    assert start == 0 and int(stopped.optimizer.iterations) == 10
    resumed, start = run(path, seed=99)  # nothing of its own beginning may matter
    assert start == 2 and int(resumed.optimizer.iterations) == 4 * EPOCHS
    assert len(state(through)) == len(state(resumed))
    for one, other in zip(state(through), state(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [file.name for file in path.parent.iterdir()] == ["run.npz"]


@pytest.fixture
def saved(tmp_path):
    """A model, its checkpoint after one epoch, and the file."""
    model, checkpoint = build(), Checkpoint(tmp_path / "run.npz")
    assert checkpoint.restore(model) == 0
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0)
    return model, checkpoint, tmp_path / "run.npz"


def test_nothing_to_restore_is_epoch_zero(tmp_path):
    model = build()
    before = model.get_weights()
    assert Checkpoint(tmp_path / "none.npz").restore(model) == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("other", [{"hidden": (9,)}, {"hidden": ()}, {"cls": VariationalAutoencoder},
                                   {"optimizer": "sgd"}], ids=str)
def test_checkpoint_of_another_model_or_optimiser_is_refused(saved, other):
    model = build(**other)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"run.npz' is a checkpoint of another model.*Expected.*Received"):
        Checkpoint(saved[2]).restore(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("content", ["arrays", "text", "cut off"])
def test_file_that_is_no_checkpoint_is_refused(saved, content):
    model, checkpoint, path = saved
    if content == "arrays":
        np.savez(path, x_train=np.zeros(3), x_test=np.zeros(3))
    else:
        path.write_bytes(b"some notes\n" if content == "text" else path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"run.npz'.*checkpoint"):
        checkpoint.restore(model)


@pytest.mark.parametrize("crash", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_crash_while_writing_leaves_the_previous_file_alone(saved, monkeypatch, crash):
    model, checkpoint, path = saved
    before, weights = path.read_bytes(), model.get_weights()

    def write_half(file, **arrays):
        file.write(b"half a file")
        raise crash

    model.set_weights([w + 1 for w in weights])
    monkeypatch.setattr(training.np, "savez", write_half)
    with pytest.raises(type(crash)):
        checkpoint.on_epoch_end(1)
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == ["run.npz"]
    assert checkpoint.restore(model) == 1
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# -- reports ----------------------------------------------------------------------------------------------------------

def test_stopwatch_notes_seconds_and_values(monkeypatch):
    clock = iter([10.0, 12.5, 13.0, 20.0])
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(clock))
    stopwatch = Stopwatch("val_mse")
    for epoch, value in enumerate((0.9, 0.4, 0.5)):
        stopwatch.on_epoch_end(epoch, {"val_loss": 99, "val_mse": np.float32(value)})
    assert stopwatch.seconds == [2.5, 3.0, 10.0]
    assert stopwatch.values == pytest.approx([0.9, 0.4, 0.5])


@pytest.mark.parametrize(("threshold", "seconds"), [(5, 1.0), (4, 2.0), (3.5, 2.5), (3, 2.5), (1, 7.0), (0.9, np.inf)])
def test_seconds_to_is_the_first_epoch_that_reaches_the_threshold(threshold, seconds):
    stopwatch = Stopwatch()
    stopwatch.seconds, stopwatch.values = [1.0, 2.0, 2.5, 6.0, 7.0], [4.5, 4.0, 3.0, 3.7, 1.0]
    assert stopwatch.seconds_to(threshold) == seconds


def test_stopwatch_that_saw_no_epoch_has_no_time():
    assert Stopwatch().seconds_to(1e9) == np.inf


def test_epoch_line_has_three_significant_digits_and_no_clock(capsys):
    line = EpochLine()
    line.set_params({"epochs": 10})
    line.on_epoch_end(0, {"val_loss": 0.0123456, "loss": 1.5, "kl_loss": 25.04, "mse": 187.4})
    line.on_epoch_end(9, {"loss": np.float32(0.1)})
    assert capsys.readouterr().out.splitlines() == [
        "epoch  1/10  kl_loss 25.0  loss 1.50  mse 187  val_loss 0.0123", "epoch 10/10  loss 0.100"]


def test_epoch_line_prints_every_so_often_and_at_the_end(capsys):
    build().fit(random_images(), epochs=7, verbose=0, callbacks=[EpochLine(every=3)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["3/7", "6/7", "7/7"]


# -- the recipe in one call, and starting anew ------------------------------------------------------------------------

def test_train_model_takes_the_steps_that_fit_takes():
    images, (one, other) = random_images(40), (build(), build())
    schedule = warmup_cosine(0.02, 3 * 5)
    other.compile(keras.optimizers.Adam(schedule, beta_2=0.99, clipnorm=0.5))
    expected = other.fit(Batches(images, 8, seed=1), epochs=3, verbose=0)
    history = training.train_model(one, images, 3, 0.02, batch_size=8, seed=1, clipnorm=0.5)
    assert history.history["loss"][-1] == pytest.approx(expected.history["loss"][-1], rel=0.05)
    for weight, twin in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_allclose(weight, twin, atol=2e-4)


def test_restarted_model_trains_as_a_fresh_one_does():
    images, used, fresh = random_images(), build(), build(seed=1)
    used.fit(images, batch_size=8, epochs=2, verbose=0)
    training.restart(used, build(seed=1))
    ends = [model.fit(Batches(images, 8), epochs=2, verbose=0) and model.get_weights() for model in (used, fresh)]
    for weight, twin in zip(*ends):
        np.testing.assert_allclose(weight, twin, atol=1e-6)


def test_a_model_whose_weights_another_one_took_stays_usable():
    images, used, giver = random_images(), build(), build(seed=1)
    before = giver.reconstruct(images)
    used.fit(images, batch_size=8, verbose=0)
    training.restart(used, giver)
    used.fit(images, batch_size=8, verbose=0)
    np.testing.assert_array_equal(giver.reconstruct(images), before)


def test_restart_from_a_model_of_another_form_is_refused():
    model = build()
    model.fit(random_images(), verbose=0)
    with pytest.raises(ValueError):
        training.restart(model, build(hidden=(8, 8)))
