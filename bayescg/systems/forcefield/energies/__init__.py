"""The force field in torch operations."""
