"""Retry: another attempt where it is safe, where there is time for it, and where it does not make things worse."""
