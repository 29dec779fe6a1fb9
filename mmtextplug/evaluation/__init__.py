"""Metrics that MMDetection does not have."""
