"""Prepares data sets: `python scripts/prepare_data.py NAME... [--manual_dir=DIR] [--data_dir=DIR]`."""

from __future__ import annotations

import sys

from absl import flags

from arjax.cli.command_line import tell_mistakes
from arjax.core.errors import UserError
from arjax.data.prepare import check_name, known_names, prepare
from arjax.data.prepared import DEFAULT_DATA_DIR

_FLAGS = flags.FlagValues()
flags.DEFINE_string("manual_dir", "", "folder with the raw files (default: download them)", flag_values=_FLAGS)
_DEFAULT = f"the first folder of TFDS_DATA_DIR, or {DEFAULT_DATA_DIR}"
flags.DEFINE_string("data_dir", "", f"where prepared sets go (default: {_DEFAULT})", flag_values=_FLAGS)
flags.DEFINE_bool("help", False, "shows this text", short_name="h", flag_values=_FLAGS)


def main() -> int:
    """Prepares the sets named on the command line and prints where they are."""
    try:
        _, *names = _FLAGS(sys.argv)
    except flags.Error as error:
        raise UserError(str(error)) from error
    if _FLAGS.help:
        print(f"{__doc__}\n\nNames: {', '.join(known_names())}\n{_FLAGS.main_module_help()}")
        return 0
    if not names:
        raise UserError(f"name a data set, or several, of: {', '.join(known_names())}")
    for name in names:
        check_name(name)
    for name in names:
        for folder in prepare(name, _FLAGS.manual_dir, _FLAGS.data_dir):
            print(folder, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("prepare_data", main))
