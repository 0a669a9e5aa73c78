"""Rate limit: stay under the pace that the vendor agreed to, and under the one that it announces."""
