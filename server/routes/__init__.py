"""The endpoints, one module a group."""
