"""Running models: ONNX export, onnxruntime sessions, latency, host description, reading a release."""
