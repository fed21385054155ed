"""Room for the next model: what a kernel holds, and how to have it back."""

import ctypes
import gc
import sys


def make_room():
    """Gives the memory of models that nothing refers to any more back to the system: `del model`, then this.

    Python forgets a Keras model only when it looks for circles, and C's library keeps what was freed. TensorFlow, for
    its part, never forgets one that was trained: Keras's optimiser sums the gradients with `all_reduce`, which has a
    gradient of its own; this is registered for ever, and holds the compiled step with its weights, 20 to 33 MB for a
    model of this course. The entries are taken out here: the steps that are compiled run as before, but a function
    with a gradient of its own (`tf.custom_gradient`) that was traced before can't be differentiated anew afterwards.
    """
    framework = sys.modules.get("tensorflow.python.framework.ops")  # None on other backends
    if framework is not None:
        registered = framework.gradient_registry._registry
        for name in [name for name in registered if name.startswith("CustomGradient-")]:
            del registered[name]
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory(children=False):
    """The most memory that this process has held so far, or its largest child that has ended.

    Args:
        children: Whether to ask for the children.

    Returns:
        Gigabytes (1e9 bytes).
    """
    import resource  # Windows has none

    usage = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
