"""The pure core: frozen values and functions of values.

Nothing here waits, reads a clock, does I/O or logs; time is an argument.
"""
