"""Models in the forms of other programs: ONNX, weights for torch, smaller files; and weights of other programs as models."""
