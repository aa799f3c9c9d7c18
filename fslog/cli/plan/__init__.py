"""`fslog plan`: check a tracking plan, infer, compare and describe it, and measure its coverage."""
