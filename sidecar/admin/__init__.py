"""For people and probes: health, metrics, the admin API, the page."""
