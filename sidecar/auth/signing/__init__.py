"""Signing: auth kinds that sign the call itself, or show who we are by a key that never leaves the pod."""
