"""What the sidecar tells about itself: metrics, the canonical line, trace context."""
