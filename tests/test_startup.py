"""What importing the package does to a process."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NUMPY_ONLY = ("data", "corruption", "metrics", "plotting")


def run(code, *options, **environment):
    """Runs code in a fresh process that knows nothing of this one's settings for TensorFlow."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=300,
                          env=inherited | {"PYTHONPATH": str(ROOT)} | environment)


def run_with_fake_tensorflow(folder, source, code):
    """Runs code where `tensorflow` is a package with that source; -S hides the real one."""
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text(source)
    return run(code, "-S", PYTHONPATH=os.pathsep.join([str(ROOT), str(folder)]))


def test_numpy_only_modules_load_no_framework():
    result = run(f"import sys\nfor name in {NUMPY_ONLY}: __import__('autoencoder_utils.' + name)\n"
                 "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_importing_the_package_alone_loads_nothing_heavy():
    result = run("import sys, autoencoder_utils\nprint({'numpy', 'keras', 'tensorflow'} & set(sys.modules))")
    assert result.stdout.strip() == "set()", result.stdout + result.stderr


def test_keras_on_tensorflow_starts_silently_and_keeps_onednn():
    result = run("import os, autoencoder_utils, keras\n"
                 "print(keras.backend.backend(), float(keras.ops.sum(keras.ops.ones(3))), "
                 "os.environ.get('TF_ENABLE_ONEDNN_OPTS'))", KERAS_BACKEND="tensorflow")
    assert result.stderr == ""
    assert result.stdout.split() == ["tensorflow", "3.0", "None"]


def test_what_a_failing_tensorflow_wrote_is_shown(tmp_path):
    source = "import os\nos.write(2, b'libfoo.so is missing\\n')\nraise ImportError('no libfoo')"
    result = run_with_fake_tensorflow(tmp_path, source, "import autoencoder_utils, tensorflow")
    assert result.returncode == 1
    assert "libfoo.so is missing" in result.stderr and "ImportError: no libfoo" in result.stderr


def test_chatter_is_held_back_and_stderr_works_afterwards(tmp_path):
    code = ("import autoencoder_utils, os, sys, tensorflow\n"
            "os.write(2, b'descriptor\\n'); print('stream', file=sys.stderr); print(tensorflow.value)")
    result = run_with_fake_tensorflow(tmp_path, "import os\nos.write(2, b'chatter\\n')\nvalue = 7", code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "7\n", "descriptor\nstream\n")


def test_process_without_stderr_can_import_tensorflow(tmp_path):
    code = "import os; os.close(2)\nimport autoencoder_utils, tensorflow; print(tensorflow.value)"
    result = run_with_fake_tensorflow(tmp_path, "value = 7", code)
    assert result.stdout == "7\n"


def test_missing_tensorflow_is_still_a_module_not_found_error():
    code = "import autoencoder_utils\ntry: import tensorflow\nexcept ModuleNotFoundError as error: print(error.name)"
    assert run(code, "-S").stdout == "tensorflow\n"


@pytest.mark.parametrize(("name", "value"), [("TF_CPP_MIN_LOG_LEVEL", "0"), ("TF_ENABLE_ONEDNN_OPTS", "0")])
def test_settings_of_the_user_are_kept(name, value):
    result = run(f"import os, autoencoder_utils; print(os.environ[{name!r}])", "-S", **{name: value})
    assert result.stdout == f"{value}\n"


def test_of_tensorflows_warnings_only_the_one_on_retracing_is_dropped():
    result = run("import autoencoder_utils, logging\nlogger = logging.getLogger('tensorflow')\n"
                 "logger.warning('5 of the last 5 calls triggered tf.function retracing.')\n"
                 "logger.warning('something else')", "-S")
    assert result.stderr == "something else\n"
