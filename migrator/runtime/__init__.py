"""DOES: all ordering, locking, transactions and time."""
