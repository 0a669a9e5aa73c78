"""One policy per file; `stack.py` holds the order and why."""
