"""Circuit breaker: do not ask a vendor that is down, and look now and then whether it is back."""
