"""Models as bundles: a trained run, random weights, and what a configuration costs."""
