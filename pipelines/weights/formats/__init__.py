"""What the field's published files hold: one module a family, each with its layouts. See
`pipelines.weights.checkpoints.detect`."""
