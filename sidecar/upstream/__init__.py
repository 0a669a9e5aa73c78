"""Towards the vendor: addresses, connections, HTTP/1.1."""
