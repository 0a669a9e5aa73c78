"""OAuth: how a token is asked for; each file one noun, from the config to the one request at the token endpoint."""
