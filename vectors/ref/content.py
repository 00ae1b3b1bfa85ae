"""Frames, catalog, padding and seek table (§ 6)."""

from struct import pack, unpack, unpack_from

import zstandard

import tar
from fault import Fault, check

ZSTD_MAGIC = bytes.fromhex("28B52FFD")
DATA, CATALOG, INFO, PADDING, TABLE = range(5)  # frames, in their order (§ 6)
MAX_FRAMES = 2**27


class Content:
    """The content, read forward; every byte of it is authenticated before anyone sees it."""

    def __init__(self, payloads):
        self.payloads, self.buffer, self.at = payloads, bytearray(), 0

    def take(self, n):
        while len(self.buffer) < n:
            payload = next(self.payloads, None)
            check(payload is not None, "content", "FINAL inside a frame, or before the seek table")
            self.buffer += payload
        taken = bytes(self.buffer[:n])
        del self.buffer[:n]
        self.at += n
        return taken

    def ended(self):
        return not self.buffer and next(self.payloads, None) is None


def max_csize(dsize):
    return dsize + dsize // 256 + 64  # § 6.1.3


def read_zstd(content, segment):
    """Reads a zstd frame behind its magic, and returns its plaintext (§ 6.1)."""
    descriptor = content.take(1)
    check(descriptor[0] in (0x24, 0x64, 0xA4, 0xE4), "content", "frame descriptor")
    width = 1 << (descriptor[0] >> 6)
    field = content.take(width)
    dsize = int.from_bytes(field, "little") + (256 if width == 2 else 0)
    check(1 <= dsize <= segment, "content", "content size")
    frame, final = bytearray(ZSTD_MAGIC + descriptor + field), False
    while not final:
        header = content.take(3)
        bits = int.from_bytes(header, "little")
        final, kind, size = bits & 1, bits >> 1 & 3, bits >> 3
        check(kind != 3 and size <= min(2**17, dsize), "content", "block type or size")
        stored = 1 if kind == 1 else size
        check(len(frame) + 3 + stored + 4 <= max_csize(dsize), "content", "frame too long")
        frame += header + content.take(stored)
    frame += content.take(4)
    try:
        plain = zstandard.ZstdDecompressor().decompress(bytes(frame), max_output_size=dsize)
    except zstandard.ZstdError as error:
        raise Fault("content", str(error)) from None
    check(len(plain) == dsize, "content", "a frame does not decompress to its size")
    return plain


def frame_type(magic):
    if magic == ZSTD_MAGIC:
        return DATA
    number = unpack("<I", magic)[0]
    if 0x184D2A50 <= number <= 0x184D2A57:
        return INFO
    return {0x184D2A5C: CATALOG, 0x184D2A5D: PADDING, 0x184D2A5E: TABLE}.get(number)


def padme(x):
    """T of § 6.4.2"""
    e = x.bit_length() - 1
    granule = 1 << min(e - e.bit_length(), 31)
    return -(-x // granule) * granule


def read_frames(content, segment, catalog, table=None):
    """Yields the plaintext of each data frame, and appends records to catalog. table is the entries of
    the seek table, if they are known before."""
    seen, stage, short, pad, record_at = bytearray(), DATA, False, None, -1
    while True:
        start, dsize = content.at, 0
        kind = frame_type(content.take(4))
        check(kind is not None and kind >= stage, "content", "a frame of unknown magic, or out of order")
        check(not (kind == PADDING and pad is not None), "content", "a second padding frame")
        check(not (kind == DATA and short), "content", "a data frame after a short one")
        stage = kind
        if kind == DATA:
            plain = read_zstd(content, segment)
            dsize = len(plain)
            short = dsize < segment
        else:
            length = unpack("<I", content.take(4))[0]
        if kind == TABLE:
            break
        if kind == CATALOG:
            check(content.take(4) == ZSTD_MAGIC, "content", "no zstd frame in a catalog frame")
            records = read_zstd(content, segment)
            check(content.at - start == 8 + length, "content", "the zstd frame does not fill the catalog frame")
            for record in parse_records(records):
                check(record.offset > record_at if record_at >= 0 else record.offset == 0, "content", "record offsets")
                record_at = record.offset
                catalog.append(record)
        elif kind in (INFO, PADDING):
            check(length <= (2**26 if kind == INFO else 2**31 - 1), "content", "a skippable frame too long")
            if kind == PADDING:
                pad = length
            while length:
                part = content.take(min(length, 65536))
                length -= len(part)
                check(kind == INFO or not any(part), "content", "padding that is not 0")
        entry = pack("<II", content.at - start, dsize)
        check(len(seen) < 8 * MAX_FRAMES, "content", "too many frames")
        check(table is None or table[len(seen) : len(seen) + 8] == entry, "content", "a frame differs from its entry")
        seen += entry
        if kind == DATA:
            yield plain
    check(length == len(seen) + 9, "content", "length of the seek table")
    check(content.take(len(seen)) == seen, "content", "a frame differs from its entry")
    check(content.take(9) == pack("<IBI", len(seen) // 8, 0, 0x8F92EAB1), "content", "end of the seek table")
    check(content.ended(), "content", "bytes after the seek table")
    check(pad is None or padme(content.at - pad) == content.at, "content", "length of the padding")


def parse_records(data):
    """§ 6.3.2"""
    at = 0
    while at < len(data):
        check(at + 38 <= len(data), "content", "a record passes its frame")
        length, offset, size, mtime, mode, typ, reserved, path_len, link_len = unpack_from("<IQQqIBBHH", data, at)
        check(34 + path_len + link_len <= length <= 65535, "content", "len of a record")
        check(at + 4 + length <= len(data), "content", "a record passes its frame")
        check(offset % 512 == 0 and reserved == 0, "content", "offset or reserved byte of a record")
        path, link = at + 38, at + 38 + path_len
        yield tar.Member(offset, size, mtime, mode, typ, data[path:link], data[link : link + link_len])
        at += 4 + length


def read_table(read, content_len, segment):
    """Reads and judges the seek table and the padding's length (§ 8.2.5), and returns the entries."""
    check(content_len >= 17, "content", "no seek table")
    n, descriptor, magic = unpack("<IBI", read(content_len - 9, content_len))
    check(magic == 0x8F92EAB1 and descriptor == 0 and n <= MAX_FRAMES, "content", "end of the seek table")
    start = content_len - 17 - 8 * n
    check(start >= 0, "content", "n of the seek table")
    table = read(start, content_len - 9)
    check(table[:8] == pack("<II", 0x184D2A5E, 8 * n + 9), "content", "start of the seek table")
    total, data_ended, csize, dsize = 0, False, 0, 0
    for i in range(n):
        csize, dsize = unpack_from("<II", table, 8 + 8 * i)
        total += csize
        if dsize:
            check(not data_ended and dsize <= segment and csize <= max_csize(dsize), "content", "a data entry")
        else:
            check(csize >= 8, "content", "a skippable entry")
        data_ended = dsize < segment  # by a short frame or a skippable one
    check(total == start, "content", "the entries do not add up")
    if n and dsize == 0:  # skippable: is it padding?
        kind, length = unpack("<4sI", read(start - csize, start - csize + 8))
        if frame_type(kind) == PADDING:
            check(length == csize - 8 and length < 2**31, "content", "a frame differs from its entry")
            check(padme(content_len - length) == content_len, "content", "length of the padding")
    return table[8:]
