"""What runs a model: ONNX export, onnxruntime sessions, latency, host description, reading a release."""
