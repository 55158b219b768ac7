"""A Keras network behind FastAPI as people write it; what `headstart serve` is measured beside.

python benchmarks/plain_server.py WIDTH PORT
"""

import io
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from headstart.networks import backbones
from headstart.networks.backbones import import_keras

WIDTH, PORT = int(sys.argv[1]), int(sys.argv[2])

app = FastAPI()
keras = import_keras()
backbone = backbones.build("mobilenet_v2", image_size_px=WIDTH)
model = keras.Model(backbone.input, keras.layers.Dense(5, activation="softmax")(backbone.output))


@app.get("/readyz")
def ready() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/predict")
async def predict(file: UploadFile) -> dict[str, list[float]]:
    image = Image.open(io.BytesIO(await file.read())).convert("RGB").resize((WIDTH, WIDTH))
    pixels = np.expand_dims(np.asarray(image, dtype=np.float32), 0)
    return {"predictions": model.predict(pixels, verbose=0)[0].tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, log_level="warning", access_log=False)
