"""The best model as an ONNX graph that agrees with it."""
