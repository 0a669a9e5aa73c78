"""Coalesce: equal reads at the same time share one call to the vendor."""
