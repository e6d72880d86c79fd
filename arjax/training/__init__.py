"""Training: state, steps, sharding, checkpoints and the loop."""
