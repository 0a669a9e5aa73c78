"""Login: somebody consents once, and the refresh token goes into the secret store; `sidecar login SERVICE`."""
