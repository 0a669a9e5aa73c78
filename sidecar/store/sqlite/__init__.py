"""SQLite: one file, one writer thread; the embedded store that keeps what it acknowledged."""
