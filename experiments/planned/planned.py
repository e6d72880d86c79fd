"""What runs at the size of published tables would take, by the compiler of a slice of accelerators. Nothing is trained.

    python experiments/planned/planned.py [--only=pixelcnn_pp,any_order] [--again]

Writes planned.csv and the table of README.md; rows that stand in planned.csv are kept, or with --again planned anew.
Needs `arjax[tpu]`. A row takes two to twenty minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import NamedTuple

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.files import load_config_file
from arjax.core.errors import UserError, did_you_mean
from arjax.parallel.accelerators import accelerator_of

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

HERE = Path(__file__).parent
CONFIG = "configs/paper_sizes.py"


class Published(NamedTuple):
    """A published number, and the run that would repeat it.

    Attributes:
      value: with its unit; `kind`: whether it is exact, or a bound.
      config, slice, overrides: of the run; its data are noise in a plan.
      length: where the number of train steps of the config comes from.
    """

    dataset: str
    model: str
    value: str
    kind: str
    config: str
    slice: str
    overrides: dict[str, object]
    length: str


TABLE = {
    "pixelcnn_pp": Published(
        "CIFAR-10", "PixelCNN++ (Salimans et al. 2017)", "2.92 bits/dim", "exact",
        f"{CONFIG}:pixelcnn_pp", "v5e:2x2", {}, "200 epochs of the Flax example, which states 2.92",
    ),
    "pixelsnail": Published(
        "CIFAR-10", "PixelSNAIL (Chen et al. 2018)", "2.85 bits/dim", "exact",
        f"{CONFIG}:pixelsnail", "v5e:2x2", {}, "100 epochs, our choice",
    ),
    "sparse_transformer": Published(
        "CIFAR-10", "Sparse Transformer (Child et al. 2019)", "2.80 bits/dim", "exact",
        f"{CONFIG}:sparse_transformer", "v5e:4x4", {"network.remat": True, "network.unroll": 1},
        "120 epochs of the paper",
    ),
    "diagonal_bilstm": Published(
        "CIFAR-10", "Diagonal BiLSTM (van den Oord et al. 2016)", "3.00 bits/dim", "exact",
        f"{CONFIG}:diagonal_bilstm", "v5e:2x2", {}, "100 epochs, our choice",
    ),
    "pixelsnail_imagenet": Published(
        "ImageNet-32", "PixelSNAIL (Chen et al. 2018)", "3.80 bits/dim", "exact",
        f"{CONFIG}:pixelsnail_imagenet", "v5e:2x2", {}, "10 epochs, our choice",
    ),
    "any_order": Published(
        "text8", "any order (Hoogeboom et al. 2022)", "1.43 bits/character", "bound",
        f"{CONFIG}:any_order", "v5e:4x4", {}, "5,000,000 steps of the authors' program",
    ),
    "seq2seq": Published(
        "WMT'14 English-French", "LSTM (Sutskever et al. 2014)", "perplexity 4.7", "exact",
        "configs/seq2seq_wmt14.py", "v5e:2x4", {"dtype": "bfloat16"}, "7.5 epochs, as in the paper",
    ),
}  # fmt: skip
COLUMNS = (
    "name",
    "dataset",
    "model",
    "published",
    "kind",
    "command",
    "slice",
    "mesh",
    "batch",
    "parameters",
    "milliseconds",
    "utilisation",
    "memory_gb",
    "of_gb",
    "steps",
    "hours",
    "length",
    "compile_seconds",
)
#: Of the page, by the names of the table.
SHOWN = ("dataset", "model", "published", "kind", "slice", "batch", "milliseconds", "utilisation", "memory_gb", "hours")


def command(mode: str, published: Published) -> str:
    """What a user types."""
    flags = " ".join(f"--config.{name}={value}" for name, value in published.overrides.items())
    return f"arjax --mode={mode} --config={published.config} --accelerator={published.slice} {flags}".strip()


def planned(name: str, published: Published) -> dict[str, object]:
    """The row of a plan."""
    begin = time.monotonic()
    plan = arjax.plan(published.config, published.overrides, accelerator=published.slice)
    assert plan.compiled is not None
    assert plan.model_flops_utilisation is not None
    steps = load_config_file(published.config).train.steps
    for part in plan.compiled.parts[:20]:
        print(f"{1e3 * part.seconds:9.3f} ms {part.phase:8} {part.module} {part.what}", flush=True)
    return {
        "name": name,
        "dataset": published.dataset,
        "model": published.model,
        "published": published.value,
        "kind": published.kind,
        "command": command("plan", published),
        "slice": published.slice,
        "mesh": " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items() if size > 1),
        "batch": plan.batch_size,
        "parameters": plan.num_params,
        "milliseconds": f"{1e3 * plan.compiled.seconds:.4g}",
        "utilisation": f"{plan.model_flops_utilisation:.3f}",
        "memory_gb": f"{plan.memory_per_device['total'] / 1e9:.2f}",
        "of_gb": f"{accelerator_of(published.slice).memory / 1e9:.1f}",
        "steps": steps,
        "hours": f"{steps * plan.compiled.seconds / 3600:.3g}",
        "length": published.length,
        "compile_seconds": f"{time.monotonic() - begin:.0f}",
    }


def main() -> int:
    """Plans rows, and writes them as each one ends."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names, with commas [all]")
    parser.add_argument("--again", action="store_true", help="plan anew what stands in planned.csv")
    flags = parser.parse_args()
    names = flags.only.split(",") if flags.only else list(TABLE)
    for name in names:
        if name not in TABLE:
            raise UserError(f"no published number is named {name!r}{did_you_mean(name, TABLE)}")
    path, rows = HERE / "planned.csv", {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
    for name in names:
        if flags.again or name not in rows:
            rows[name] = planned(name, TABLE[name])
            write(path, [rows[each] for each in TABLE if each in rows])
    return 0


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes the rows, and those of the page."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    cells = [[row[column] for column in SHOWN] for row in rows]
    write_measured(HERE / "README.md", markdown_table(SHOWN, cells, SHOWN[5:]))


if __name__ == "__main__":
    sys.exit(tell_mistakes("planned", main))
