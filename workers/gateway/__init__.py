"""The loopback proxy that every agent's base URL points to."""
