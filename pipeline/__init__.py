"""A live frame enters at capture, walks through one corridor, and leaves; its pixels stay in one slot."""
