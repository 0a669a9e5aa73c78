"""Idempotency: one key per logical operation, the same on every attempt, so that a repeated call is done once."""
