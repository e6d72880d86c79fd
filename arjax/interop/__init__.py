"""Models in files: folders of other libraries, read and written, and our own files in the safetensors format."""

from arjax.interop.huggingface import load_huggingface, save_huggingface
from arjax.interop.model_file import SavedModel, load_model, save_model

__all__ = ["SavedModel", "load_huggingface", "load_model", "save_huggingface", "save_model"]
