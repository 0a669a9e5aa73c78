"""The audit log: who called what, when, with which credential; each record carries the hash of the one before."""
