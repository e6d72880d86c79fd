"""Prepares a data set: `python scripts/prepare_data.py NAME [--manual_dir=DIR] [--data_dir=DIR]`."""

from __future__ import annotations

import sys

from absl import flags

from arjax.cli.command_line import tell_mistakes
from arjax.core.errors import UserError
from arjax.data.prepare import default_data_dir, known_names, prepare

_FLAGS = flags.FlagValues()
flags.DEFINE_string("manual_dir", "", "folder with the raw files (default: download them)", flag_values=_FLAGS)
flags.DEFINE_string("data_dir", "", f"where prepared sets go (default: {default_data_dir()})", flag_values=_FLAGS)
flags.DEFINE_bool("help", False, "shows this text", short_name="h", flag_values=_FLAGS)


def main() -> int:
    """Prepares the set named on the command line and prints where it is."""
    try:
        _, *names = _FLAGS(sys.argv)
    except flags.Error as error:
        raise UserError(str(error)) from error
    if _FLAGS.help:
        print(f"{__doc__}\n\nNames: {', '.join(known_names())}\n{_FLAGS.main_module_help()}")
        return 0
    if len(names) != 1:
        raise UserError(f"name one data set, of: {', '.join(known_names())}")
    for folder in prepare(names[0], _FLAGS.manual_dir, _FLAGS.data_dir):
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("prepare_data", main))
