"""One folder to hand over: a model as ONNX files, with what is needed to use, check and time it elsewhere."""
