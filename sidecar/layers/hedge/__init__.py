"""Hedge: a second attempt beside one that is late; the first answer wins."""
