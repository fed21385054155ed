"""What a kernel holds: memory that is kept for the next training step, or given back before the next model."""

import ctypes
import gc
import sys


def keep_memory():
    """Lets C's library keep what this process frees, so that the next training step need not fetch it again.

    A step takes and frees dozens of arrays of megabytes. Under glibc each comes from the system and goes back there,
    and the system blanks its pages every time, which takes up to two thirds of a training. From here on, arrays of up
    to 32 MB, the most that glibc allows, come from what was freed before. Results stay the same, and a kernel holds
    0.1 GB more. Does nothing but on Linux.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD: larger arrays come from the system and go back there
        library.mallopt(-2, 64 * 2**20)  # M_TOP_PAD: as large as a thread's whole piece of memory, which then stays
        library.mallopt(-1, 512 * 2**20)  # M_TRIM_THRESHOLD: what the main thread may keep


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
