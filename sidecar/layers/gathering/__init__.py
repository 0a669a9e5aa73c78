"""Gather: reads of single things that arrive together become one call for all of them."""
