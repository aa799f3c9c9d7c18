"""The tracking plan: which events there are, and which properties each of them has."""
