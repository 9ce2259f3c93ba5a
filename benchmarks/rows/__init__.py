"""The rows of the table: each a script that measures some lines and returns them."""
