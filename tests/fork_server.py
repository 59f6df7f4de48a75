"""Processes that begin at once: forks of one server, which has imported what each would import first."""

from __future__ import annotations

from multiprocessing import get_context

CONTEXT = get_context("forkserver")
# The server has no threads, so a fork of it is whole. What it imports must be on Python's own path, as tests aren't: a
# preload that can't be found is left out in silence.
CONTEXT.set_forkserver_preload(
    ["harness.commands.train", "harness.study.worker", "harness.study.study", "torch", "psycopg", "pymysql"]
)
