"""A table of yours of 0 and 1, or of two words per column, with a MADE of one of three strengths.

Small sets overfit: the best strength is chosen on validation. configs/sweeps/binary_table.py trains all three and,
with `:mixture`, orders apart that are then mixed with fitted weights, which is best on most small sets. MADE: Germain,
Gregor, Murray & Larochelle (2015).

    arjax --config=configs/binary_table.py:file=my.csv --workdir=runs/binary
    arjax --config=configs/binary_table.py:file=train.csv,validation=valid.csv,test=test.csv,delimiter=spaces \
        --workdir=runs/binary
"""

from pathlib import Path

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of MADE and steps, from the least regularised for many rows to the most for few
RECIPES = {
    "small": ({"hidden_sizes": (250,), "dropout": 0.2}, 5000),
    "medium": ({"hidden_sizes": (500,), "dropout": 0.5}, 6000),
    "strong": ({"hidden_sizes": (500,), "dropout": 0.7, "input_dropout": 0.3}, 8000),
}


def get_config(arg=""):
    """`file`: a csv file (without one, 400 rows of seven random bits and their parity), `validation` and `test`: those
    of their splits, where they have their own; `recipe`: a name in `RECIPES`; `ordering`: of the columns; `delimiter`:
    between cells, a character, `spaces` or `tab`; `skip`: columns to leave out, such as `(id,name)`; `smoke`: seconds.
    """
    arg = parse_arg(
        arg,
        smoke=False,
        file="",
        validation="",
        test="",
        recipe=pick(RECIPES, "medium"),
        ordering="raster",
        delimiter=",",
        skip=(),
    )
    options, steps = RECIPES[arg.recipe]
    config = base_config()
    files = {
        "path": arg.file or str(Path(__file__).with_name("parity.csv")),
        "validation_path": arg.validation,
        "test_path": arg.test,
    }
    config.dataset = dataset_config("table", levels=2, delimiter=arg.delimiter, skip=arg.skip, **files)
    config.model.ordering = arg.ordering
    config.network = small_network_config("made") if arg.smoke else network_config("made", **options)
    config.optimizer.update(name="adamw", learning_rate=3e-3, schedule="cosine")
    config.train.update(steps=steps, batch_size=100, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=steps // 10, eval_every=steps // 50, checkpoint_every=steps, patience=15)
    config.evaluate.batch_size = 1000
    return apply_smoke(config) if arg.smoke else config
