"""Pictures with label maps: where they come from, how they are augmented, how they become batches.

Images are uint8 BGR (height, width, 3) and label maps uint8 (height, width) everywhere; 255 is ignored.
"""

IGNORE = 255
"""Ignore index: no loss and no score at these pixels."""
