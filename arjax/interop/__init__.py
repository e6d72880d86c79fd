"""Models of other libraries, read and written."""

from arjax.interop.huggingface import load_huggingface, save_huggingface

__all__ = ["load_huggingface", "save_huggingface"]
