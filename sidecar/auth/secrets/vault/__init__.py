"""Vault store: HashiCorp Vault and OpenBao, their key-value engine in both versions."""
