"""One file a command, or a few that belong together; `engines.__main__` lists them.

Heavy libraries are imported inside the commands, so that `--help` is quick and a streaming install needs no torch.
"""
