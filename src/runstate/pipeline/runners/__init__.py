"""The executors of stages: a task in the server's loop (`task.py`) and a child process (`child.py`).

They know facts and outcomes, never the state manager or the server.
"""
