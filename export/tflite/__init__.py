"""TFLite files, written directly: NHWC, no converter in between, no TensorFlow."""

from edgesr.export.tflite.reader import fully_delegated, metadata_of, operator_counts, operator_list
from edgesr.export.tflite.writer import Written, write

__all__ = ["Written", "fully_delegated", "metadata_of", "operator_counts", "operator_list", "write"]
