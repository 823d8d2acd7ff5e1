"""Drawing, reading, writing and shrinking pictures in pure Python, slowly: work for CPUs.

A picture is (width, height, rows), a row a bytearray of three bytes a pixel. Files are PNG, eight bits
a channel, without transparency and with filter 0 only, as this module writes them.
"""

import struct
import zlib


def draw(number, width, height):
    """Rings around a point that depends on `number`."""
    cx, cy = width * (number % 7 + 1) // 8, height * (number % 5 + 1) // 6
    rows = []
    for y in range(height):
        row = bytearray()
        for x in range(width):
            distance = (x - cx) * (x - cx) + (y - cy) * (y - cy)
            row += bytes(((distance >> 4) & 255, (x * 255) // width, (y * 255) // height))
        rows.append(row)
    return width, height, rows


def shrink(picture, factor):
    """Each pixel is the mean of factor × factor others."""
    width, height, rows = picture
    small_width, small_height = width // factor, height // factor
    area = factor * factor
    small = []
    for y in range(small_height):
        block = rows[y * factor:(y + 1) * factor]
        row = bytearray(3 * small_width)
        for x in range(small_width):
            begin, end = 3 * x * factor, 3 * (x + 1) * factor
            for channel in range(3):
                row[3 * x + channel] = sum(sum(line[begin + channel:end:3]) for line in block) // area
        small.append(row)
    return small_width, small_height, small


def write_png(path, picture):
    width, height, rows = picture

    def part(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 6)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", data) + part(b"IEND", b""))


def read_png(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path} is no PNG file")
    at, packed = 8, b""
    width = height = 0
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if name == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        elif name == b"IDAT":
            packed += body
        at += length + 12
    raw = zlib.decompress(packed)
    stride = 3 * width + 1
    return width, height, [bytearray(raw[y * stride + 1:(y + 1) * stride]) for y in range(height)]
