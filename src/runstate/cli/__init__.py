"""The command line: the composition root, and the one place that talks to people in a terminal.

    main ─▶ serve, run, check, init, market, demo     what executes pipelines here
         ─▶ status, runs, show, history, logs, watch  what reads from a server
         ─▶ start, stop, retry                        what commands a server

Importing a command's file is light; what it needs is imported when it runs. stdout carries the answer, stderr the talk.
"""
