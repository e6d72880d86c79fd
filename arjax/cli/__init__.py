"""The command `arjax`."""
