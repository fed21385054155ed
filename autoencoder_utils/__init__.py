"""Autoencoders for image generation: the package that the six chapters share.

Importing it loads nothing heavy and changes nothing but TensorFlow's chatter: what it writes to the terminal when it
starts is held back, and shown only if it fails to load.
"""

from autoencoder_utils import _startup

__version__ = "0.1.0"

_startup.quiet_tensorflow()
