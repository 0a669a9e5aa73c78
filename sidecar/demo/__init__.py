"""A scripted vendor, and the tour that a newcomer takes."""
