"""The model side of a steering vector: layout, capture, aggregation, application, dose, proof (imports torch)."""
