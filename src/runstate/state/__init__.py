"""The one writer, the readers' bus, and how both come back after a crash."""
