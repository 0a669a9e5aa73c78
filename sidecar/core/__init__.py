"""The vocabulary of the data plane: no I/O, no third-party imports but msgspec."""
