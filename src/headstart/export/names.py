"""What is called what in exported files, for who writes them and who opens them."""

INPUT, OUTPUTS = "image", ("probabilities", "novelty")
"""What every file calls them."""

SIGNATURE = "serving_default"
"""Of TensorFlow and LiteRT: the function that takes a picture as numbers of 32 bits."""

ONNX_CLASSES = "names"
"""The class names in the metadata of ONNX."""

OPENVINO_CLASSES = ("model_info", "label_names")
"""Where OpenVINO's graph has the class names, as JSON, for Model API splits its own list at blanks."""
