"""Bulkhead: one slow vendor must not take all of this pod, and no vendor gets more at once than it bears."""
