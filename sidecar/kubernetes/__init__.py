"""The injector: puts the sidecar into pods that ask for it, as the API server creates them."""
