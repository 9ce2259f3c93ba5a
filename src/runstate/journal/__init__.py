"""The journals: SQLite (the default) and memory, and the lock that keeps a data directory to one process.

All pass `runstate.testing.journal_exam`. Nothing above this package knows SQLite or its errors.
"""
