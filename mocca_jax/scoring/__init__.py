"""A trained model on pictures and videos: distances, scores, anomaly maps."""
