"""Kind `image.resize`: {"path", "to", "factor"} → {"path", "width", "height", "bytes"}."""

import os

import images
import stdio_worker


def resize(job):
    try:
        path, to, factor = job.payload["path"], job.payload["to"], int(job.payload["factor"])
    except (TypeError, KeyError, ValueError) as error:
        raise stdio_worker.Reject(f"bad_payload: {error!r}") from error
    picture = images.shrink(images.read_png(path), factor)
    images.write_png(to, picture)
    return {"path": to, "width": picture[0], "height": picture[1], "bytes": os.path.getsize(to)}


stdio_worker.serve(resize)
