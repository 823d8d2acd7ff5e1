"""Kind `text.classify`: a model is loaded once, when the process starts, and kept for all jobs.

The model is a toy: weights that are computed instead of read from a file, which takes a while, as
loading a real one does. {"texts": [...]} → {"labels": [...], "loads": how often this process loaded it,
"process": which one}.
"""

import hashlib
import os
import time

import stdio_worker


class Model:
    loads = 0

    def __init__(self):
        Model.loads += 1
        time.sleep(0.5)
        self.weights = [hashlib.sha256(str(i).encode()).digest()[0] - 127 for i in range(4096)]

    def label(self, text):
        score = sum(self.weights[hash_of(word) % len(self.weights)] for word in text.split())
        return "positive" if score >= 0 else "negative"


def hash_of(word):
    return int.from_bytes(hashlib.blake2b(word.lower().encode(), digest_size=4).digest(), "big")


MODEL = Model()


def classify(job):
    texts = job.payload.get("texts") if isinstance(job.payload, dict) else None
    if not isinstance(texts, list):
        raise stdio_worker.Reject("bad_payload: use {\"texts\": [...]}")
    labels = []
    for done, text in enumerate(texts):
        if job.cancelled():
            raise RuntimeError("cancelled")
        labels.append(MODEL.label(text))
        job.progress(done + 1, len(texts))
    return {"labels": labels, "loads": Model.loads, "process": os.getpid()}


stdio_worker.serve(classify)
