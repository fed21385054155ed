"""Keeps TensorFlow's chatter out of notebooks, without importing TensorFlow or switching anything off."""

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import tempfile


def quiet_tensorflow():
    """Arranges that TensorFlow, whenever it is imported later, starts without writing to stderr.

    The log level alone does not do it: the compiled library writes its first lines before it reads the level. So the
    import itself runs with the process's stderr held back in a file, which is shown if the import fails. Does nothing
    when TensorFlow is already loaded, and nothing to oneDNN. One later warning is dropped as well: that functions are
    traced anew, which is what a notebook that trains one model after the other means to do.
    """
    logging.getLogger("tensorflow").addFilter(_is_no_retracing_warning)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules and not any(isinstance(f, _QuietFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, _QuietFinder())


def _is_no_retracing_warning(record):
    return "triggered tf.function retracing" not in record.getMessage()


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow, and the one module of Keras that imports JAX unasked, as Python would; wraps their loaders."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in ("tensorflow", "keras.src.callbacks.orbax_checkpoint"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None:
            execute, quiet = spec.loader.exec_module, fullname == "tensorflow"

            def execute_quietly(module):
                with _stderr_held_back() if quiet else contextlib.nullcontext(), _jax_hidden():
                    execute(module)

            spec.loader.exec_module = execute_quietly
        return spec


@contextlib.contextmanager
def _jax_hidden():
    """On another backend, TensorFlow Lite and a callback of Keras would import JAX for nothing: 0.1 GB a kernel."""
    hidden = "jax" not in sys.modules
    if hidden:
        sys.modules["jax"] = None  # to import it now raises ModuleNotFoundError, which both expect
    try:
        yield
    finally:
        if hidden:
            del sys.modules["jax"]


@contextlib.contextmanager
def _stderr_held_back():
    """Sends file descriptor 2 to a temporary file; if the block raises, what was written is shown after all."""
    try:
        saved = os.dup(2)
    except OSError:  # a process without a stderr has nothing to hold back
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
