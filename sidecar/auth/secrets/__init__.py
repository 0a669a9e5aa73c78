"""Secret stores: where stored material is read, one file per kind."""
