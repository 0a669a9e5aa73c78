"""Store: what outlives a call, and what pods agree on: memory, SQLite, or Valkey."""
