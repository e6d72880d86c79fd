"""A run on 20 GB, in a process of its own, which prints its peak of resident memory in bytes at the end."""

import re
import resource
import sys
from pathlib import Path

import numpy as np

from arjax.cli.main import main

CONFIG = """
from arjax.config import base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("array_files", train="train.npy", validation="validation.npy", test="test.npy")
    config.model.ordering = "variance"
    config.network = network_config("transformer", width=8, num_layers=1, num_heads=1)
    config.train.update(steps=6, batch_size=8, steps_per_dispatch=2, data_on_device=False)
    config.train.update(log_every=3, eval_every=3, checkpoint_every=6)
    config.evaluate.batch_size = 8
    config.sample.update(num=2, sampler="naive")
    return config
"""


def sparse(path: Path, num_examples: int, length: int = 1024) -> None:
    """A file of uint8[N, length], all 0, that takes no room on the disk."""
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(num_examples, length))


def peak() -> int:
    """The peak of resident memory, in bytes: that of `getrusage` counts the process that started this one."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    assert main(["--config=large.py", "--workdir=run", *sys.argv[1:]]) == 0
    print("peak:", peak())
