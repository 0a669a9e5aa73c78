"""Valkey or Redis: the store that pods share."""
