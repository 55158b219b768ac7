"""Clients that send real photos, for locust; `benchmarks/serving.py` runs them.

SERVING_PHOTOS names the folder of photos, SERVING_BAD the part of the requests that are none.
"""

import os
import random
from pathlib import Path

from locust import FastHttpUser, constant, task

PHOTOS = [file.read_bytes() for file in sorted(Path(os.environ["SERVING_PHOTOS"]).rglob("*.jpg"))]
BAD = float(os.environ["SERVING_BAD"])

BOUNDARY = "----photo"
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'.encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"Content-Type": "application/json"}


def spoilt() -> tuple[bytes, dict[str, str], int]:
    """A bad request of some kind: its body, its headers, and the status that it must have."""
    photo = random.choice(PHOTOS)
    return random.choice(
        (
            (HEAD + photo[: len(photo) // 2] + TAIL, FORM, 422),
            (HEAD + b"no photo at all" + TAIL, FORM, 415),
            (HEAD + photo, FORM, 422),
            (b'{"images": [{"b64": "%%%"}]}', JSON, 422),
            (b'{"images": ', JSON, 422),
            (photo, {"Content-Type": "text/plain"}, 415),
        )
    )


class Client(FastHttpUser):
    """Sends one photo after another."""

    wait_time = constant(0)

    @task
    def predict(self) -> None:
        if random.random() >= BAD:
            self.client.post(
                "/v1/predict", data=HEAD + random.choice(PHOTOS) + TAIL, headers=FORM, name="photo"
            )
            return
        body, headers, status = spoilt()
        with self.client.post(
            "/v1/predict", data=body, headers=headers, name="bad", catch_response=True
        ) as response:
            if response.status_code == status:
                response.success()
            else:
                response.failure(f"{response.status_code} where {status} was due")
