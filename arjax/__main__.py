"""`python -m arjax` is the command `arjax`."""

from arjax.cli.main import run

if __name__ == "__main__":
    run()
