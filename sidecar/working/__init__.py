"""What waits in a store is worked off, entry by entry."""
