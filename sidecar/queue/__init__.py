"""Queue: calls that do not stand alone, or that may happen later."""
