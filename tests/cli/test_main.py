"""A command that ends with the process that started it."""

import os
import signal

from arjax.cli import main


def test_a_process_ends_once_its_parent_is_gone(monkeypatch, capsys):
    parents, done = [7, 7, 1], []
    monkeypatch.setattr(main.os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(main.os, "kill", lambda *given: done.append(given))
    monkeypatch.setattr(main.time, "sleep", done.append)
    main._watch(7, 0.25)
    assert done == [0.25, 0.25, (os.getpid(), signal.SIGTERM)]
    assert capsys.readouterr().err == "arjax: the process that started this one is gone\n"


def test_a_process_looks_for_the_parent_that_its_environment_names(monkeypatch):
    threads = []

    class Thread:
        def __init__(self, **given):
            threads.append(given)

        def start(self):
            threads.append("started")

    monkeypatch.setattr(main.threading, "Thread", Thread)
    for parent in ("", "of nobody"):
        monkeypatch.setenv(main.PARENT, parent)
        main.end_with_parent()
    assert not threads
    monkeypatch.setenv(main.PARENT, "12")
    main.end_with_parent()
    assert threads == [{"target": main._watch, "args": (12, 1.0), "daemon": True}, "started"]
    assert main.marked_as_parent()[main.PARENT] == str(os.getpid())
