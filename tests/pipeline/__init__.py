"""The stream, module by module."""
