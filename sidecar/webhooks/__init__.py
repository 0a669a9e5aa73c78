"""Calls from the vendor: verified on their raw bytes before anything in them is believed."""
