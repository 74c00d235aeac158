"""From pictures with labels to a checkpoint."""
