"""Weights: catalogue, fetch, verify, load, convert. Start at `pipelines.weights.store.WeightStore`."""
