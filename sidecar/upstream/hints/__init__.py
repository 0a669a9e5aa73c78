"""What a vendor's answer announces about its limits: read here, acted on by the layers."""
