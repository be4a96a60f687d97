"""Models in the formats of others: folders for diffusers, and ONNX with a sampler in numpy."""
