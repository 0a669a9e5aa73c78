"""The configuration as a whole: gathered, read, judged, watched, shown."""
