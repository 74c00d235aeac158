"""Behaviour, one sentence each; the folders mirror the packages."""
